"""A store that several processes share: what one of them holds, and what it does when the store is gone.

What a process holds is a lease: it counts as long as the process shows, every BEAT seconds, that it lives.
It need not do so while it holds nothing.
The process itself knows best what it holds. Whenever the store may not know it (it failed, it was emptied,
or the process stood still for so long that its lease has expired), the process becomes a new holder, tells
all that it holds, and its old name counts for nothing any more. So a late answer, or a lease that ends late,
frees nothing that is somebody else's.

Decisions fail closed and fast. After a failure nobody asks the store but the thread of this module, which
also takes everything to it that needs no answer.
"""

from __future__ import annotations

import collections
import logging
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lookingglass.store import Claim, Decision, Gone, Share, Token
from lookingglass.tallies import tally

LEASE = 9.0  # seconds after which what a dead process held is free
BEAT = 2.5  # seconds between signs of life
RECONNECT = 0.5  # seconds between attempts to reach a store that is gone
QUEUE = 0.15  # seconds that a decision waits for others of this process
PENDING = 10000  # charges that wait for a store that is gone
STALE = 64  # names of its own that a process remembers to remove

log = logging.getLogger("tinytracer")


class Lost(Exception):
    """The store does not know this holder, or not any more."""


class Shared(ABC):
    """Keep figures outside this process; what is storage is left to the methods that have no body.

    It is opened at the first decision, and so behind any fork.
    """

    is_shared = True
    name = ""  # for the log

    def __init__(self) -> None:
        self._lock = threading.Lock()  # one operation at a time
        self._holder = ""
        self._stale: collections.deque[str] = collections.deque(maxlen=STALE)
        self._is_well = False  # it is open, and knows this holder
        self._is_down = False  # it has failed, and only the thread asks it
        self._is_over = False
        self._thread: threading.Thread | None = None
        self._bell = threading.Event()  # there is something for the thread
        self._next_beat = 0.0
        self._books = threading.Lock()  # for the three that follow, never held while the store is asked
        self._holds: collections.Counter[str] = collections.Counter()
        self._given: collections.Counter[str] = collections.Counter()  # back, and the store does not know yet
        self._charges: collections.deque[tuple[Token, float]] = collections.deque(maxlen=PENDING)

    # --- what is storage; all but the first are called one at a time

    @abstractmethod
    def _connect(self) -> None:
        """Reach the store anew, and change nothing in it."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Let go of the store."""

    @abstractmethod
    def _register(self, holder: str, holds: Mapping[str, int], stale: Sequence[str]) -> None:
        """Make a holder known with all that it holds, and forget stale ones."""

    @abstractmethod
    def _beat(self, holder: str) -> None:
        """Prolong a holder's life; raises Lost."""

    @abstractmethod
    def _decide(self, holder: str, claims: Sequence[Claim], penalty: Token | None) -> Decision:
        """Take all claims or none; raises Lost."""

    @abstractmethod
    def _settle(self, holder: str, given: Mapping[str, int], charges: Sequence[tuple[Token, float]]) -> None:
        """Count what was given back and spent; raises Lost."""

    # --- the store

    def take(self, claims: Sequence[Claim], penalty: Token | None = None) -> Decision:
        """Take all claims or none; a refusal with the status 429 spends the penalty. Raises Gone."""
        if self._is_down or not self._lock.acquire(timeout=QUEUE):
            raise Gone(self.name)
        try:
            with self._failing_closed():
                self._begin()
                try:
                    self._flush()
                    decision = self._decide(self._holder, claims, penalty)
                except Lost:
                    self._renew()
                    decision = self._decide(self._holder, claims, penalty)
            if decision.refused is None:
                self._hold(claims)
            return decision
        finally:
            self._lock.release()

    def give(
        self, claims: Sequence[Claim], refund: bool = False, charges: Sequence[tuple[Token, float]] = ()
    ) -> None:
        """Give shares back, and tokens where ``refund`` says so; the store learns it a moment later."""
        shares = [claim.key for claim in claims if isinstance(claim, Share)]
        with self._books:
            for key in shares:
                tally(self._holds, key, -1)
            self._given.update(shares)
            if refund:
                tokens = [claim for claim in claims if isinstance(claim, Token) and claim.amount]
                self._charges.extend((claim, -claim.amount) for claim in tokens)
            self._charges.extend(charges)
        self._bell.set()

    def close(self) -> None:
        """Give back all that is held, as far as the store is there."""
        self._is_over = True
        self._bell.set()
        if self._thread is not None:
            self._thread.join(1.0)

    # --- inside

    def _hold(self, claims: Sequence[Claim]) -> None:
        """Note what is held now; the thread sleeps as long as nothing is."""
        with self._books:
            is_first = not self._holds
            self._holds.update(claim.key for claim in claims if isinstance(claim, Share))
        if is_first:
            self._bell.set()

    def _begin(self) -> None:
        """Connect at the first decision, and start the thread; raises Gone."""
        if self._is_over:
            raise Gone(self.name)
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="store", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise Gone(self.name) from error
            self._thread = thread
        if not self._is_well:
            self._connect()
            self._renew()

    def _work(self) -> None:
        """Beat, settle and reconnect until the end."""
        while not self._is_over:
            self._bell.wait(self._rest())
            self._bell.clear()
            with self._lock:
                self._tend()
            if not self._is_well and not self._is_over:
                time.sleep(RECONNECT / 2)  # however often the bell rings
        with self._lock:
            self._leave()

    def _rest(self) -> float | None:
        """Return the seconds until the thread has something to do; None: until the bell rings."""
        if not self._is_well:
            return RECONNECT if self._is_down else None
        return max(0.0, self._next_beat - time.monotonic()) if self._holds else None

    def _tend(self) -> None:
        try:
            with self._failing_closed():
                if not self._is_well:
                    self._connect()
                    self._renew()
                try:
                    self._flush()
                    if time.monotonic() >= self._next_beat:
                        self._beat(self._holder)
                        self._next_beat = time.monotonic() + BEAT
                except Lost:
                    self._renew()
        except Gone:
            pass

    def _leave(self) -> None:
        """Take this holder's name out of the store."""
        try:
            with self._failing_closed():
                if self._is_well:
                    self._flush()
                    self._register("", {}, [*self._stale, self._holder])
        except Gone:
            pass
        self._is_well = False
        self._disconnect()

    def _renew(self) -> None:
        """Become a new holder of all that is held."""
        if self._holder:
            self._stale.append(self._holder)
        self._holder = secrets.token_hex(8)
        with self._books:
            holds = dict(self._holds)
            self._given.clear()
        self._register(self._holder, holds, list(self._stale))
        self._stale.clear()
        self._next_beat = time.monotonic() + BEAT
        if self._is_down:
            log.warning("The store %s is back.", self.name)
        self._is_well, self._is_down = True, False

    def _flush(self) -> None:
        """Tell the store what was given back and spent since the last time."""
        with self._books:
            given, self._given = self._given, collections.Counter()
            charges = list(self._charges)
        if given or charges:
            self._settle(self._holder, given, charges)
            with self._books:
                for _ in charges:
                    self._charges.popleft()

    @contextmanager
    def _failing_closed(self) -> Iterator[None]:
        """Turn any failure into Gone; from then on only the thread asks the store."""
        try:
            yield
        except Gone:
            raise
        except Exception as error:
            if not self._is_down:
                log.error("The store %s cannot be used, so no command is run: %s", self.name, error)
                self._bell.set()
            self._is_well, self._is_down = False, True
            raise Gone(self.name) from error
