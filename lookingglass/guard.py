"""Who may run how much: places, slots, rates and seconds, taken together or not at all."""

from __future__ import annotations

import functools
import ipaddress
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from lookingglass import targets
from lookingglass.problems import Quota, Refusal
from lookingglass.store import (
    NO_FLOOR,
    SHARE_RETRY,
    Claim,
    Decision,
    Gone,
    Memory,
    Rate,
    Share,
    Store,
    Token,
)
from lookingglass.waiting import Queue

__all__ = ["Guard", "Lease", "Limits", "Quota", "Rate"]

PATIENCE = Rate(20, 60.0)  # answers of 429, after which each further one doubles the wait
LONGEST_WAIT = 600.0  # seconds
GONE_RETRY = 2.0  # seconds after which a store that is gone is asked again
KEPT_CLAIMS = 512  # questions of clients, whose claims need not be made again; each takes 4 KiB
PART = 4  # one source network takes a quarter of a target's rate; a quarter of the whole is kept for the idle
NETWORKS = {4: 24, 6: 48}  # prefix lengths that stand for one who asks
TOLD = "rate"  # the limit whose state each answer tells


class Limits(NamedTuple):
    """Hold what the configuration's ``limits`` say."""

    runtime: float = 30.0  # seconds, RFC 8522's default
    max_runtime: float = 60.0  # seconds, the ceiling
    concurrent: int = 16  # processes at once
    viewers: int = 64  # answers in progress
    per_client: int = 2  # answers in progress for one client
    output_kib: int = 256
    rate: Rate = Rate(20, 60.0)  # tokens for one client
    burst: int = 10
    target_rate: Rate = Rate(20, 60.0)  # runs towards one target network, for all clients together
    per_router: int = 8  # processes at once
    network_share: float = 0.25  # of everything that there is for all, for one /24 or /48
    global_rate: Rate = Rate(120, 60.0)  # runs, for all clients together
    slot_seconds: Rate = Rate(60, 60.0)  # seconds of slots for one client; a network has twice as many
    lookups: int = 2  # names being looked up for one client
    downloads: int = 2  # at once for one client
    connections: int = 64  # of one client
    requests: Rate = Rate(20, 1.0)  # of one client, for what costs little
    queue: int = 32  # questions that wait
    routers_at_once: int = 4  # of one question

    def share_of(self, places: int, one: int = 1) -> int:
        """Return how many of some places one network may have, where one client may have ``one``."""
        return max(one, math.ceil(places * self.network_share))


class Asked(NamedTuple):
    """Say what limits count by."""

    client: str  # as ``visitors.client_key`` has it
    network: str  # of the client
    weight: float = 1.0  # of the command
    router: str = ""
    target: str = ""  # the network that packets are sent to


class Pool(NamedTuple):
    """Describe a bucket of tokens: ``burst`` at first, refilled by ``rate``."""

    rate: Rate
    burst: float
    reserve: float = 0.0  # kept for clients that run nothing
    floor: float = NO_FLOOR

    @classmethod
    def of(cls, rate: Rate, part: float = 1.0) -> Pool:
        """Return a part of a rate, at least one; all of it may be spent at once."""
        return cls(rate._replace(period=rate.period / part), math.ceil(rate.runs * part))


class Limit(NamedTuple):
    """Describe one limit: its name, what it counts by, how much there is, and how it refuses."""

    name: str
    whose: Callable[[Asked], str]
    of: Callable[[Limits], int | Pool]  # what may be held at once, or a bucket
    status: int
    words: str
    cost: Callable[[Asked], float] = lambda asked: 1.0  # of a bucket; 0: its debts only have to be paid


Row = tuple[Limit, Claim]


class Wanted(NamedTuple):
    """Hold what a question takes of the limits; it is made once for all questions that take the same."""

    rows: Sequence[Row]
    claims: Sequence[Claim]  # of the rows
    told: Sequence[Row]  # those whose state each answer tells
    penalty: Token  # for being refused
    charged: Sequence[Token]  # with the seconds that a slot was held


def _all(asked: Asked) -> str:
    return ""


