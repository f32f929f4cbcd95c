"""Where limits live: in this process, or in a file or a server that several processes share.

A decision takes all of its claims or none. What is held is a Share; what is spent and comes back with time is
a Token of a bucket. ``Ledger.decide`` is the one rule for both; a store is a place to keep the figures, in
which one decision at a time is made. Redis decides by the same rule, in a script of its own.
"""

from __future__ import annotations

import collections
import heapq
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from lookingglass.problems import ROUNDING
from lookingglass.tallies import tally

TABLE_SIZE = 65536  # buckets that a table remembers; when all of them are in use, new ones are denied
OWNED = 1024  # buckets of one network, so that no network fills the table
SHARE_RETRY = 5.0  # seconds after which a share may be free again; a guess, runs are short
NO_FLOOR = -1e9


class Gone(Exception):
    """A store cannot decide now; limits that cannot be counted deny."""


class Rate(NamedTuple):
    """Allow ``runs`` in ``period`` seconds."""

    runs: int
    period: float

    @property
    def speed(self) -> float:
        """Return how many there are a second."""
        return self.runs / self.period


class Share(NamedTuple):
    """One of ``limit`` things that may be held at once, counted by ``key``."""

    key: str  # what is counted, and whose
    limit: int
    status: int = 503  # of the refusal


class Token(NamedTuple):
    """``amount`` tokens of a bucket, which has ``burst`` at first and is refilled by ``rate``."""

    key: str
    rate: Rate
    burst: float
    amount: float = 1.0  # 0: it only has to be out of debt
    status: int = 429
    owner: str = ""  # the network that has its bucket in the table
    reserve: float = 0.0  # tokens that have to be left behind
    floor: float = NO_FLOOR  # the deepest debt

    def refilled(self, tokens: float, seconds: float) -> float:
        """Return how many tokens there are after some seconds."""
        if seconds > 0.0:
            tokens += seconds * self.rate.speed
        return tokens if tokens < self.burst else self.burst

    def spent(self, tokens: float, amount: float) -> float:
        """Return how many tokens are left; a negative amount is given back."""
        tokens -= amount
        return self.floor if tokens < self.floor else tokens if tokens < self.burst else self.burst

    def fined(self, tokens: float, seconds: float) -> float:
        """Return how many tokens are left after a refusal; without one, the debt is twice its wait."""
        return tokens - 1.0 if tokens >= 1.0 else max(self.floor, -2.0 * seconds * self.rate.speed)

    def seconds(self, tokens: float) -> float:
        """Return the seconds in which some tokens come."""
        return tokens / self.rate.speed


Claim = Share | Token


class Decision(NamedTuple):
    """Say what has come of some claims."""

    seconds: float = 0.0  # to wait; infinity: there is no room for one more bucket
    refused: Claim | None = None  # what is in the way; None: all were taken
    left: Mapping[str, float] = {}  # tokens by key, after this


class Store(Protocol):
    """Keep what is held and what is spent."""

    is_shared: bool  # by several processes

    def take(self, claims: Sequence[Claim], penalty: Token | None = None) -> Decision:
        """Take all claims or none; a refusal with the status 429 spends the penalty. Raises Gone."""

    def give(
        self, claims: Sequence[Claim], refund: bool = False, charges: Sequence[tuple[Token, float]] = ()
    ) -> None:
        """Give shares back, and tokens where ``refund`` says so; never waits for anything outside.

        ``charges`` are tokens that are spent afterwards, and may be more than there are.
        """

    def close(self) -> None:
        """Give back all that is held."""


