"""The queue: runs wait in it for what limits refuse them, in turn, and hold no thread.

A question has a stand in the queue, of which there are so many; each of its runs that is refused waits there
with a ticket, for a share that somebody holds or for tokens that come back. The rule:

    Networks take turns, within a network its clients, and a client's runs go in the order in which they came.
    Who is served goes behind all others: of two networks that wait for the same, neither gets two more.
    A run goes on as soon as it can, unless one before it waits for the same thing.
    What somebody waits for is refused to all who do not wait, so that nobody overtakes. Only what is kept for
    networks that have run little is still theirs.

One thread serves all who wait, as long as anybody does. It sleeps until something is given back in this
process, until a bucket has been refilled, or until somebody has waited for too long; where other processes
share the store, it also looks every POLL seconds.
"""

from __future__ import annotations

import _thread
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar

from lookingglass.problems import SOON, Busy, Problem, Refusal, counted
from lookingglass.registry import CLOSING

POLL = 0.5  # seconds between looks at what other processes may have given back
SPARE = 60.0  # seconds that a run may wait for one thing, beyond those that a run may take

T = TypeVar("T")

log = logging.getLogger("tinytracer")


class Wait(NamedTuple):
    """Say how a run waits."""

    place: int = 0  # in the queue, the first is 1; 0: it does not wait
    why: str = ""  # a sentence
    seconds: float = math.inf  # until its turn, as far as one can tell; infinity: one cannot

    def document(self) -> dict[str, Any]:
        """Return what programs are told; seconds are whole."""
        known = {"seconds": math.ceil(self.seconds)} if self.seconds < math.inf else {}
        return {"place": self.place, **({"why": self.why} if self.why else {}), **known}


class Waiter(Protocol):
    """A run that waits. Its methods are called in any thread, and wait for nothing."""

    def go_on(self, behind: Collection[str]) -> Refusal | None:
        """Try again, and return what refuses it again; ``behind`` are keys for which others come first."""

    def give_up(self, problem: Problem) -> None:
        """End: it has waited in vain."""

    def told(self) -> None:
        """Note that its ticket has another place, or waits for something else."""


class Ticket:
    """Hold the place of one run in the line."""

    def __init__(self, stand: Stand, waiter: Waiter, refusal: Refusal) -> None:
        self.stand = stand
        self.waiter = waiter
        self.refusal = refusal  # the latest
        self.deadline = math.inf
        self.moment = -math.inf  # from which on it is worth trying
        self.due = math.inf  # when it may have its turn, unless others come first
        self.wait = Wait()  # as it was told

    @property
    def key(self) -> str:
        """Return what it waits for; "": nobody else has to wait because of it."""
        return self.refusal.awaited or ""

    def enter(self) -> None:
        """Wait until it can go on; raises the refusal when waiting does not help."""
        self.stand.queue.enter(self)

    def leave(self) -> None:
        """Wait no longer; more than once does no harm."""
        self.stand.queue.leave(self.stand, self)


class Stand:
    """Hold the place of one question, whose runs may wait until it leaves."""

    def __init__(self, queue: Queue, client: str, network: str) -> None:
        self.queue = queue
        self.client = client
        self.network = network

    def leave(self) -> None:
        """Give the place back, and take away all runs that wait; more than once does no harm."""
        self.queue.leave(self)


