"""Who may run how much: places, slots, rates and seconds, taken together or not at all."""

from __future__ import annotations

import functools
import ipaddress
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from lookingglass import targets
from lookingglass.limits import (
    CHARGED,
    ENTRY_LIMITS,
    FOR_STRANGERS,
    PENALTY,
    PLACE,
    RUN_LIMITS,
    SLOT,
    STRANGE_ENTRY,
    STRANGE_PLACE,
    STRANGE_SLOT,
    TOLD,
    Asked,
    Limit,
    Limits,
    everybody,
)
from lookingglass.problems import Quota, Refusal
from lookingglass.store import (
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

GONE_RETRY = 2.0  # seconds after which a store that is gone is asked again
KEPT_CLAIMS = 512  # questions of clients, whose claims need not be made again; each takes 4 KiB
KEPT_PATIENT = 64  # the same of questions that may wait, of which there are fewer and which take longer
NETWORKS = {4: 24, 6: 48}  # prefix lengths that stand for one who asks

Row = tuple[Limit, Claim]


class Wanted(NamedTuple):
    """Hold what a question takes of the limits; it is made once for all questions that take the same."""

    rows: Sequence[Row]
    claims: Sequence[Claim]  # of the rows
    told: Sequence[Row]  # those whose state each answer tells
    penalty: Token  # for being refused
    charged: Sequence[Token]  # with the seconds for which it was held


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
        self._entry = functools.lru_cache(KEPT_PATIENT)(self._entry_of)
        self._slot = functools.lru_cache(KEPT_CLAIMS)(self._slot_of)
        self._patient = functools.lru_cache(KEPT_PATIENT)(self._wanted)
        self._told = Quota(TOLD, limits.rate.runs, math.ceil(limits.rate.period), 0, 0)
        self._amounts = {limit: limit.of(limits) for limit in (*PLACE, *SLOT, *STRANGE_SLOT, *STRANGE_PLACE)}
        self._keeps_some = limits.keeps_some
        share = limits.share_of(limits.queue)
        self.queue = Queue(self._store.is_shared, clock) if queue is None else queue
        self.queue.adjust(limits.queue, share, limits.max_runtime)

    def place(self, client: str, weight: float = 1.0) -> Lease:
        """Admit one answer for a client, named by ``visitors.client_key``, who pays a command's weight.

        Raises Refusal: 503 when all places are taken or the store is gone, 429 when the client or its network
        has its share, is too fast, or has been for too long.
        """
        return self._admit(None, self._place, client, weight)

    def entry(self, client: str) -> Lease:
        """Admit one question whose runs may wait; raises Refusal as ``place`` does."""
        return self._admit(None, self._entry, client)

    def tokens(self, client: str, weight: float, behind: Collection[str]) -> Lease:
        """Have a client pay for a run that may wait, ``behind`` those who wait for some keys already.

        Raises Refusal, for which nobody is punished.
        """
        wanted = self._patient(RUN_LIMITS, Asked(client, network_of(client), weight))
        return self._lease(wanted, self._take(wanted, behind))

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
        return self._admit(behind, self._slot, network, client, router)

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

    def _admit(self, behind: Collection[str] | None, want: Callable[..., Wanted], *asked: Any) -> Lease:
        """Take what is wanted, and where it is gone, of what is kept for strangers."""
        wanted = want(*asked)
        try:
            quotas = self._take(wanted, behind)
        except Refusal as refusal:
            if not self._keeps_some or refusal.limit not in FOR_STRANGERS:
                raise
            wanted = want(*asked, is_kept=True)
            quotas = self._take_kept(wanted, refusal)
        return self._lease(wanted, quotas)

    def _lease(self, wanted: Wanted, quotas: tuple[Quota, ...]) -> Lease:
        """Return a lease of what was taken, which keeps no more of it than it gives back."""
        return Lease(functools.partial(self._give, wanted.claims, wanted.charged, self._clock()), quotas)

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

    def _take_kept(self, wanted: Wanted, refusal: Refusal) -> tuple[Quota, ...]:
        """Take what is kept for strangers, whoever waits for the rest; raises what tells a visitor more."""
        try:
            return self._take(wanted, ())
        except Refusal as other:
            raise (other if other.limit in FOR_STRANGERS else refusal) from None

    def _give(self, claims: Sequence[Claim], charged: Sequence[Token], began: float, refund: bool) -> None:
        seconds = self._clock() - began
        self._store.give(claims, refund, () if refund else [(token, seconds) for token in charged])
        if self.queue:
            self.queue.free(claim.key for claim in claims)

    def _place_of(self, client: str, weight: float, is_kept: bool = False) -> Wanted:
        return self._wanted(STRANGE_PLACE if is_kept else PLACE, Asked(client, network_of(client), weight))

    def _entry_of(self, client: str, is_kept: bool = False) -> Wanted:
        return self._wanted(STRANGE_ENTRY if is_kept else ENTRY_LIMITS, Asked(client, network_of(client)))

    def _slot_of(
        self, network: targets.Network | None, client: str, router: str, is_kept: bool = False
    ) -> Wanted:
        asked = Asked(client, network_of(client), 1.0, router, str(network or ""))
        return self._wanted(STRANGE_SLOT if is_kept else SLOT, asked)

    def _wanted(self, limits: tuple[Limit, ...], asked: Asked) -> Wanted:
        """Return a claim for each of the limits that concern a question."""
        rows = [
            (limit, self._claim(limit, asked))
            for limit in limits
            if limit.whose is everybody or limit.whose(asked)
        ]
        told = [row for row in rows if row[0].name == TOLD]
        charged = [debt for limit in limits for debt in CHARGED.get(limit.name, ())]
        debts = (self._claim(limit, asked) for limit in (PENALTY, *charged))
        penalty, *spent = (debt for debt in debts if isinstance(debt, Token))
        return Wanted(rows, [claim for _, claim in rows], told, penalty, spent)

    def _claim(self, limit: Limit, asked: Asked) -> Claim:
        amount = self._amounts[limit]
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
        words = limit.told(refused.limit)
        refusal = Refusal(limit.status, decision.seconds, words, limit.name, quotas)
        refusal.awaited = refused.key
        return refusal
    if decision.seconds == math.inf:
        room = "There is no room for counting what comes from your network."
        return Refusal(503, GONE_RETRY, room, limit.name, quotas)
    rate = refused.rate
    words = limit.told(rate.runs, period=rate.period, burst=refused.burst)
    weight = f" This command costs {refused.amount:g}." if refused.amount > 1 else ""
    refusal = Refusal(limit.status, decision.seconds, words + weight, limit.name, quotas)
    refusal.awaited, refusal.refill = "" if refused.reserve else refused.key, decision.seconds
    refusal.interval = refused.seconds(refused.amount)
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
