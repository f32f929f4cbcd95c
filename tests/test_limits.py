"""Limits of the guard, by a clock that the test moves: shares, rates, seconds, what a network may have."""

from __future__ import annotations

import ipaddress
import itertools
import json
import math
import re
from collections.abc import Iterable

import pytest

from lookingglass import configuration
from lookingglass.guard import Guard, Lease, Limits, Rate, network_of
from lookingglass.limits import PLACE, SLOT, STRANGE_PLACE, STRANGE_SLOT, Asked
from lookingglass.problems import Refusal
from lookingglass.store import OWNED, Decision, Gone, Memory
from tests.limiting import House, admitted, attempt, refused
from tests.support import HERE, changed, errors_of

TARGET = ipaddress.ip_network("198.51.100.0/24")
OTHER = ipaddress.ip_network("203.0.113.0/24")
# Seconds that the shipped commands take: at least, and when nobody answers and no name is found.
DURATIONS = {"show route": (0.01, 0.1), "ping": (0.8, 2.8), "traceroute": (0.05, 30.0), "mtr": (5.0, 30.0)}
READING = 2.0  # seconds in which a person reads an answer and asks the next question


def count(attempts: Iterable[Lease | Refusal]) -> int:
    """Return how many were admitted."""
    return sum(isinstance(each, Lease) for each in attempts)


# --- a person


def shipped() -> configuration.Configuration:
    return configuration.read(json.loads((HERE / "config.json.template").read_text()), HERE)


def test_weights_of_the_shipped_commands_are_those_of_what_they_cost_others() -> None:
    weights = {name: command.weight for name, command in shipped().routers[0].commands.items()}
    assert weights == {"show route": 1, "ping": 1, "traceroute": 2, "mtr": 4}
    for path in (HERE / "examples" / "routers").glob("*.json"):
        read = configuration.read(
            {
                "commands": path.name,
                "routers": [
                    {"name": "r", "via": ["ssh", "r"], "source4": "192.0.2.1", "source6": "2001:db8::1"}
                ],
            },
            path.parent,
        )
        for name, command in read.routers[0].commands.items():
            assert command.weight == {"traceroute": 2, "mtr": 4}.get(name, 1), path.name


@pytest.mark.slow
@pytest.mark.parametrize("speed", [0, 1])
def test_person_who_asks_each_shipped_command_twice_meets_no_limit(speed: int) -> None:
    read = shipped()
    commands = read.routers[0].commands
    questions = sorted(2 * list(commands))
    for order in set(itertools.permutations(questions)):
        house = House(**read.limits._asdict())
        for name in order:
            command = commands[name]
            place = admitted(house.place("192.0.2.1", command.weight))
            slot = admitted(house.slot("192.0.2.1", TARGET if command.probes else None))
            house.clock.now += min(DURATIONS[name][speed], read.limits.runtime)
            slot.end()
            place.end()
            house.clock.now += READING


# --- shares


def test_router_has_its_share_of_the_slots_and_the_others_have_theirs() -> None:
    house = House(per_router=3, network_share=1.0, per_client=100)
    assert count(house.slot(router="r1") for _ in range(5)) == 3
    refused(house.slot(router="r1"), 503, "The router runs 3 commands already.")
    admitted(house.slot(router="r2"))


def test_two_hundred_clients_of_one_24_take_a_quarter_of_the_places_and_slots() -> None:
    house = House()
    places = [house.place(f"198.51.100.{number}") for number in range(200)]
    assert count(places) == 16
    refused(places[-1], 429, "Your network has 16 answers in progress already.")
    slots = [house.slot(f"198.51.100.{number}") for number in range(200)]
    assert count(slots) == 4
    refused(slots[-1], 503, "The router runs 4 commands already.")
    admitted(house.place("198.51.101.1"))
    admitted(house.slot("198.51.101.1"))


@pytest.mark.parametrize(
    ("share", "concurrent", "places"), [(0.25, 16, 4), (0.25, 5, 2), (0.001, 16, 1), (1, 7, 7)]
)
def test_share_of_a_network_is_rounded_up(share: float, concurrent: int, places: int) -> None:
    house = House(network_share=share, concurrent=concurrent, per_client=100)
    assert count(house.slot("127.0.0.1") for _ in range(20)) == places


