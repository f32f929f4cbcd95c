"""Limits: slots, places, rates; by a clock that the test moves."""

from __future__ import annotations

import ipaddress
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lookingglass.guard import Claim, Guard, Lease, Limits, Rate, Share, Tables, Token
from lookingglass.problems import SOON, Refusal
from lookingglass.targets import network_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


GENEROUS = Limits(rate=Rate(1000, 60), burst=1000, per_client=1000, target_rate=Rate(1000, 60))
NETWORK = network_of(ipaddress.ip_address("203.0.113.5"))


def guard_of(clock: Clock | None = None, **limits: Any) -> Guard:
    return Guard(GENEROUS._replace(**limits), Tables(clock or Clock()))


def refused(call: Callable[..., object], *arguments: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    return caught.value


def test_a_slot_beyond_the_last_is_refused_until_one_is_given_back() -> None:
    guard = guard_of(concurrent=2)
    guard.slot(None)
    lease = guard.slot(None)
    refusal = refused(guard.slot, None)
    assert (refusal.status, refusal.failure_source) == (503, "glass")
    assert refusal.retry_after == SOON
    assert "2" in str(refusal)
    lease.end()
    guard.slot(None)


def test_giving_back_twice_gives_back_once() -> None:
    guard = guard_of(concurrent=1)
    lease = guard.slot(None)
    assert lease.end() is True
    assert lease.end() is False
    guard.slot(None)
    assert lease.end() is False
    assert refused(guard.slot, None).status == 503


def test_lease_that_many_threads_end_is_given_back_once() -> None:
    given: list[bool] = []
    for _ in range(20):
        given.clear()
        lease, firsts, together = Lease(given.append), [], threading.Barrier(8)

        def end(lease: Lease = lease, together: threading.Barrier = together) -> None:
            together.wait()
            firsts.append(lease.end(refund=True))  # noqa: B023 - joined below

        threads = [threading.Thread(target=end) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert given == [True]
        assert sorted(firsts) == [False] * 7 + [True]


def test_viewers_places_are_counted_over_all_clients() -> None:
    guard = guard_of(viewers=2)
    guard.place("192.0.2.1")
    lease = guard.place("192.0.2.2")
    assert refused(guard.place, "192.0.2.3").status == 503
    lease.end()
    guard.place("192.0.2.3")


def test_one_client_has_its_share_and_others_have_theirs() -> None:
    guard = guard_of(per_client=2)
    guard.place("2001:db8::/64")
    lease = guard.place("2001:db8::/64")
    refusal = refused(guard.place, "2001:db8::/64")
    assert (refusal.status, refusal.failure_source) == (429, "visitor")
    guard.place("2001:db8:0:1::/64")
    lease.end()
    guard.place("2001:db8::/64")


def test_rate_is_a_burst_and_then_a_refill() -> None:
    clock = Clock()
    guard = guard_of(clock, rate=Rate(10, 60.0), burst=5)
    for _ in range(5):
        guard.place("192.0.2.1").end()
    refusal = refused(guard.place, "192.0.2.1")
    assert (refusal.status, refusal.retry_after) == (429, 6)
    assert "10 runs in 60 s" in str(refusal)
    guard.place("192.0.2.2").end()
    clock.now += refusal.retry_after
    guard.place("192.0.2.1").end()
    assert refused(guard.place, "192.0.2.1").status == 429
    clock.now += 3600
    for _ in range(5):
        guard.place("192.0.2.1").end()
    assert refused(guard.place, "192.0.2.1").status == 429


def test_a_refused_client_loses_no_token() -> None:
    clock = Clock()
    guard = guard_of(clock, rate=Rate(60, 60.0), burst=1)
    guard.place("192.0.2.1").end()
    for _ in range(100):
        refused(guard.place, "192.0.2.1")
    clock.now += 1.0
    guard.place("192.0.2.1")


def test_target_network_is_counted_over_all_clients() -> None:
    guard = guard_of(target_rate=Rate(2, 60.0))
    guard.slot(NETWORK)
    guard.slot(network_of(ipaddress.ip_address("203.0.113.200")))
    assert refused(guard.slot, NETWORK).status == 429
    guard.slot(network_of(ipaddress.ip_address("198.51.100.1")))
    guard.slot(None)  # a look-up sends no packets


def test_a_refused_target_takes_no_slot() -> None:
    guard = guard_of(concurrent=2, target_rate=Rate(1, 60.0))
    guard.slot(NETWORK)
    refused(guard.slot, NETWORK)
    guard.slot(None)
    assert refused(guard.slot, None).status == 503


def test_a_refused_slot_takes_no_token_of_the_target() -> None:
    clock = Clock()
    guard = guard_of(clock, concurrent=1, target_rate=Rate(1, 60.0))
    lease = guard.slot(None)
    for _ in range(5):
        assert refused(guard.slot, NETWORK).status == 503
    lease.end()
    guard.slot(NETWORK)


def test_a_refused_place_takes_nothing_of_the_client_and_none_of_the_places() -> None:
    guard = guard_of(viewers=2, per_client=1, rate=Rate(2, 60.0), burst=2)
    lease = guard.place("192.0.2.1")
    for _ in range(5):
        assert refused(guard.place, "192.0.2.1").status == 429
    guard.place("192.0.2.2")  # the second place of all is still there
    lease.end()
    guard.place("192.0.2.1").end()  # and so is the second token


def test_a_clock_that_jumps_back_admits_nobody_more() -> None:
    clock = Clock()
    guard = guard_of(clock, rate=Rate(10, 60.0), burst=1)
    guard.place("192.0.2.1").end()
    clock.now -= 10_000
    assert refused(guard.place, "192.0.2.1").status == 429


def token(key: str, burst: int = 2) -> Token:
    return Token(("client", key), Rate(60, 60.0), burst, "from your address")


def test_a_full_table_denies_new_keys_until_old_ones_are_refilled() -> None:
    clock = Clock()
    tables = Tables(clock, size=3)
    for key in "abc":
        assert tables.take([token(key)]) == (0.0, None)
    clock.now += 0.5
    assert tables.take([token("d")]) == (math.inf, token("d"))
    assert tables.take([token("a")]) == (0.0, None)
    clock.now += 1.5
    assert tables.take([token("d")]) == (0.0, None)


def test_a_table_stays_bounded_under_many_clients() -> None:
    clock = Clock()
    tables = Tables(clock, size=1000)
    admitted = 0
    for number in range(20_000):
        clock.now += 0.001
        admitted += tables.take([token(str(number), burst=5)])[1] is None
    assert 1000 <= admitted <= 5000
    assert len(tables._tokens) <= 1000


def test_full_table_is_told_as_such() -> None:
    clock = Clock()
    guard = Guard(GENEROUS._replace(rate=Rate(1, 86400.0), burst=1), Tables(clock, size=1))
    guard.place("192.0.2.1")
    refusal = refused(guard.place, "192.0.2.2")
    assert (refusal.status, refusal.retry_after) == (503, SOON)
    assert "room" in str(refusal)


def test_token_is_given_back_for_what_was_refused_and_only_then() -> None:
    guard = guard_of(rate=Rate(2, 60.0), burst=2)
    for _ in range(5):
        guard.place("192.0.2.1").end(refund=True)
    for _ in range(2):
        guard.place("192.0.2.1").end()
    assert refused(guard.place, "192.0.2.1").status == 429


def test_refund_never_fills_a_bucket_over_its_brim() -> None:
    clock = Clock()
    guard = guard_of(clock, rate=Rate(1, 60.0), burst=2)
    lease = guard.place("192.0.2.1")
    clock.now += 3600
    lease.end(refund=True)
    for _ in range(2):
        guard.place("192.0.2.1").end()
    assert refused(guard.place, "192.0.2.1").status == 429


def test_who_waits_as_long_as_told_is_admitted() -> None:
    clock = Clock()
    guard = guard_of(clock, rate=Rate(7, 60.0), burst=1)
    for _ in range(20):
        guard.place("192.0.2.1").end()
        refusal = refused(guard.place, "192.0.2.1")
        assert f"Try again in {refusal.retry_after} s." in str(refusal)
        clock.now += refusal.retry_after


@pytest.mark.parametrize(
    "claims",
    [
        [Share(("all", ""), 5, 503, "all"), Share(("mine", "x"), 0, 429, "mine")],
        [Share(("all", ""), 5, 503, "all"), token("full"), Share(("mine", "x"), 0, 429, "mine")],
        [token("a"), token("full")],
        [token("a"), Share(("all", ""), 5, 503, "all"), token("full")],
    ],
)
def test_refused_claim_leaves_those_before_it_untouched(claims: list[Claim]) -> None:
    clock = Clock()
    tables = Tables(clock)
    while tables.take([token("full")])[1] is None:
        pass
    held, tokens = dict(tables._held), dict(tables._tokens)
    seconds, refused_claim = tables.take(claims)
    assert seconds > 0
    assert refused_claim in claims[1:]
    assert (tables._held, tables._tokens) == (held, tokens)


def test_two_hundred_threads_take_all_of_a_claim_or_none() -> None:
    """Each take wants one of 16 and one of 4: none of the 16 may be lost by those that got none of the 4."""
    tables = Tables(Clock())
    claims: list[Claim] = [
        Share(("all", ""), 16, 503, "all"),
        Share(("few", ""), 4, 503, "few"),
        token("x", burst=100_000),
    ]
    together = threading.Barrier(200)
    taken, lock = [0, 0, 0], threading.Lock()

    def visit() -> None:
        together.wait(60)
        for _ in range(20):
            is_taken = tables.take(claims)[1] is None
            if not is_taken:
                continue
            with lock:
                taken[0] += 1
                taken[1] += 1
                taken[2] = max(taken[2], taken[1])
            with lock:
                taken[1] -= 1
            tables.give(claims, refund=False)

    threads = [threading.Thread(target=visit) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= taken[2] <= 4
    assert tables._held == {}
    assert tables._tokens["client", "x"][0] == 100_000 - taken[0]


def test_two_hundred_threads_never_hold_more_than_the_slots() -> None:
    guard = guard_of(concurrent=16, viewers=64)
    held, most, refusals = [0], [0], [0]
    lock, together = threading.Lock(), threading.Barrier(200)

    def visit() -> None:
        for _ in range(3):
            together.wait(60)
            try:
                lease = guard.slot(None)
            except Refusal:
                with lock:
                    refusals[0] += 1
                together.wait(60)
                continue
            with lock:
                held[0] += 1
                most[0] = max(most[0], held[0])
            together.wait(60)
            with lock:
                held[0] -= 1
            lease.end()

    threads = [threading.Thread(target=visit) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 16
    assert refusals[0] == 3 * (200 - 16)
    for _ in range(16):
        guard.slot(None)
    assert refused(guard.slot, None).status == 503


class Visits(RuleBasedStateMachine):
    """Take and give back in any order: what is held is what the leases say."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.tables = Tables(self.clock)
        limits = Limits(concurrent=3, viewers=4, per_client=2, rate=Rate(60, 60.0), burst=3)
        self.guard = Guard(limits, self.tables)
        self.leases: list[tuple[str, Lease]] = []

    @rule(client=st.sampled_from("abc"))
    def place(self, client: str) -> None:
        mine = sum(key == client for key, _ in self.leases)
        places = sum(key != "slot" for key, _ in self.leases)
        try:
            self.leases.append((client, self.guard.place(client)))
        except Refusal as refusal:
            status = refusal.status
        else:
            status = 200
        if places == 4 or mine == 2:
            assert status == (503 if places == 4 else 429)
        else:
            assert status in {200, 429}  # it may be too fast

    @rule()
    def slot(self) -> None:
        slots = sum(key == "slot" for key, _ in self.leases)
        try:
            self.leases.append(("slot", self.guard.slot(None)))
        except Refusal:
            assert slots == 3
        else:
            assert slots < 3

    @rule(number=st.integers(0, 9), refund=st.booleans())
    def end(self, number: int, refund: bool) -> None:
        if self.leases:
            _, lease = self.leases.pop(number % len(self.leases))
            assert lease.end(refund)
            assert not lease.end(refund)

    @rule(seconds=st.floats(-5, 100))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def what_is_held_is_what_the_leases_say(self) -> None:
        expected: dict[tuple[str, str], int] = {}
        for key, _ in self.leases:
            claimed = [("concurrent", "")] if key == "slot" else [("viewers", ""), ("per_client", key)]
            for each in claimed:
                expected[each] = expected.get(each, 0) + 1
        assert self.tables._held == expected
        assert len(self.tables._tokens) <= 3


TestVisits = Visits.TestCase
TestVisits.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
