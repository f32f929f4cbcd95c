"""What an attack takes from others, before and after: the real guard, by a clock that is only counted.

`make prices` prints the table; SECURITY.md has it. Honest visitors come one by one, each from a network of
its own, and ask something short. Attackers ask again as soon as they have been told that they may.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import ipaddress
import itertools
from collections.abc import Callable
from typing import NamedTuple

from lookingglass.guard import Lease, Limits, Rate, network_of
from lookingglass.names import DEADLINE, Places
from lookingglass.problems import SOON, Refusal
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
SECONDS = 1.0  # that an honest visitor's command takes
QUICK = 0.05  # that the look-up of its name takes
HASTE = 0.25  # seconds after which an attacker asks again at the earliest
AFTERWARDS = 120.0  # seconds for which honest visitors come after the attack
VICTIM = ipaddress.ip_network("203.0.113.0/24")


class Attack(NamedTuple):
    """Describe an attack: whose addresses, and what each of them runs."""

    name: str
    clients: tuple[str, ...]
    seconds: float  # that its command takes
    weight: int = 1
    target: Network | None = None  # that honest visitors want as well; None: everybody has another
    gap: float = 2.0  # seconds between two honest visitors
    is_once: bool = False  # that each client asks
    is_shared: bool = False  # one Run, which all of them view
    hangs: float = 0.0  # seconds in which the servers of its names are silent; 0: it names none


def addresses(number: int) -> tuple[str, ...]:
    """Return addresses, each in a /24 of its own."""
    return tuple(f"10.{each >> 8}.{each & 255}.1" for each in range(number))


def of_48s(networks: int, each: int = 24) -> tuple[str, ...]:
    """Return some /64s in each of some /48s."""
    return tuple(f"2001:db8:{one:x}:{two:x}::/64" for two in range(each) for one in range(networks))


def in_24s(networks: int, each: int = 8) -> tuple[str, ...]:
    """Return some addresses in each of some /24s."""
    return tuple(f"10.0.{one}.{two}" for two in range(each) for one in range(networks))


ATTACKS = (
    Attack("one address, or one /64", addresses(1), 6.0, 4),
    Attack("one /48 (24 of its /64s), mtr", of_48s(1), 6.0, 4),
    Attack("one /48 (24 of its /64s), ping of 30 s", of_48s(1), 30.0, 1),
    Attack("ten /48s, mtr", of_48s(10), 6.0, 4),
    Attack("ten /48s, ping of 30 s", of_48s(10), 30.0, 1),
    Attack("50 addresses of 50 networks, mtr", addresses(50), 6.0, 4),
    Attack("50 addresses of one /24, mtr", tuple(f"10.0.0.{each}" for each in range(50)), 6.0, 4),
    Attack("two addresses, for one target /24", addresses(2), 1.0, 1, VICTIM, 15.0),
    Attack("20 addresses, for one target /24", addresses(20), 1.0, 1, VICTIM, 15.0),
    Attack("10,000 visitors of one web page, once each", addresses(10_000), 3.0, 1, None, 2.0, True),
    Attack("32 addresses of 4 networks, viewing one ping of 30 s", in_24s(4), 30.0, is_shared=True),
    Attack("320 addresses of 40 networks, viewing one ping of 30 s", in_24s(40), 30.0, is_shared=True),
    Attack("11 addresses, silent name servers", addresses(11), DEADLINE, hangs=20.0),
    Attack("110 addresses of 110 networks, silent name servers", addresses(110), DEADLINE, hangs=20.0),
)


class Before(Places):
    """Count look-ups as they were counted: 32 places for everybody."""

    def take(self, client: str, network: str) -> None:
        """Take one place; raises Refusal."""
        if self.taken >= 32:
            raise Refusal(503, SOON, "All places are taken.")
        self._clients[client] += 1
        self._networks[network] += 1


class Harm(NamedTuple):
    """Say what came of an attack."""

    refused: float  # part of the honest visitors
    taken: float  # part of all runs, by the attackers
    lasting: float  # seconds after its end until no honest visitor is refused any more


class Siege:
    """Let honest visitors and attackers come, in the order of their moments."""

    def __init__(self, limits: Limits, attack: Attack, minutes: float) -> None:
        self.house = House(**limits._asdict())
        self.start = self.house.clock.now
        self.end = self.start + 60 * minutes
        self.refused: list[float] = []  # when honest visitors were
        self.visitors = 0  # in what counts: during the attack, the first minute left out
        self.runs = {True: 0, False: 0}  # of honest visitors and of attackers
        self.places = (Before if limits is BEFORE else Places)(limits.lookups, limits.network_share)
        self._attack = attack
        self._shared_until = 0.0  # when the Run that attackers share ends
        self._pace = limits.per_client
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        spread = 60 * minutes / len(attack.clients) if attack.is_once else 0.013
        for number, client in enumerate(attack.clients):
            self._at(self.start + number * spread, functools.partial(self._storm, client))
        for number in range(int((60 * minutes + AFTERWARDS) / attack.gap)):
            client = f"192.{number >> 8}.{number & 255}.1"
            self._at(self.start + number * attack.gap, functools.partial(self._visit, client))

    def go_on(self) -> None:
        """Let all of it happen."""
        while self._events:
            self.house.clock.now, _, happen = heapq.heappop(self._events)
            happen()

    @property
    def _counts(self) -> bool:
        return self.start + 60 <= self.house.clock.now < self.end

    def _at(self, moment: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), happen))

    def _visit(self, client: str) -> None:
        self.visitors += self._counts
        if self._run(client, SECONDS, 1):
            self.refused.append(self.house.clock.now)

    def _storm(self, client: str) -> None:
        now = self.house.clock.now
        if now >= self.end:
            return
        wait = self._run(client, self._attack.seconds, self._attack.weight)
        if not self._attack.is_once:
            again = max(HASTE, wait) if wait else self._attack.seconds / self._pace
            self._at(now + again, functools.partial(self._storm, client))

    def _run(self, client: str, seconds: float, weight: int) -> float:
        """Run something; return the seconds after which to ask again where it is refused."""
        place = self.house.place(client, weight)
        if not isinstance(place, Lease):
            return float(place.retry_after)
        is_honest = client.startswith("192.")
        try:
            if self._attack.hangs:
                self._look_up(client, QUICK if is_honest else self._attack.hangs)
            leases = [place, *self._slots(client, seconds, is_honest)]
        except Refusal as refusal:
            place.end(refund=True)
            return float(refusal.retry_after)
        self.runs[is_honest] += self._counts
        self._at(self.house.clock.now + seconds, functools.partial(_end, *leases))
        return 0.0

    def _look_up(self, client: str, seconds: float) -> None:
        who = client, network_of(client)
        self.places.take(*who)
        self._at(self.house.clock.now + seconds, functools.partial(self.places.give, *who))

    def _slots(self, client: str, seconds: float, is_honest: bool) -> list[Lease]:
        """Take what a run needs: nothing for one that is shared, or whose name is never resolved."""
        now = self.house.clock.now
        if not is_honest and (self._attack.hangs or now < self._shared_until):
            return []
        slot = self.house.slot(client, self._attack.target)
        if isinstance(slot, Refusal):
            raise slot
        if not is_honest and self._attack.is_shared:
            self._shared_until = now + seconds
        return [slot]


def _end(*leases: Lease) -> None:
    for lease in leases:
        lease.end()


def measure(limits: Limits, attack: Attack, minutes: float) -> Harm:
    """Let an attack go on for some minutes."""
    siege = Siege(limits, attack, minutes)
    siege.go_on()
    during = sum(siege.start + 60 <= each < siege.end for each in siege.refused)
    lasting = max((each - siege.end for each in siege.refused if each >= siege.end), default=0.0)
    taken = siege.runs[False] / max(1, sum(siege.runs.values()))
    return Harm(during / siege.visitors, taken, lasting)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.prices", description=__doc__)
    parser.add_argument(
        "minutes", nargs="?", type=float, default=10.0, metavar="MINUTES", help="of each attack; default: 10"
    )
    minutes = parser.parse_args().minutes
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
    main()