def _client(asked: Asked) -> str:
    return asked.client


def _network(asked: Asked) -> str:
    return asked.network


def _router(asked: Asked) -> str:
    return asked.router


def _target(asked: Asked) -> str:
    return asked.target


def _target_and_network(asked: Asked) -> str:
    return asked.target and f"{asked.target} {asked.network}"


def _nothing(asked: Asked) -> float:
    return 0.0


def _weight(asked: Asked) -> float:
    return asked.weight


def _patience(limits: Limits) -> Pool:
    return Pool(PATIENCE, PATIENCE.runs, floor=-LONGEST_WAIT * PATIENCE.speed)


def _whole(limits: Limits) -> Pool:
    rate = limits.global_rate
    return Pool(rate, rate.runs, reserve=min(rate.runs / PART, rate.runs - 1.0))


# fmt: off
# What is asked in this order before an answer begins, and before a process is started.
PLACE = (
    Limit("refusals", _client, _patience, 429,
          "More than {runs} of your questions in {period:g} s were refused.", _nothing),
    Limit(TOLD, _client, lambda limits: Pool(limits.rate, limits.burst), 429,
          "The limit is {runs} tokens in {period:g} s, {burst:g} at once, from your address.", _weight),
    Limit("seconds", _client, lambda limits: Pool.of(limits.slot_seconds), 429,
          "Your commands have taken more than {runs} seconds in {period:g} s.", _nothing),
    Limit("network seconds", _network, lambda limits: Pool.of(limits.slot_seconds, 2), 429,
          "Your network's commands have taken more than {runs} seconds in {period:g} s.", _nothing),
    Limit("viewers", _all, lambda limits: limits.viewers, 503, "All {limit} viewers' places are taken."),
    Limit("per_client", _client, lambda limits: limits.per_client, 429,
          "You have {limit} answers in progress already."),
    Limit("network viewers", _network, lambda limits: limits.share_of(limits.viewers), 429,
          "Your network has {limit} answers in progress already."),
    Limit("network rate", _network, lambda limits: Pool.of(limits.global_rate, limits.network_share), 429,
          "The limit is {runs} runs in {period:g} s, {burst:g} at once, from your network."),
)
SLOT = (
    Limit("concurrent", _all, lambda limits: limits.concurrent, 503, "All {limit} slots are taken."),
    Limit("per_router", _router, lambda limits: limits.per_router, 503,
          "The router runs {limit} commands already."),
    Limit("network slots", _network, lambda limits: limits.share_of(limits.concurrent), 429,
          "Your network runs {limit} commands already."),
    Limit("client slots", _client, lambda limits: 2 * limits.per_client, 429,  # those that are ending as well
          "You run {limit} commands already."),
    Limit("target_rate", _target, lambda limits: Pool.of(limits.target_rate), 429,
          "The limit is {runs} runs in {period:g} s, {burst:g} at once, to this target's network."),
    Limit("network target_rate", _target_and_network, lambda limits: Pool.of(limits.target_rate, 1 / PART),
          429,
          "The limit is {runs} runs in {period:g} s, {burst:g} at once, from your network to this target's."),
    Limit("global_rate", _all, _whole, 503,
          "The limit is {runs} runs in {period:g} s, for all visitors together."),
)
# fmt: on
# Of PLACE: what a question takes once, and what each of its runs takes.
ENTRY_LIMITS = tuple(
    limit for limit in PLACE if limit.name in {"refusals", "viewers", "per_client", "network viewers"}
)
RUN_LIMITS = tuple(limit for limit in PLACE if limit not in ENTRY_LIMITS)
PENALTY = PLACE[0]  # which each refusal with 429 spends
IDLE = "client slots"  # whoever holds none of these runs nothing
# Charged at the end, with the seconds that a slot was held.
CHARGED = tuple(limit for limit in PLACE if limit.name in {"seconds", "network seconds"})


class Lease:
    """Hold shares until ``end``, which may be called more than once and in any thread."""

    def __init__(self, give_back: Callable[[bool], None], quotas: tuple[Quota, ...] = ()) -> None:
        self.quotas = quotas
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


