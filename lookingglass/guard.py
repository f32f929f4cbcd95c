"""Who may run how much: places, slots and rates, taken together or not at all."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lookingglass import targets
from lookingglass.problems import ROUNDING, Refusal

TABLE_SIZE = 65536  # keys that a rate table remembers; when all of them are in use, new ones are denied
SLOT_RETRY = 5  # seconds after which a slot may be free again; a guess, runs are short


class Rate(NamedTuple):
    """Allow ``runs`` in ``period`` seconds."""

    runs: int
    period: float


class Limits(NamedTuple):
    """Hold what the configuration's ``limits`` say."""

    runtime: float = 30.0  # seconds, RFC 8522's default
    max_runtime: float = 60.0  # seconds, the ceiling
    concurrent: int = 16  # processes at once
    viewers: int = 64  # answers in progress
    per_client: int = 2  # answers in progress for one client
    output_kib: int = 256
    rate: Rate = Rate(10, 60.0)  # answers for one client
    burst: int = 5
    target_rate: Rate = Rate(20, 60.0)  # runs towards one target network, for all clients together
    downloads: int = 2  # at once for one client
    connections: int = 64  # of one client
    requests: Rate = Rate(20, 1.0)  # of one client, for what costs little


class Share(NamedTuple):
    """One of ``limit`` things that may be held at once, counted by ``key``."""

    key: tuple[str, str]  # what is counted, and whose
    limit: int
    status: int  # of the Refusal
    message: str


class Token(NamedTuple):
    """One token of a bucket: ``burst`` at first, refilled by ``rate``."""

    key: tuple[str, str]
    rate: Rate
    burst: int
    whose: str  # for the message


Claim = Share | Token


class Lease:
    """Hold shares until ``end``, which may be called more than once and in any thread."""

    def __init__(self, give_back: Callable[[bool], None]) -> None:
        self._give_back = give_back
        self._is_over = threading.Lock()

    def end(self, refund: bool = False) -> bool:
        """Give the shares back, and tell whether this was the first call.

        ``refund``: the tokens as well, which were taken for nothing.
        """
        is_first = self._is_over.acquire(blocking=False)
        if is_first:
            self._give_back(refund)
        return is_first


class Tables:
    """Count shares and tokens in memory; ``take`` is the one decision, made under one lock.

    Full buckets are forgotten, so that the table holds only keys of the last few moments. Its order is that
    of the last use; what was not used for a whole refill is at its beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, size: int = TABLE_SIZE) -> None:
        self._clock = clock
        self._size = size
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], int] = {}
        self._tokens: dict[tuple[str, str], tuple[float, float, Token]] = {}  # how many, and when

    def take(self, claims: Sequence[Claim]) -> tuple[float, Claim | None]:
        """Take all claims or none: 0.0 and None, or the seconds to wait and the claim that is in the way.

        The seconds are infinity when there is no room in the table, and SLOT_RETRY for a share.
        """
        with self._lock:
            now = self._clock()
            self._forget(now)
            for claim in claims:
                seconds = self._wait(claim, now)
                if seconds > 0:
                    return seconds, claim
            for claim in claims:
                if isinstance(claim, Share):
                    self._held[claim.key] = self._held.get(claim.key, 0) + 1
                else:
                    tokens = self._count(claim, now) - 1.0
                    self._tokens.pop(claim.key, None)
                    self._tokens[claim.key] = (tokens, now, claim)
        return 0.0, None

    def give(self, claims: Sequence[Claim], refund: bool) -> None:
        """Give shares back, and tokens where ``refund`` says so."""
        with self._lock:
            for claim in claims:
                if isinstance(claim, Share):
                    self._held[claim.key] -= 1
                    if not self._held[claim.key]:
                        del self._held[claim.key]
                elif refund and claim.key in self._tokens:
                    tokens, then, _ = self._tokens[claim.key]
                    self._tokens[claim.key] = (tokens + 1.0, then, claim)

    def _wait(self, claim: Claim, now: float) -> float:
        if isinstance(claim, Share):
            return SLOT_RETRY if self._held.get(claim.key, 0) >= claim.limit else 0.0
        if claim.key not in self._tokens and len(self._tokens) >= self._size:
            return math.inf
        lacking = 1.0 - self._count(claim, now)
        return lacking * claim.rate.period / claim.rate.runs if lacking > ROUNDING else 0.0

    def _count(self, claim: Token, now: float) -> float:
        tokens, then, _ = self._tokens.get(claim.key, (float(claim.burst), now, claim))
        refilled = max(0.0, now - then) * claim.rate.runs / claim.rate.period
        return min(float(claim.burst), tokens + refilled)

    def _forget(self, now: float) -> None:
        for key in list(itertools.islice(self._tokens, 2)):
            _, then, claim = self._tokens[key]
            if now - then >= claim.burst * claim.rate.period / claim.rate.runs:
                del self._tokens[key]


class Guard:
    """Admit or refuse, by the limits of one configuration."""

    def __init__(self, limits: Limits, tables: Tables | None = None) -> None:
        self._limits = limits
        self._tables = tables or Tables()

    def place(self, client: str) -> Lease:
        """Admit one answer for a client, named by ``visitors.client_key``, who pays a token for it.

        Raises Refusal: 503 when all places are taken, 429 when the client has its share or is too fast.
        """
        limits = self._limits
        own = f"You have {limits.per_client} answers in progress already."
        return self._take(
            Share(("viewers", ""), limits.viewers, 503, f"All {limits.viewers} viewers' places are taken."),
            Share(("viewers", client), limits.per_client, 429, own),
            Token(("client", client), limits.rate, limits.burst, "from your address"),
        )

    def slot(self, network: targets.Network | None) -> Lease:
        """Admit one process; ``network`` is where it sends packets to.

        Raises Refusal: 503 when all slots are taken, 429 when the network was asked for too often.
        """
        limits = self._limits
        all_slots = f"All {limits.concurrent} slots are taken."
        claims: list[Claim] = [Share(("slots", ""), limits.concurrent, 503, all_slots)]
        if network is not None:
            rate = limits.target_rate
            claims.append(Token(("target", str(network)), rate, rate.runs, "to this target's network"))
        return self._take(*claims)

    def _take(self, *claims: Claim) -> Lease:
        seconds, refused = self._tables.take(claims)
        if isinstance(refused, Share):
            raise Refusal(refused.status, seconds, refused.message)
        if refused and seconds == math.inf:
            raise Refusal(503, SLOT_RETRY, f"There is no room for counting what comes {refused.whose}.")
        if refused:
            rate = refused.rate
            limit = f"{rate.runs} runs in {rate.period:g} s, {refused.burst} at once"
            raise Refusal(429, seconds, f"The limit is {limit}, {refused.whose}.")
        return Lease(lambda refund: self._tables.give(claims, refund))