@pytest.mark.slow
def test_48_that_walks_its_64s_is_bounded_and_others_are_served() -> None:
    house = House()
    runs = refusals = 0
    for number in range(20_000):
        answer = house.run(f"2001:db8:1:{number:x}::/64", 0.003)
        runs += answer is None
        refusals += answer is not None
    assert runs <= 60  # in a minute: the burst, and what comes back in it
    assert len(house.memory._buckets) <= OWNED
    others = [f"2001:db8:{number:x}:1::/64" for number in range(2, 42)]
    assert [house.run(other, 0.1) for other in others] == [None] * len(others)


def test_table_forgets_buckets_that_are_full_again() -> None:
    house = House()
    for number in range(1000):
        house.run(f"10.0.{number % 250}.1", 0.5)
    assert len(house.memory._buckets) < 700
    house.clock.now += 3600
    house.run("192.0.2.1", 0.0)
    assert len(house.memory._buckets) < 10
    assert len(house.memory._due) == len(house.memory._buckets)
    assert sum(house.memory._owned.values()) == len(house.memory._buckets)


def test_full_table_denies_new_clients_only() -> None:
    house = House()
    house.memory._size = 8
    assert house.run("192.0.2.1", 0.0) is None
    for number in range(10):
        last = house.run(f"10.0.{number}.1", 0.0)
    refused(last, 503, "no room")
    assert house.run("192.0.2.1", 0.0) is None


def test_network_is_the_24_or_the_48_of_a_client() -> None:
    assert network_of("192.0.2.77") == "192.0.2.0/24"
    assert network_of("2001:db8:1:2::/64") == "2001:db8:1::/48"
    assert network_of("127.0.0.1") == "127.0.0.0/24"
    assert network_of("unknown") == "unknown"


# --- rates


def test_command_costs_its_weight_and_one_beyond_the_burst_costs_all_of_it() -> None:
    house = House()
    admitted(house.place(weight=4)).end()
    admitted(house.place(weight=4)).end()
    refusal = refused(house.place(weight=4), 429, "20 tokens in 60 s, 10 at once", "costs 4")
    assert refusal.retry_after == 6
    admitted(house.place(weight=2))
    admitted(house.place("192.0.2.2", weight=100))
    refused(house.place("192.0.2.2"), 429)


def test_refund_gives_the_weight_back_and_no_more() -> None:
    house = House(per_client=100)
    for _ in range(10):
        lease = admitted(house.place(weight=10))
        assert lease.end(refund=True)
        assert not lease.end(refund=True)
    admitted(house.place(weight=10))
    refused(house.place(), 429)


def test_source_network_takes_a_quarter_of_a_targets_rate() -> None:
    house = House(concurrent=1000, per_router=1000)
    clients = [f"192.0.2.{number}" for number in range(20)]
    assert [house.run(client, 0, TARGET) for client in clients[:5]] == [None] * 5
    refused(house.run("192.0.2.77", 0, TARGET), 429, "20 runs in 240 s, 5 at once, from your network")
    assert house.run("192.0.2.77", 0, OTHER) is None
    for number in range(15):
        assert house.run(f"10.0.{number}.1", 0, TARGET) is None
    refused(house.run("10.0.99.1", 0, TARGET), 429, "to this target's network")


def test_quarter_of_the_whole_is_kept_for_networks_that_have_run_little() -> None:
    house = House(global_rate=Rate(20, 60.0), network_share=0.99, per_router=100, concurrent=100)
    busy = [f"10.0.{number}.1" for number in range(8)]
    assert count(house.slot(client) for client in busy for _ in range(2)) == 15
    refused(house.slot(busy[0]), 503, "20 runs in 60 s, for all visitors together")
    idle = [f"10.1.{number}.1" for number in range(6)]
    assert count(house.slot(client) for client in idle) == 5
    refused(house.slot(idle[-1]), 503)
    house.clock.now += 3
    admitted(house.slot(idle[-1]))


def test_client_whose_seconds_are_spent_waits_for_them() -> None:
    house = House(rate=Rate(1000, 60.0), burst=1000)
    leases = [admitted(house.slot()) for _ in range(2)]
    house.clock.now += 60
    for lease in leases:
        lease.end()
    refusal = refused(house.place(), 429, "more than 60 seconds in 60 s")
    assert refusal.retry_after == 60
    admitted(house.place("192.0.2.2"))  # its network may have twice as many
    house.clock.now += refusal.retry_after
    admitted(house.place())


def test_network_whose_seconds_are_spent_waits_for_them() -> None:
    house = House()
    leases = [admitted(house.slot(f"192.0.2.{number}")) for number in range(4)]
    house.clock.now += 50
    for lease in leases:
        lease.end()
    refused(house.place("192.0.2.99"), 429, "Your network's commands have taken more than 60 seconds in 30 s")
    admitted(house.place("192.0.3.1"))