class Guard:
    """Admit or refuse, by the limits of one configuration."""

    def __init__(
        self,
        limits: Limits,
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        queue: Queue | None = None,
    ) -> None:
        """Admit by other limits than before where there is a ``queue`` already."""
        self._store = store or Memory(clock)
        self._clock = clock
        self._place = functools.lru_cache(KEPT_CLAIMS)(self._place_of)
        self._slot = functools.lru_cache(KEPT_CLAIMS)(self._slot_of)
        self._told = Quota(TOLD, limits.rate.runs, math.ceil(limits.rate.period), 0, 0)
        self._amounts = {limit.name: limit.of(limits) for limit in (*PLACE, *SLOT)}
        share = limits.share_of(limits.queue)
        self.queue = Queue(self._store.is_shared, clock) if queue is None else queue
        self.queue.adjust(limits.queue, share, limits.max_runtime)

    def place(self, client: str, weight: float = 1.0) -> Lease:
        """Admit one answer for a client, named by ``visitors.client_key``, who pays a command's weight.

        Raises Refusal: 503 when all places are taken or the store is gone, 429 when the client or its network
        has its share, is too fast, or has been for too long.
        """
        return self._lease(self._place(client, weight))

    def entry(self, client: str) -> Lease:
        """Admit one question whose runs may wait; raises Refusal as ``place`` does."""
        return self._lease(self._wanted(ENTRY_LIMITS, Asked(client, network_of(client))))

    def tokens(self, client: str, weight: float, behind: Collection[str]) -> Lease:
        """Have a client pay for a run that may wait, ``behind`` those who wait for some keys already.

        Raises Refusal, for which nobody is punished.
        """
        return self._lease(self._wanted(RUN_LIMITS, Asked(client, network_of(client), weight)), behind)

    def slot(
        self,
        network: targets.Network | None,
        client: str,
        router: str,
        behind: Collection[str] | None = None,
    ) -> Lease:
        """Admit one process; ``network`` is where it sends packets to. The client pays its time at the end.

        ``behind``: the keys that others wait for who come first; None: it does not wait, so all others do.

        Raises Refusal: 503 when all slots are taken, there were too many runs or the store is gone, 429 when
        the client's network has its share, or the target's network was asked for too often.
        """
        wanted = self._slot(network, client, router)
        quotas = self._take(wanted, behind)
        started = self._clock()

        def give_back(refund: bool) -> None:
            self._give(wanted, refund)
            for token in () if refund else wanted.charged:
                self._store.charge(token, self._clock() - started)

        return Lease(give_back, quotas)

    def headers(self, quotas: Sequence[Quota] = ()) -> dict[str, str]:
        """Return the headers of an answer: policies, and what is left by them where that is known.

        They are those of draft-ietf-httpapi-ratelimit-headers.
        """
        policies = {
            each.policy: f'"{each.policy}";q={each.quota};w={each.window}' for each in (self._told, *quotas)
        }
        states = [f'"{each.policy}";r={each.left};t={each.reset}' for each in quotas]
        state = {"RateLimit": ", ".join(states)} if states else {}
        return {"RateLimit-Policy": ", ".join(policies.values()), **state}

    def close(self) -> None:
        """Give back all that is held."""
        self.queue.close()
        self._store.close()

    def _lease(self, wanted: Wanted, behind: Collection[str] | None = None) -> Lease:
        quotas = self._take(wanted, behind)
        return Lease(lambda refund: self._give(wanted, refund), quotas)

    def _take(self, wanted: Wanted, behind: Collection[str] | None) -> tuple[Quota, ...]:
        """Take all that is wanted, or nothing; who does not wait is punished for a refusal."""
        ahead = self.queue.awaited if behind is None else behind
        if ahead:
            _refuse_overtaking(wanted, ahead)
        try:
            decision = self._store.take(wanted.claims, wanted.penalty if behind is None else None)
        except Gone:
            raise Refusal(503, GONE_RETRY, "Limits cannot be counted now.", "store") from None
        if decision.refused is not None:
            raise _refusal(wanted, decision.refused, decision)
        return _quotas(wanted.told, decision)

    def _give(self, wanted: Wanted, refund: bool) -> None:
        self._store.give(wanted.claims, refund)
        if self.queue:
            self.queue.free(claim.key for claim in wanted.claims)

    def _place_of(self, client: str, weight: float) -> Wanted:
        return self._wanted(PLACE, Asked(client, network_of(client), weight))

    def _slot_of(self, network: targets.Network | None, client: str, router: str) -> Wanted:
        return self._wanted(SLOT, Asked(client, network_of(client), 1.0, router, str(network or "")))

    def _wanted(self, limits: tuple[Limit, ...], asked: Asked) -> Wanted:
        """Return a claim for each of the limits that concern a question."""
        rows = [
            (limit, self._claim(limit, asked))
            for limit in limits
            if limit.whose is _all or limit.whose(asked)
        ]
        told = [row for row in rows if row[0].name == TOLD]
        debts = (self._claim(limit, asked) for limit in (PENALTY, *CHARGED))
        penalty, *charged = (debt for debt in debts if isinstance(debt, Token))
        return Wanted(rows, [claim for _, claim in rows], told, penalty, charged)

    def _claim(self, limit: Limit, asked: Asked) -> Claim:
        amount = self._amounts[limit.name]
        key = f"{limit.name} {limit.whose(asked)}"
        if isinstance(amount, int):
            return Share(key, amount, limit.status)
        return Token(
            key,
            amount.rate,
            amount.burst,
            amount=min(limit.cost(asked), amount.burst),  # what costs more than there can be costs all
            status=limit.status,
            owner=asked.network,
            reserve=amount.reserve,
            idle=f"{IDLE} {asked.client}",
            floor=amount.floor,
        )


