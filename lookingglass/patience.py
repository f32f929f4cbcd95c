"""How a run waits in the queue that need not be refused at once."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import NamedTuple

from lookingglass.guard import Lease
from lookingglass.journal import Record
from lookingglass.names import LookUp
from lookingglass.problems import Problem, Refusal
from lookingglass.waiting import Stand, Ticket, Wait


class Patience(NamedTuple):
    """Say how a run waits."""

    awaited: Callable[[], Collection[str]]  # what others wait for already
    admit: Callable[[Collection[str]], tuple[Lease, LookUp | None]]  # pay for it, have its name looked up
    join: Callable[[], Stand]  # the queue; raises Refusal
    leave: Callable[[Stand], None]  # when it waits for nothing any more


class Patient(ABC):
    """Wait in the queue, whose thread then goes on; without ``patience`` nothing waits."""

    def __init__(self, record: Record, patience: Patience | None) -> None:
        self.record = record
        self._patience = patience
        self._queueing = threading.Lock()  # for the three that follow
        self._stand: Stand | None = None
        self._ticket: Ticket | None = None  # while it waits
        self._waits_since: float | None = None

    @abstractmethod
    def _advance(self, behind: Collection[str] | None) -> Refusal | None:
        """Take the next steps, as far as that is possible now; return the Refusal that it may wait for.

        ``behind`` are keys for which others come first; None: it does not wait, so all others do.
        """

    @abstractmethod
    def _fail(self, error: BaseException) -> None:
        """End before it has begun."""

    @abstractmethod
    def _tell(self) -> None:
        """Have whoever follows it look for news."""

    @property
    def queued(self) -> Wait:
        """Return how it waits in the queue."""
        ticket = self._ticket
        return ticket.wait if ticket else Wait()

    # --- for the queue

    def go_on(self, behind: Collection[str]) -> Refusal | None:
        """Try again, and return what refuses it again."""
        refusal = self._advance(behind)
        if refusal is None:
            self._count_waiting()
            self._ticket = None
            self._tell()
        return refusal

    def give_up(self, problem: Problem) -> None:
        """End: it has waited in vain."""
        self._fail(problem)
        self._tell()

    def told(self) -> None:
        """Note that its ticket has another place, or waits for something else."""
        self._tell()

    # --- inside

    def _can_wait_for(self, refusal: Refusal) -> bool:
        return self._patience is not None and refusal.awaited is not None

    def _wait(self, refusal: Refusal) -> None:
        """Wait in the queue, which goes on from here."""
        if self._patience is None:
            return
        try:
            stand = self._stand = self._stand or self._patience.join()
            self._waits_since = time.monotonic()
            self._ticket = ticket = Ticket(stand, self, refusal)
            ticket.enter()
        except Refusal as refused:
            self._fail(refused)

    def _count_waiting(self) -> None:
        with self._queueing:
            since, self._waits_since = self._waits_since, None
        if since is not None:
            self.record.waited += time.monotonic() - since

    def _leave_queue(self) -> None:
        """Wait for nothing any more."""
        if self._patience is None:
            return
        self._count_waiting()
        with self._queueing:
            ticket, self._ticket = self._ticket, None
            stand, self._stand = self._stand, None
        if ticket:
            ticket.leave()
        if stand:
            self._patience.leave(stand)
