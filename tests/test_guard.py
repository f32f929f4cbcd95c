"""The guard: what is taken all or none, leases that end once, rates, and how it refuses."""

from __future__ import annotations

import ipaddress
import math
import sys
import threading
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lookingglass import configuration
from lookingglass.guard import Lease, Rate
from lookingglass.problems import SOON
from lookingglass.store import Claim, Memory, Share, Token
from lookingglass.targets import network_of
from tests.limiting import Clock, House, admitted, refused
from tests.support import GENEROUS, HERE, at_once, changed, examples

ROOMY = configuration.read(changed("limits", GENEROUS), HERE).limits
TARGET, NEIGHBOUR, OTHER = (
    network_of(ipaddress.ip_address(text)) for text in ("203.0.113.5", "203.0.113.200", "198.51.100.1")
)


def roomy(**limits: object) -> House:
    """Return a house whose limits are out of reach, but for some."""
    return House(**{**ROOMY._asdict(), **limits})


# --- places and slots


def test_slot_beyond_the_last_is_refused_until_one_is_given_back() -> None:
    house = roomy(concurrent=2)
    admitted(house.slot())
    lease = admitted(house.slot())
    refusal = refused(house.slot(), 503, "All slots are taken (2).")
    assert (refusal.failure_source, refusal.retry_after) == ("glass", SOON)
    lease.end()
    admitted(house.slot())


def test_viewers_places_are_counted_over_all_clients() -> None:
    house = roomy(viewers=2)
    admitted(house.place("192.0.2.1"))
    lease = admitted(house.place("198.51.100.2"))
    refusal = refused(house.place("203.0.113.3"), 503, "All viewers' places are taken (2).")
    assert (refusal.failure_source, refusal.retry_after) == ("glass", SOON)
    lease.end()
    admitted(house.place("203.0.113.3"))


def test_one_client_has_its_share_and_others_have_theirs() -> None:
    house = roomy(per_client=2)
    admitted(house.place("2001:db8::/64"))
    lease = admitted(house.place("2001:db8::/64"))
    refusal = refused(house.place("2001:db8::/64"), 429, "You have 2 answers in progress already.")
    assert (refusal.failure_source, refusal.retry_after) == ("visitor", SOON)
    admitted(house.place("2001:db8:0:1::/64"))
    lease.end()
    admitted(house.place("2001:db8::/64"))


def test_client_whose_processes_do_not_end_gets_no_more_of_them() -> None:
    house = roomy(per_client=1)
    leases = [admitted(house.slot()) for _ in range(2)]  # the second while the first is ending
    refused(house.slot(), 429, "You run 2 commands already.")
    admitted(house.slot("192.0.2.2"))
    leases[0].end()
    admitted(house.slot())


def test_refused_place_takes_nothing_of_the_client_and_none_of_the_places() -> None:
    house = roomy(viewers=2, per_client=1, rate=Rate(2, 60.0), burst=2)
    lease = admitted(house.place())
    for _ in range(5):
        refused(house.place(), 429)
    admitted(house.place("192.0.2.2"))  # the second place of all is still there
    lease.end()
    admitted(house.place()).end()  # and so is the second token
    refused(house.place(), 429, "2 tokens in 60 s")


# --- leases


def test_giving_back_twice_gives_back_once() -> None:
    house = roomy(concurrent=1)
    lease = admitted(house.slot())
    assert lease.end() is True
    assert lease.end() is False
    admitted(house.slot())
    assert lease.end() is False
    refused(house.slot(), 503)


def test_lease_that_many_threads_end_is_given_back_once() -> None:
    for _ in range(20):
        given: list[bool] = []
        lease = Lease(given.append)
        firsts = at_once(8, lambda _, lease=lease: lease.end(refund=True))  # type: ignore[misc]
        assert given == [True]
        assert sorted(firsts) == [False] * 7 + [True]


# --- rates