def test_one_process_at_a_time_never_spends_the_seconds() -> None:
    house = House(rate=Rate(1000, 60.0), burst=1000)
    assert [house.run("192.0.2.1", 30) for _ in range(50)] == [None] * 50


def test_process_that_never_started_is_charged_no_seconds() -> None:
    house = House()
    lease = house.slot()
    house.clock.now += 500
    assert isinstance(lease, Lease)
    lease.end(refund=True)
    assert house.run("192.0.2.1", 0) is None


# --- refusals


def test_wait_doubles_after_twenty_answers_of_429_and_is_never_above_600() -> None:
    house = House()
    admitted(house.place(weight=10)).end()
    waits = [refused(house.place(weight=1), 429).retry_after for _ in range(40)]
    assert waits[:20] == [3] * 20
    assert waits[20:30] == [6, 12, 24, 48, 96, 192, 384, 600, 600, 600]
    assert waits[-1] == 600
    house.clock.now += 599
    assert refused(house.place(weight=1), 429, "More than 20 of your questions").retry_after == 2
    house.clock.now += 2
    admitted(house.place(weight=1))


def test_client_that_waits_as_told_is_admitted_however_often_it_asked() -> None:
    house = House()
    admitted(house.place(weight=10)).end()
    for number in range(0, 60, 7):
        wait = [refused(house.place(weight=10), 429).retry_after for _ in range(number + 1)][-1]
        house.clock.now += wait
        admitted(house.place(weight=10)).end()


def test_refusals_of_the_glass_do_not_punish_a_client() -> None:
    house = House(concurrent=1)
    admitted(house.slot("10.0.0.1"))
    for _ in range(100):
        refused(house.slot(), 503)
    admitted(house.place())


def test_refused_client_loses_nothing() -> None:
    house = House()
    admitted(house.place("192.0.2.1")).end()
    before = dict(house.memory._buckets)
    held = dict(house.memory._held)
    house.memory._held["viewers "] = 64
    refused(house.place(), 503, "All viewers' places are taken (64).")
    del house.memory._held["viewers "]
    assert (house.memory._buckets, house.memory._held) == (before, held)


def test_headers_tell_the_policy_and_what_is_left() -> None:
    house = House()
    lease = admitted(house.place(weight=4))
    assert house.guard.headers(lease.quotas) == {
        "RateLimit-Policy": '"rate";q=20;w=60',
        "RateLimit": '"rate";r=6;t=12',
    }
    assert house.guard.headers() == {"RateLimit-Policy": '"rate";q=20;w=60'}
    house.place(weight=1)
    refusal = refused(house.place(weight=1), 429, "You have 2 answers in progress already.")
    assert house.guard.headers(refusal.quotas)["RateLimit"] == '"rate";r=5;t=15'


def test_refusal_tells_the_state_of_the_limit_that_has_refused() -> None:
    house = House(network_share=1.0, per_client=100)
    for number in range(5):
        house.slot(f"192.0.2.{number}", TARGET)
    refusal = refused(house.slot("192.0.2.9", TARGET), 429)
    assert house.guard.headers(refusal.quotas) == {
        "RateLimit-Policy": '"rate";q=20;w=60, "network target_rate";q=20;w=240',
        "RateLimit": '"network target_rate";r=0;t=60',
    }


class GoneStore(Memory):
    def take(self, *given: object) -> Decision:
        raise Gone


def test_limiter_that_cannot_decide_denies() -> None:
    guard = Guard(Limits(), GoneStore())
    refused(attempt(lambda: guard.place("192.0.2.1")), 503, "Limits cannot be counted now.")
    refused(attempt(lambda: guard.slot(None, "192.0.2.1", "r1")), 503, "Limits cannot be counted now.")


def test_each_limit_has_one_row() -> None:
    names = [limit.name for limit in (*PLACE, *SLOT)]
    assert len(set(names)) == len(names)
    assert all(limit.status in {429, 503} and limit.words.endswith(".") for limit in (*PLACE, *SLOT))
    assert all(math.isfinite(limit.cost(Asked("a", "b"))) for limit in (*PLACE, *SLOT))


@pytest.mark.parametrize("number", [1, 2, 10])
def test_words_of_each_limit_are_right_for_one_and_for_more(number: int) -> None:
    for limit in {*PLACE, *SLOT, *STRANGE_PLACE, *STRANGE_SLOT}:
        told = limit.told(number, period=60.0, burst=1.0)
        counted = re.search(rf"\b{number} (?!of\b)([a-z]+)", told)
        if counted:
            assert counted[1].endswith("s") == (number > 1), told
        assert "{" not in told