class Ledger(ABC):
    """Decide about claims, wherever the figures are kept."""

    @abstractmethod
    def held(self, key: str) -> int:
        """Return how many shares of a key are held."""

    @abstractmethod
    def level(self, token: Token, now: float) -> float | None:
        """Return how many tokens a bucket has; None: it is full, and takes no room yet."""

    @abstractmethod
    def make_room(self, owner: str, now: float) -> bool:
        """Make room for one more bucket of an owner, and tell whether there is any."""

    @abstractmethod
    def hold(self, key: str, change: int) -> None:
        """Count a share that is taken or given back."""

    @abstractmethod
    def put(self, token: Token, tokens: float, now: float) -> None:
        """Note how many tokens a bucket has."""

    def decide(self, claims: Sequence[Claim], penalty: Token | None, now: float) -> Decision:
        """Take all claims or none."""
        tokens: dict[str, float] = {}
        for claim in claims:
            if isinstance(claim, Share):
                seconds = SHARE_RETRY if self.held(claim.key) >= claim.limit else 0.0
            else:
                level = self.level(claim, now)
                tokens[claim.key] = there = claim.burst if level is None else level
                lacking = claim.amount + claim.reserve - there
                if level is None and claim.amount and not self.make_room(claim.owner, now):
                    seconds = math.inf
                elif lacking <= 0.0:
                    continue
                else:
                    seconds = claim.seconds(lacking)
            if seconds > ROUNDING:
                if penalty and claim.status == 429 and seconds < math.inf:
                    seconds = max(seconds, self._fine(penalty, seconds, now))
                return Decision(seconds, claim, tokens)
        for claim in claims:
            if isinstance(claim, Share):
                self.hold(claim.key, 1)
            elif claim.amount:
                tokens[claim.key] = left = claim.spent(tokens[claim.key], claim.amount)
                self.put(claim, left, now)
        return Decision(0.0, None, tokens)

    def spend(self, token: Token, amount: float, now: float) -> None:
        """Spend tokens whether there are any or not."""
        level = self.level(token, now)
        if level is None and amount > 0 and self.make_room(token.owner, now):
            level = token.burst
        if level is not None:
            self.put(token, token.spent(level, amount), now)

    def _fine(self, penalty: Token, seconds: float, now: float) -> float:
        """Spend a penalty for a refusal with its wait, and return how long a client has to wait for it."""
        level = self.level(penalty, now)
        tokens = penalty.fined(penalty.burst if level is None else level, seconds)
        if level is not None or self.make_room(penalty.owner, now):
            self.put(penalty, tokens, now)
        return penalty.seconds(-tokens)


class Bucket:
    """Hold what a table in memory knows of a bucket.

    It holds no Token, with which a full table takes half as much memory again.
    """

    __slots__ = ("burst", "owner", "rate", "since", "tokens")

    tokens: float
    since: float
    burst: float  # of the Token as which it was put last
    rate: Rate
    owner: str  # of the first Token; other networks may have put it since

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def put(self, token: Token, tokens: float, now: float) -> None:
        """Note how many tokens it has now."""
        self.tokens, self.since, self.burst, self.rate = tokens, now, token.burst, token.rate

    @property
    def full(self) -> float:
        """Return when it is full again, and may be forgotten."""
        return self.since + (self.burst - self.tokens) / self.rate.speed


class Memory(Ledger):
    """Keep everything in this process, under one lock."""

    is_shared = False

    def __init__(self, clock: Callable[[], float] = time.monotonic, size: int = TABLE_SIZE) -> None:
        self._clock = clock
        self._size = size
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        self._buckets: dict[str, Bucket] = {}
        self._owned: collections.Counter[str] = collections.Counter()
        self._due: list[tuple[float, str]] = []  # a heap: when to look whether a bucket is full again

    def take(self, claims: Sequence[Claim], penalty: Token | None = None) -> Decision:
        """Take all claims or none."""
        with self._lock:
            return self.decide(claims, penalty, self._clock())

    def give(
        self, claims: Sequence[Claim], refund: bool = False, charges: Sequence[tuple[Token, float]] = ()
    ) -> None:
        """Give shares back, and tokens where ``refund`` says so; spend ``charges``."""
        with self._lock:
            now = self._clock()
            for claim in claims:
                if isinstance(claim, Share):
                    self.hold(claim.key, -1)
                elif refund:
                    self.spend(claim, -claim.amount, now)
            for token, amount in charges:
                self.spend(token, amount, now)

    def close(self) -> None:
        """Do nothing: what is held ends with the process."""

    def held(self, key: str) -> int:
        """Return how many shares of a key are held."""
        return self._held.get(key, 0)

    def level(self, token: Token, now: float) -> float | None:
        """Return how many tokens a bucket has; None: it is full, and takes no room yet."""
        found = self._buckets.get(token.key)
        return token.refilled(found.tokens, now - found.since) if found else None

    def make_room(self, owner: str, now: float) -> bool:
        """Forget buckets that are full again, and tell whether there is room for one more of an owner."""
        self._forget(now)
        return len(self._buckets) < self._size and self._owned[owner] < OWNED

    def hold(self, key: str, change: int) -> None:
        """Count a share that is taken or given back."""
        tally(self._held, key, change)

    def put(self, token: Token, tokens: float, now: float) -> None:
        """Note how many tokens a bucket has."""
        bucket = self._buckets.get(token.key) or Bucket(token.owner)
        bucket.put(token, tokens, now)
        if token.key not in self._buckets:
            self._buckets[token.key] = bucket
            tally(self._owned, token.owner, 1)
            heapq.heappush(self._due, (bucket.full, token.key))

    def _forget(self, now: float) -> None:
        """Forget full buckets; each has one place in the heap, which may be too early."""
        while self._due and self._due[0][0] <= now:
            key = self._due[0][1]
            bucket = self._buckets[key]
            if bucket.full > now:
                heapq.heapreplace(self._due, (bucket.full, key))
                continue
            heapq.heappop(self._due)
            del self._buckets[key]
            tally(self._owned, bucket.owner, -1)