def test_rate_is_a_burst_and_then_a_refill() -> None:
    house = roomy(rate=Rate(10, 60.0), burst=5)
    for _ in range(5):
        admitted(house.place()).end()
    words = "The limit is 10 tokens in 60 s, 5 at once, from your address. Try again in 6 s."
    refusal = refused(house.place(), 429, words)
    assert refusal.retry_after == 6
    admitted(house.place("192.0.2.2")).end()
    house.clock.now += refusal.retry_after
    admitted(house.place()).end()
    refused(house.place(), 429)
    house.clock.now += 3600
    for _ in range(5):
        admitted(house.place()).end()
    refused(house.place(), 429)


def test_network_has_its_share_of_all_runs() -> None:
    house = roomy(global_rate=Rate(12, 60.0), network_share=0.25)
    for number in range(3):
        admitted(house.place(f"192.0.2.{number}")).end()
    words = "The limit is 12 runs in 240 s, 3 at once, from your network."
    assert refused(house.place("192.0.2.9"), 429, words).retry_after == 20
    admitted(house.place("198.51.100.1"))


def test_visitor_who_waits_as_long_as_told_is_admitted_at_any_rate() -> None:
    house = roomy(rate=Rate(7, 60.0), burst=1)
    for _ in range(20):
        admitted(house.place()).end()
        house.clock.now += refused(house.place(), 429).retry_after


def test_clock_that_jumps_back_admits_nobody_more() -> None:
    house = roomy(rate=Rate(10, 60.0), burst=1)
    admitted(house.place()).end()
    house.clock.now -= 10_000
    refused(house.place(), 429)


def test_target_network_is_counted_over_all_clients() -> None:
    house = roomy(target_rate=Rate(2, 60.0))
    admitted(house.slot("192.0.2.1", TARGET))
    admitted(house.slot("10.0.0.1", NEIGHBOUR))
    words = "The limit is 2 runs in 60 s, 2 at once, to this target's network."
    assert refused(house.slot("10.1.0.1", TARGET), 429, words).retry_after == 30
    admitted(house.slot("10.1.0.1", OTHER))
    admitted(house.slot("10.1.0.1"))  # a look-up sends no packets


def test_refused_target_takes_no_slot() -> None:
    house = roomy(concurrent=2, target_rate=Rate(1, 60.0))
    admitted(house.slot(target=TARGET))
    refused(house.slot(target=TARGET), 429)
    admitted(house.slot())
    refused(house.slot(), 503)


def test_refused_slot_takes_no_token_of_the_target() -> None:
    house = roomy(concurrent=1, target_rate=Rate(1, 60.0))
    lease = admitted(house.slot())
    for _ in range(5):
        refused(house.slot(target=TARGET), 503)
    lease.end()
    admitted(house.slot(target=TARGET))


# --- the table in memory


def bucket(key: str, burst: float = 2) -> Token:
    return Token(key, Rate(60, 60.0), burst, owner=key)


def test_full_table_denies_new_keys_until_old_ones_are_refilled() -> None:
    clock = Clock()
    memory = Memory(clock, size=3)
    for key in "abc":
        assert memory.take([bucket(key)]).refused is None
    clock.now += 0.5
    decision = memory.take([bucket("d")])
    assert (decision.seconds, decision.refused) == (math.inf, bucket("d"))
    assert memory.take([bucket("a")]).refused is None
    clock.now += 0.5
    assert memory.take([bucket("d")]).refused is None
    assert memory.take([bucket("e")]).refused is None  # in the place of "b" and "c"; "a" was used since
    assert memory.take([bucket("f")]).refused == bucket("f")


def test_table_keeps_no_claim_of_a_client() -> None:
    memory = Memory(Clock())
    claims = [bucket(str(number), 5) for number in range(100)]
    before = [*map(sys.getrefcount, claims)]
    assert all(memory.take([claim]).refused is None for claim in claims)
    assert [*map(sys.getrefcount, claims)] == before