def test_one_client_with_one_answer_and_one_run_is_told_so() -> None:
    house = House(per_client=1, concurrent=1, viewers=8, network_share=0.01)
    place, slot = admitted(house.place()), admitted(house.slot())
    refused(house.place(), 429, "You have 1 answer in progress already.")
    refused(house.place("192.0.2.2"), 429, "Your network has 1 answer in progress already.")
    refused(house.slot("198.51.100.1"), 503, "All slots are taken (1).")
    place.end()
    slot.end()
    house = House(rate=Rate(1, 60.0), burst=1)
    admitted(house.place())
    refused(house.place(), 429, "The limit is 1 token in 60 s, 1 at once, from your address.")


# --- as configured


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("limits/network_share", 0),
        ("limits/network_share", 1.1),
        ("limits/per_router", 0),
        ("limits/slot_seconds", "60"),
        ("limits/global_rate", 5),
        ("commands/ping/weight", 0),
        ("commands/ping/weight", 1.5),
        ("store", "sqlite:"),
        ("store", "sqlite:/no/such/folder/limits.db"),
        ("store", "sqlite:tests"),
        ("store", "postgres://x"),
        ("store", None),
    ],
)
def test_wrong_limit_is_refused_with_its_path(path: str, value: object) -> None:
    (error,) = errors_of(changed(path, value))
    assert error.startswith(f"{path.replace('/', '.')}: ")


def test_store_in_a_folder_that_is_not_there_says_how_to_make_it() -> None:
    (error,) = errors_of(changed("store", "sqlite:/no/such folder/limits.db"))
    assert "; mkdir -p '/no/such folder', or RuntimeDirectory= in the unit" in error


def test_password_of_a_store_is_told_nobody() -> None:
    (error,) = errors_of(changed("store", "http://user:secret@192.0.2.1/"))
    assert "secret" not in error


# --- what is kept for strangers


def test_slots_are_kept_for_networks_that_run_nothing() -> None:
    house = House(rate=Rate(1000, 60.0), burst=1000, per_client=100)
    greedy = [house.slot(f"10.0.{network}.1") for network in range(3) for _ in range(20)]
    assert count(greedy) == 6  # four in all, and one more for each network that had none
    strangers = [house.slot(f"10.1.{network}.1") for network in range(4)]
    assert count(strangers) == 2
    refused(strangers[-1], 503, "The router runs 8 commands already.")


def test_viewers_places_are_kept_for_networks_that_view_nothing() -> None:
    house = House()
    greedy = [house.place(f"10.0.{network}.{client}") for network in range(4) for client in range(16)]
    assert count(greedy) == 49  # all but those kept, of which the fourth network has one
    for network in range(15):
        admitted(house.place(f"10.1.{network}.1"))
        refused(house.place(f"10.1.{network}.2"), 503, "viewers' places are taken")
    refused(house.place("10.2.0.1"), 503, "All viewers' places are taken (64).")


def test_network_that_has_viewed_much_takes_none_of_the_kept_places() -> None:
    house = House()
    held = [house.place(f"10.0.{network}.{client}") for network in range(3) for client in range(16)]
    assert count(held) == 48
    seconds = 0
    for _ in range(600):
        place = house.place("192.0.2.1")
        house.clock.now += 1
        if isinstance(place, Lease):
            house.clock.now += 30
            place.end()
            seconds += 30
    assert 30 <= seconds <= 150
    admitted(house.place("198.51.100.1"))


def test_network_is_no_stranger_while_it_takes_much() -> None:
    house = House(per_router=100)
    held = [admitted(house.slot(f"10.0.{network}.1")) for network in range(8)]  # all that is not kept
    runs = 0
    for _ in range(600):  # seconds
        lease = house.slot("192.0.2.1")
        house.clock.now += 1
        if isinstance(lease, Lease):
            lease.end()
            runs += 1
    assert 10 <= runs <= 20  # five at once, and then one in 50 s
    admitted(house.slot("198.51.100.1"))
    assert len(held) == 8


def test_target_has_something_left_for_a_stranger_when_twenty_networks_want_it() -> None:
    house = House()
    for _ in range(60):
        for network in range(20):
            house.run(f"10.0.{network}.1", 0.0, TARGET)
        house.clock.now += 5
    assert house.run("192.0.2.1", 0.0, TARGET) is None