class Queue:
    """Keep those who wait, in turn."""

    start_thread = staticmethod(_thread.start_new_thread)

    def __init__(self, is_shared: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Have no room, until ``adjust`` gives it some."""
        self.awaited: Collection[str] = frozenset()  # keys of all for which somebody waits
        self.adjust(0, 0, 0.0)
        self._poll = POLL if is_shared else math.inf
        self._clock = clock
        self._lock = threading.Lock()
        self._stands: set[Stand] = set()
        # By network and client; who comes first in each has the next turn.
        self._line: dict[str, dict[str, list[Ticket]]] = {}
        self._freed: set[str] = set()  # keys, since the latest attempt has begun
        self._bell = threading.Event()
        self._works = False  # the thread
        self._is_closed = False

    def adjust(self, size: int, share: int, longest: float) -> None:
        """Have room for ``size`` questions, ``share`` of one network; a run takes ``longest`` seconds."""
        self._size = size
        self._share = share
        self._patience = longest + SPARE

    def __bool__(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self._line)

    def __len__(self) -> int:
        """Return how many runs wait."""
        with self._lock:
            return len(self._in_order())

    def join(self, client: str, network: str) -> Stand:
        """Give a question a stand; raises Refusal when there is none left."""
        stand = Stand(self, client, network)
        with self._lock:
            near = sum(each.network == network for each in self._stands)
            if len(self._stands) >= self._size:
                raise Refusal(503, SOON, f"All places of the queue are taken ({self._size}).", "queue")
            if near >= self._share:
                questions = counted(near, "question")
                raise Refusal(429, SOON, f"Your network has {questions} waiting already.", "queue")
            self._stands.add(stand)
        return stand

    def enter(self, ticket: Ticket) -> None:
        """Let a run wait; raises its refusal when that does not help."""
        stand = ticket.stand
        ticket.deadline = self._clock() + self._patience
        ticket.due = self._clock() + ticket.refusal.refill
        with self._lock:
            if self._is_closed or stand not in self._stands or self._is_hopeless(ticket):
                raise ticket.refusal
            clients = self._line.setdefault(stand.network, {})
            clients.setdefault(stand.client, []).append(ticket)
            is_asleep, self._works = not self._works, True
            self._note()
        if is_asleep:
            try:
                self.start_thread(self._work, ())
            except (RuntimeError, MemoryError):
                self._works = False
                self.leave(stand, ticket)
                raise ticket.refusal from None
        self._bell.set()
        self._tell()

    def leave(self, stand: Stand, ticket: Ticket | None = None) -> None:
        """Take one run of a question away, or all and the question itself."""
        with self._lock:
            if ticket is None:
                self._stands.discard(stand)
            mine = self._line.get(stand.network, {}).get(stand.client, ())
            gone = [each for each in mine if each.stand is stand and (ticket is None or each is ticket)]
            for each in gone:
                self._remove(each)
        if gone:
            self._bell.set()
            self._tell()

    def free(self, keys: Iterable[str]) -> None:
        """Have those try again who wait for what was given back just now; never waits for anything."""
        freed = set(keys)
        with self._lock:
            self._freed |= freed
            due = [ticket for ticket in self._in_order() if ticket.key in freed]
            for ticket in due:
                ticket.moment = -math.inf
        if due:
            self._bell.set()

    def turn(self) -> float | None:
        """Let those go on who can, in turn; return in how many seconds it is worth trying again."""
        behind: set[str] = set()
        moments = []
        with self._lock:
            order = self._in_order()
        for ticket in order:
            if self._is_served(ticket, behind):
                continue
            moments.append(ticket.deadline if ticket.key in behind else min(ticket.moment, ticket.deadline))
            behind.add(ticket.key)
            behind.discard("")
        self._tell()
        return max(0.0, min(moments) - self._clock()) if moments else None

    def close(self) -> None:
        """Send all away."""
        with self._lock:
            self._is_closed = True
            left = self._in_order()
            self._line = {}
            self._note()
        for ticket in left:
            ticket.waiter.give_up(Busy(CLOSING))
        self._bell.set()

    # --- inside

    def _work(self) -> None:
        while True:
            seconds: float | None = 1.0
            try:
                seconds = self.turn()
            except Exception:
                log.exception("the queue failed")
            with self._lock:
                if not self._line:
                    self._works = False
                    return
            self._bell.wait(seconds)
            self._bell.clear()

    def _is_served(self, ticket: Ticket, behind: Collection[str]) -> bool:
        """Let one try again if it is worth it, and tell whether it waits no longer."""
        now = self._clock()
        if ticket.moment <= now and ticket.key not in behind:
            with self._lock:
                self._freed.clear()
                ticket.moment = math.inf
                is_gone = not self._is_in_line(ticket)
            refusal = None if is_gone else ticket.waiter.go_on(behind)
            with self._lock:
                if refusal is None:
                    self._serve(ticket)
                    return True
                if not self._is_in_line(ticket):
                    return True
                ticket.refusal = refusal
                ticket.due = now + refusal.refill
                has_come = refusal.awaited in self._freed  # meanwhile
                wait = self._poll if refusal.refill == math.inf else refusal.refill
                ticket.moment = -math.inf if has_come else now + wait
                self._note()
        if ticket.deadline > now and not self._is_hopeless(ticket):
            return False
        with self._lock:
            is_in_line = self._is_in_line(ticket)
            self._remove(ticket)
        if is_in_line:
            ticket.waiter.give_up(ticket.refusal)
        return True

    def _is_hopeless(self, ticket: Ticket) -> bool:
        """Tell whether one waits for what is nothing to wait for, or comes too late."""
        refill = ticket.refusal.refill
        is_late = refill != math.inf and self._clock() + refill > ticket.deadline
        return is_late or ticket.refusal.awaited is None

    def _in_order(self) -> list[Ticket]:
        return _in_turn(_in_turn(clients.values()) for clients in self._line.values())

    def _is_in_line(self, ticket: Ticket) -> bool:
        return ticket in self._line.get(ticket.stand.network, {}).get(ticket.stand.client, ())

    def _serve(self, ticket: Ticket) -> None:
        """Take a ticket away that had its turn; the next one of its network and its client is the last."""
        self._remove(ticket)
        network, client = ticket.stand.network, ticket.stand.client
        if clients := self._line.pop(network, None):
            self._line[network] = clients
            if tickets := clients.pop(client, None):
                clients[client] = tickets

    def _remove(self, ticket: Ticket) -> None:
        if not self._is_in_line(ticket):
            return
        network, client = ticket.stand.network, ticket.stand.client
        clients = self._line[network]
        clients[client].remove(ticket)
        if not clients[client]:
            del clients[client]
        if not clients:
            del self._line[network]
        self._note()

    def _note(self) -> None:
        """Note for what somebody waits; the caller holds the lock."""
        self.awaited = frozenset(ticket.key for ticket in self._in_order()) - {""}

    def _tell(self) -> None:
        """Tell each run whose place has changed, or that waits for something else now."""
        moved = []
        with self._lock:
            now = self._clock()
            before: dict[str, float] = {}  # when whoever waits for the same, and comes first, has a turn
            for place, ticket in enumerate(self._in_order(), 1):
                key, refusal = ticket.key, ticket.refusal
                ticket.due = before[key] + refusal.interval if key in before else ticket.due
                if key:
                    before[key] = ticket.due
                if ticket.wait[:2] != (place, refusal.why):
                    ticket.wait = Wait(place, refusal.why, max(0.0, ticket.due - now))
                    moved.append(ticket)
        for ticket in moved:
            ticket.waiter.told()


def _in_turn(lists: Iterable[list[T]]) -> list[T]:
    """Return the first of each list, then the second of each, and so on."""
    rows = itertools.zip_longest(*lists)
    return [each for row in rows for each in row if each is not None]