def test_table_stays_bounded_under_many_clients() -> None:
    clock = Clock()
    memory = Memory(clock, size=1000)
    taken = most = 0
    for number in range(20_000):
        clock.now += 0.001
        claim = bucket(str(number), 5)._replace(amount=5.0)  # which take five seconds to come back
        taken += memory.take([claim]).refused is None
        most = max(most, len(memory._buckets))
    assert taken == pytest.approx(4000, abs=2)
    assert most == 1000


# --- many threads


def test_two_hundred_threads_take_all_of_a_claim_or_none() -> None:
    """Each take wants one of 16 and one of 4: none of the 16 may be lost by those that got none of the 4."""
    memory = Memory(Clock())
    claims: list[Claim] = [Share("all", 16), Share("few", 4), bucket("x", 100_000)]
    taken, held, most, lock = 0, 0, 0, threading.Lock()

    def visit(number: int) -> None:
        nonlocal taken, held, most
        for _ in range(20):
            if memory.take(claims).refused:
                continue
            with lock:
                taken, held = taken + 1, held + 1
                most = max(most, held)
            with lock:
                held -= 1
            memory.give(claims)

    at_once(200, visit)
    assert 1 <= most <= 4
    assert memory._held == {}
    assert memory._buckets["x"].tokens == 100_000 - taken


def test_two_hundred_threads_never_hold_more_than_the_slots() -> None:
    house = roomy(concurrent=16)
    for _ in range(3):
        given = at_once(200, lambda _: house.slot())
        leases = [each for each in given if isinstance(each, Lease)]
        assert (len(given), len(leases)) == (200, 16)
        at_once(16, lambda number, leases=leases: leases[number].end())  # type: ignore[misc]
    for _ in range(16):
        admitted(house.slot())
    refused(house.slot(), 503)


class Visits(RuleBasedStateMachine):
    """Take and give back in any order: what is held is what the leases say."""

    def __init__(self) -> None:
        super().__init__()
        limits = {"concurrent": 3, "viewers": 4, "per_client": 2, "rate": Rate(60, 60.0), "burst": 3}
        self.house = roomy(**limits)
        self.places: list[tuple[str, Lease]] = []
        self.slots: list[tuple[str, Lease]] = []

    @rule(client=st.sampled_from("abc"), weight=st.integers(1, 4))
    def place(self, client: str, weight: int) -> None:
        is_full = len(self.places) == 4
        has_share = [key for key, _ in self.places].count(client) == 2
        given = self.house.place(client, weight)
        if isinstance(given, Lease):
            assert not is_full
            assert not has_share
            self.places.append((client, given))
        elif not (is_full or has_share):
            assert given.status == 429  # it is too fast
        assert is_full or getattr(given, "status", 200) != 503

    @rule(client=st.sampled_from("abc"))
    def slot(self, client: str) -> None:
        given = self.house.slot(client)
        if isinstance(given, Lease):
            self.slots.append((client, given))
            assert len(self.slots) <= 3
        else:
            assert (given.status, len(self.slots)) == (503, 3)

    @rule(number=st.integers(0, 9), is_place=st.booleans(), refund=st.booleans())
    def end(self, number: int, is_place: bool, refund: bool) -> None:
        leases = self.places if is_place else self.slots
        if leases:
            _, lease = leases.pop(number % len(leases))
            assert lease.end(refund)
            assert not lease.end(refund)

    @rule(seconds=st.floats(-5, 100))
    def wait(self, seconds: float) -> None:
        self.house.clock.now += seconds

    @invariant()
    def what_is_held_is_what_the_leases_say(self) -> None:
        expected: Counter[str] = Counter()
        for client, _ in self.places:
            expected.update(["viewers ", f"per_client {client}", f"network viewers {client}"])
        for client, _ in self.slots:
            expected.update(["concurrent ", "per_router r1"])
            expected.update([f"network slots {client}", f"client slots {client}"])
        assert self.house.memory._held == expected
        assert len(self.house.memory._buckets) <= 16  # five a client, and one of all


TestVisits = Visits.TestCase
TestVisits.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
