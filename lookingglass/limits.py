"""The limits as data: what each counts by, how much there is, and how it refuses.

A part of what there is for all is kept for strangers: networks that run nothing, and have run little lately.
So whoever takes more than others do, from however many networks, leaves room for those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from lookingglass.store import NO_FLOOR, Rate

PATIENCE = Rate(20, 60.0)  # answers of 429, after which each further one doubles the wait
LONGEST_WAIT = 600.0  # seconds
PART_OF_STRANGERS = 10  # a stranger takes at most a tenth of slot_seconds,
LEAST_OF_STRANGERS = 4.0  # and each of its runs takes so many of them besides its own
TARGETED = 80  # a stranger takes at most this part of a target's rate, and one run at once
PART = 4  # one network takes a quarter of a target's rate; a quarter of the whole is kept for strangers
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

    @property
    def keeps_some(self) -> bool:
        """Tell whether something is kept for strangers."""
        return self.network_share < 1

    def but_kept(self, places: int, part: int = 2) -> int:
        """Return how many of some places are for everybody; one part of so many is kept for strangers."""
        return self.share_of(places, places - places // part)

    def pool_but_kept(self, rate: Rate, part: int) -> Pool:
        """Return a bucket of which one part of so many is kept for strangers."""
        reserve = min(rate.runs / part, rate.runs - 1.0) if self.keeps_some else 0.0
        return Pool.of(rate)._replace(reserve=reserve)


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
    reserve: float = 0.0  # kept for strangers
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

    def told(self, number: int, **others: float) -> str:
        """Return the words for a number of what is limited; ``{s}`` is the ending of its plural."""
        return self.words.format(number=number, s="" if number == 1 else "s", **others)


def everybody(asked: Asked) -> str:
    """Count all together."""
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


def _strange(limits: Limits) -> Pool:
    rate = limits.slot_seconds
    return Pool(rate._replace(period=rate.period * PART_OF_STRANGERS), rate.runs / 3)


def _of_strangers(asked: Asked) -> float:
    return LEAST_OF_STRANGERS


# fmt: off
# What is asked in this order before an answer begins, and before a process is started.
PLACE = (
    Limit("refusals", _client, _patience, 429,
          "More than {number} of your questions in {period:g} s were refused.", _nothing),
    Limit(TOLD, _client, lambda limits: Pool(limits.rate, limits.burst), 429,
          "The limit is {number} token{s} in {period:g} s, {burst:g} at once, from your address.", _weight),
    Limit("seconds", _client, lambda limits: Pool.of(limits.slot_seconds), 429,
          "Your commands have taken more than {number} second{s} in {period:g} s.", _nothing),
    Limit("network seconds", _network, lambda limits: Pool.of(limits.slot_seconds, 2), 429,
          "Your network's commands have taken more than {number} second{s} in {period:g} s.", _nothing),
    Limit("viewers", everybody, lambda limits: limits.but_kept(limits.viewers, PART), 503,
          "All viewers' places are taken ({number})."),
    Limit("per_client", _client, lambda limits: limits.per_client, 429,
          "You have {number} answer{s} in progress already."),
    Limit("network viewers", _network, lambda limits: limits.share_of(limits.viewers), 429,
          "Your network has {number} answer{s} in progress already."),
    Limit("network rate", _network, lambda limits: Pool.of(limits.global_rate, limits.network_share), 429,
          "The limit is {number} run{s} in {period:g} s, {burst:g} at once, from your network."),
)
SLOT = (
    Limit("concurrent", everybody, lambda limits: limits.but_kept(limits.concurrent), 503,
          "All slots are taken ({number})."),
    Limit("per_router", _router, lambda limits: limits.but_kept(limits.per_router), 503,
          "The router runs {number} command{s} already."),
    Limit("network slots", _network, lambda limits: limits.share_of(limits.concurrent), 429,
          "Your network runs {number} command{s} already."),
    Limit("client slots", _client, lambda limits: 2 * limits.per_client, 429,  # those that are ending as well
          "You run {number} command{s} already."),
    Limit("target_rate", _target, lambda limits: limits.pool_but_kept(limits.target_rate, 2), 429,
          "The limit is {number} run{s} in {period:g} s, {burst:g} at once, to this target's network."),
    Limit("network target_rate", _target_and_network, lambda limits: Pool.of(limits.target_rate, 1 / PART),
          429,
          "The limit is {number} run{s} in {period:g} s, {burst:g} at once,"
          " from your network to this target's."),
    Limit("global_rate", everybody, lambda limits: limits.pool_but_kept(limits.global_rate, PART), 503,
          "The limit is {number} run{s} in {period:g} s, for all visitors together."),
)
RUNNING = Limit("strangers", _network, _strange, 503, "Your network has run much.", _of_strangers)
VIEWING = Limit("strange viewers", _network, _strange, 503, "Your network has viewed much.", _of_strangers)
# The same for strangers, who may have all of it, but little each.
STRANGE_PLACE = (
    *PLACE[:4],
    PLACE[4]._replace(of=lambda limits: limits.viewers),
    PLACE[5],
    PLACE[6]._replace(of=lambda limits: 1),
    PLACE[7],
    VIEWING,
)
STRANGE_SLOT = (
    SLOT[0]._replace(of=lambda limits: limits.concurrent),
    SLOT[1]._replace(of=lambda limits: limits.per_router),
    SLOT[2]._replace(of=lambda limits: 1),
    SLOT[3],
    SLOT[4]._replace(of=lambda limits: Pool.of(limits.target_rate)),
    SLOT[5],
    SLOT[6]._replace(of=lambda limits: Pool.of(limits.global_rate)),
    RUNNING,
    Limit("target strangers", _target_and_network, lambda limits: Pool.of(limits.target_rate, 1 / TARGETED),
          503, "Your network has run much towards this target's."),
)
# fmt: on
# Those of which a part is kept for strangers, unless one network may have everything.
FOR_STRANGERS = {"viewers", "concurrent", "per_router", "target_rate", "global_rate"}
# What a question takes once, and what each of its runs takes.
OF_ENTRIES = {"refusals", "viewers", "per_client", "network viewers", "strange viewers"}
ENTRY_LIMITS, STRANGE_ENTRY = (
    tuple(limit for limit in limits if limit.name in OF_ENTRIES) for limits in (PLACE, STRANGE_PLACE)
)
RUN_LIMITS = tuple(limit for limit in PLACE if limit not in ENTRY_LIMITS)
PENALTY = PLACE[0]  # which each refusal with 429 spends
# Whoever takes something of these is charged at the end, with the seconds for which it was held.
CHARGED = {"concurrent": PLACE[2:4], RUNNING.name: (RUNNING,), VIEWING.name: (VIEWING,)}
