"""Limits: slots, places, rates; by a clock that the test moves."""

from __future__ import annotations

import ipaddress
import math
import threading

import pytest

from lookingglass import guard as guard_module
from lookingglass.guard import Buckets, Guard, Limits, Rate, client_key
from lookingglass.problems import Refusal
from lookingglass.targets import network_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


GENEROUS = Limits(rate=Rate(1000, 60), burst=1000, per_client=1000, target_rate=Rate(1000, 60))


def refused(call: object, *arguments: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


def test_a_slot_beyond_the_last_is_refused_until_one_is_given_back() -> None:
    guard = Guard(GENEROUS._replace(concurrent=2))
    guard.slot(None)
    release = guard.slot(None)
    refusal = refused(guard.slot, None)
    assert refusal.status == 503
    assert refusal.retry_after >= 1
    assert "2" in str(refusal)
    release()
    guard.slot(None)


def test_giving_back_twice_gives_back_once() -> None:
    guard = Guard(GENEROUS._replace(concurrent=1))
    release = guard.slot(None)
    release()
    release()
    guard.slot(None)
    assert refused(guard.slot, None).status == 503


def test_viewers_places_are_counted_over_all_clients() -> None:
    guard = Guard(GENEROUS._replace(viewers=2))
    guard.viewer("192.0.2.1")
    release = guard.viewer("192.0.2.2")
    assert refused(guard.viewer, "192.0.2.3").status == 503
    release()
    guard.viewer("192.0.2.3")


def test_one_client_has_its_share_and_others_have_theirs() -> None:
    guard = Guard(GENEROUS._replace(per_client=2))
    guard.viewer("2001:db8::1")
    release = guard.viewer("2001:db8::2")
    refusal = refused(guard.viewer, "2001:db8::ffff:1")  # the same /64
    assert refusal.status == 429
    guard.viewer("2001:db8:0:1::1")
    release()
    guard.viewer("2001:db8::3")


def test_rate_is_a_burst_and_then_a_refill() -> None:
    clock = Clock()
    guard = Guard(GENEROUS._replace(rate=Rate(10, 60.0), burst=5), clock)
    for _ in range(5):
        guard.viewer("192.0.2.1")()
    refusal = refused(guard.viewer, "192.0.2.1")
    assert (refusal.status, refusal.retry_after) == (429, 6)
    assert "10 runs in 60 s" in str(refusal)
    guard.viewer("192.0.2.2")()
    clock.now += refusal.retry_after
    guard.viewer("192.0.2.1")()
    assert refused(guard.viewer, "192.0.2.1").status == 429
    clock.now += 3600
    for _ in range(5):
        guard.viewer("192.0.2.1")()
    assert refused(guard.viewer, "192.0.2.1").status == 429


def test_a_refused_client_loses_no_token() -> None:
    clock = Clock()
    guard = Guard(GENEROUS._replace(rate=Rate(60, 60.0), burst=1), clock)
    guard.viewer("192.0.2.1")()
    for _ in range(100):
        refused(guard.viewer, "192.0.2.1")
    clock.now += 1.0
    guard.viewer("192.0.2.1")


def test_target_network_is_counted_over_all_clients() -> None:
    guard = Guard(GENEROUS._replace(target_rate=Rate(2, 60.0)), Clock())
    network = network_of(ipaddress.ip_address("203.0.113.5"))
    guard.slot(network)
    guard.slot(network_of(ipaddress.ip_address("203.0.113.200")))
    assert refused(guard.slot, network).status == 429
    guard.slot(network_of(ipaddress.ip_address("198.51.100.1")))
    guard.slot(None)  # a look-up sends no packets


def test_a_refused_target_takes_no_slot() -> None:
    guard = Guard(GENEROUS._replace(concurrent=2, target_rate=Rate(1, 60.0)), Clock())
    network = network_of(ipaddress.ip_address("203.0.113.5"))
    guard.slot(network)
    refused(guard.slot, network)
    guard.slot(None)
    assert refused(guard.slot, None).status == 503


def test_a_clock_that_jumps_back_admits_nobody_more() -> None:
    clock = Clock()
    guard = Guard(GENEROUS._replace(rate=Rate(10, 60.0), burst=1), clock)
    guard.viewer("192.0.2.1")()
    clock.now -= 10_000
    assert refused(guard.viewer, "192.0.2.1").status == 429


def test_a_full_table_denies_new_keys_until_old_ones_are_refilled() -> None:
    buckets = Buckets(Rate(60, 60.0), burst=2, size=3)
    for key in "abc":
        assert buckets.wait(key, 0.0) == 0.0
        buckets.take(key, 0.0)
    assert buckets.wait("d", 1.0) == math.inf
    assert buckets.wait("a", 1.0) == 0.0
    assert buckets.wait("d", 2.0) == 0.0


def test_a_table_stays_bounded_under_many_clients() -> None:
    buckets = Buckets(Rate(60, 60.0), burst=5, size=1000)
    admitted = 0
    for number in range(20_000):
        now = number / 1000
        if buckets.wait(str(number), now) == 0.0:
            buckets.take(str(number), now)
            admitted += 1
    assert 1000 <= admitted <= 5000
    assert len(buckets._table) <= 1000


@pytest.mark.parametrize(
    ("client", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", "unknown"),
        ("localhost", "unknown"),
    ],
)
def test_client_is_counted_by_address_or_64(client: str, key: str) -> None:
    assert client_key(client) == key


def test_two_hundred_threads_never_hold_more_than_the_slots() -> None:
    guard = Guard(GENEROUS._replace(concurrent=16, viewers=64))
    held, most, refusals = [0], [0], [0]
    lock, together = threading.Lock(), threading.Barrier(200)

    def visit() -> None:
        for _ in range(3):
            together.wait(60)
            try:
                release = guard.slot(None)
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
            release()

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


def test_token_is_given_back_for_what_was_refused_and_only_then() -> None:
    guard = Guard(GENEROUS._replace(rate=Rate(2, 60.0), burst=2), Clock())
    for _ in range(5):
        guard.viewer("192.0.2.1")(refund=True)
    for _ in range(2):
        guard.viewer("192.0.2.1")()
    assert refused(guard.viewer, "192.0.2.1").status == 429


def test_who_waits_as_long_as_told_is_admitted() -> None:
    clock = Clock()
    guard = Guard(GENEROUS._replace(rate=Rate(7, 60.0), burst=1), clock)
    for _ in range(20):
        guard.viewer("192.0.2.1")()
        refusal = refused(guard.viewer, "192.0.2.1")
        assert f"Try again in {refusal.retry_after} s." in str(refusal)
        clock.now += refusal.retry_after


def test_full_table_is_told_as_such() -> None:
    guard = Guard(GENEROUS._replace(rate=Rate(1, 86400.0), burst=1), Clock())
    guard._clients = guard_module.Buckets(Rate(1, 86400.0), 1, size=1)
    guard.viewer("192.0.2.1")
    refusal = refused(guard.viewer, "192.0.2.2")
    assert refusal.status == 503
    assert "room" in str(refusal)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1%eth0", "None"),
        ("192.0.2.1:x", "None"),
        ("unknown", "None"),
        ("", "None"),
    ],
)
def test_client_is_read_as_proxies_write_it(text: str, address: str) -> None:
    assert str(guard_module.read_client(text)) == address