@functools.lru_cache(1024)
def network_of(client: str) -> str:
    """Return the /24 or /48 of a client's address or key; all unknown clients are one network."""
    try:
        network = ipaddress.ip_network(client)
    except ValueError:
        return client
    return str(network.supernet(new_prefix=NETWORKS[network.version]))


def _refuse_overtaking(wanted: Wanted, awaited: Collection[str]) -> None:
    """Raise Refusal for what somebody waits for who comes first, whether it is there or not."""
    for claim in wanted.claims:
        if claim.key in awaited:
            refusal = _refusal(wanted, claim, Decision(SHARE_RETRY, claim))
            refusal.refill = 0.0
            raise refusal


def _refusal(wanted: Wanted, refused: Claim, decision: Decision) -> Refusal:
    limit = next(limit for limit, claim in wanted.rows if claim is refused)
    quotas = _quotas([row for row in wanted.rows if row in wanted.told or row[0] is limit], decision)
    if isinstance(refused, Share):
        words = limit.words.format(limit=refused.limit)
        refusal = Refusal(limit.status, decision.seconds, words, limit.name, quotas)
        refusal.awaited = refused.key
        return refusal
    if decision.seconds == math.inf:
        room = "There is no room for counting what comes from your network."
        return Refusal(503, GONE_RETRY, room, limit.name, quotas)
    rate = refused.rate
    words = limit.words.format(runs=rate.runs, period=rate.period, burst=refused.burst)
    weight = f" This command costs {refused.amount:g}." if refused.amount > 1 else ""
    refusal = Refusal(limit.status, decision.seconds, words + weight, limit.name, quotas)
    refusal.awaited, refusal.refill = "" if refused.reserve else refused.key, decision.seconds
    return refusal


def _quotas(rows: Iterable[Row], decision: Decision) -> tuple[Quota, ...]:
    """Return what is left of those buckets that were looked at."""
    return tuple(
        _quota(limit, claim, decision.left[claim.key])
        for limit, claim in rows
        if isinstance(claim, Token) and claim.key in decision.left
    )


def _quota(limit: Limit, token: Token, left: float) -> Quota:
    rate = token.rate
    reset = math.ceil(token.seconds(token.burst - left))
    return Quota(limit.name, rate.runs, math.ceil(rate.period), max(0, math.floor(left)), max(0, reset))
