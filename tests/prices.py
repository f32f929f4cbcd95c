"""What an attack takes from others, before and after: the real guard, by a clock that is only counted.

`make prices` prints the table; SECURITY.md has it. Honest visitors come one by one, each from a network of
its own, and ask something short. Attackers ask again as soon as they have been told that they may.
"""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import sys
from collections.abc import Iterator
from typing import NamedTuple

from lookingglass.guard import Lease, Limits, Rate
from lookingglass.targets import Network
from tests.limiting import House

NONE = Rate(10**6, 60.0)
# The limits as they were: each address, each target and the whole by itself, and no network, no seconds.
BEFORE = Limits(
    rate=Rate(10, 60.0),
    burst=5,
    target_rate=Rate(10, 60.0),
    per_router=16,
    network_share=1.0,
    global_rate=NONE,
    slot_seconds=NONE,
)
AFTER = Limits()
GAP = 2.0  # seconds between two honest visitors
SECONDS = 1.0  # that an honest visitor's command takes
HASTE = 0.25  # seconds after which an attacker asks again at the earliest
VICTIM = ipaddress.ip_network("203.0.113.0/24")


class Attack(NamedTuple):
    """Describe an attack: whose addresses, and what each of them runs."""

    name: str
    clients: tuple[str, ...]
    seconds: float  # that its command takes
    weight: int = 1
    target: Network | None = None  # that honest visitors want as well; None: everybody has another
    times: float = 1e9  # that each client asks


def addresses(number: int) -> tuple[str, ...]:
    """Return addresses, each in a /24 of its own."""
    return tuple(f"10.{each >> 8}.{each & 255}.1" for each in range(number))


def of_48s(networks: int, each: int = 24) -> tuple[str, ...]:
    """Return some /64s in each of some /48s."""
    return tuple(f"2001:db8:{one:x}:{two:x}::/64" for two in range(each) for one in range(networks))


ATTACKS = (
    Attack("one address, or one /64", addresses(1), 6.0, 4),
    Attack("one /48 (24 of its /64s), mtr", of_48s(1), 6.0, 4),
    Attack("one /48 (24 of its /64s), ping of 30 s", of_48s(1), 30.0, 1),
    Attack("ten /48s, mtr", of_48s(10), 6.0, 4),
    Attack("ten /48s, ping of 30 s", of_48s(10), 30.0, 1),
    Attack("50 addresses of 50 networks, mtr", addresses(50), 6.0, 4),
    Attack("50 addresses of one /24, mtr", tuple(f"10.0.0.{each}" for each in range(50)), 6.0, 4),
    Attack("two addresses, for one target /24", addresses(2), 1.0, 1, VICTIM),
    Attack("20 addresses, for one target /24", addresses(20), 1.0, 1, VICTIM),
    Attack("10,000 visitors of one web page, once each", addresses(10_000), 3.0, 1, None, 1),
)


class Harm(NamedTuple):
    """Say what came of an attack."""

    refused: float  # part of the honest visitors
    taken: float  # part of all runs, by the attackers
    lasting: float  # seconds after its end until no honest visitor is refused any more


def measure(limits: Limits, attack: Attack, minutes: float) -> Harm:
    """Let an attack go on for some minutes; the first one counts for nothing."""
    house = House(**limits._asdict())
    start, end = house.clock.now, house.clock.now + 60 * minutes
    events: list[tuple[float, int, str, object]] = []  # when, a number, what, whose
    numbers: Iterator[int] = itertools.count()

    def at(moment: float, what: str, whose: object) -> None:
        heapq.heappush(events, (moment, next(numbers), what, whose))

    spread = 60 * minutes / len(attack.clients) if attack.times == 1 else 0.013
    for number, client in enumerate(attack.clients):
        at(start + number * spread, "attack", client)
    for number in range(int((60 * minutes + 120) / GAP)):
        at(start + number * GAP, "honest", f"192.{number >> 8}.{number & 255}.1")
    refused: list[float] = []
    counts = {"honest": 0, "attack": 0, "visitors": 0}
    while events:
        house.clock.now, _, what, whose = heapq.heappop(events)
        now = house.clock.now
        if isinstance(whose, tuple):
            for lease in whose:
                lease.end()
            continue
        client = str(whose)
        if what == "attack" and now >= end:
            continue
        is_honest = what == "honest"
        seconds = SECONDS if is_honest else attack.seconds
        leases = begin(house, client, 1 if is_honest else attack.weight, attack.target)
        counted = start + 60 <= now < end
        counts["visitors"] += is_honest and counted
        if isinstance(leases, float):
            if is_honest:
                refused.append(now)
            wait = max(HASTE, leases)
        else:
            at(now + seconds, "end", leases)
            counts[what] += counted
            wait = seconds / limits.per_client
        if not is_honest and attack.times > 1:
            at(now + wait, "attack", client)
    during = sum(start + 60 <= each < end for each in refused)
    lasting = max((each - end for each in refused if each >= end), default=0.0)
    runs = counts["honest"] + counts["attack"]
    return Harm(during / counts["visitors"], counts["attack"] / max(1, runs), lasting)


def begin(house: House, client: str, weight: int, target: Network | None) -> tuple[Lease, Lease] | float:
    """Run something, and return what it holds, or the seconds after which to ask again."""
    place = house.place(client, weight)
    if not isinstance(place, Lease):
        return float(place.retry_after)
    slot = house.slot(client, target)
    if not isinstance(slot, Lease):
        place.end(refund=True)
        return float(slot.retry_after)
    return slot, place


def main(minutes: float = 10.0) -> None:
    """Print the table."""
    print(
        "| who attacks | refused to others, before | after | of all runs, before | after | lasts on, after |"
    )
    print("|---|---|---|---|---|---|")
    for attack in ATTACKS:
        old, new = (measure(limits, attack, minutes) for limits in (BEFORE, AFTER))
        print(
            f"| {attack.name} | {old.refused:.0%} | {new.refused:.0%} | {old.taken:.0%} | {new.taken:.0%}"
            f" | {new.lasting:.0f} s |"
        )


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
