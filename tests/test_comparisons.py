"""Two answers compared: the sentence that a network engineer would write, and the rows under it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from lookingglass.alignment import MOST_ALIGNED, Differences, SideCell
from lookingglass.comparisons import COMPARABLE, compare
from lookingglass.facts import facts
from lookingglass.problems import HTTPProblem
from tests.support import sample

TARGET = "203.0.113.5"
EARLIER, LATER = "2026-11-24T09:12:00Z", "2026-11-25T15:50:00Z"
Data = dict[str, Any]


# --- answers in short


def answer(facts: Data, **more: Any) -> Data:
    """Return an answer's data: of r1, about TARGET, unless something else is said."""
    common = {"performed_at": EARLIER, "router": "r1", "command": "x", "target": TARGET, "output": []}
    return {**common, **facts, **more}


def mtr(*lines: str, **more: Any) -> Data:
    """Return an answer of mtr; a line has a hop's address or name=address, its average and its loss."""
    hops = []
    for number, line in enumerate(lines, 1):
        host, avg, loss = [*line.split(), "0"][:3] if line != "*" else ("", "", "100")
        name, _, address = host.rpartition("=")
        hop = {
            "hop": number,
            "address": address or None,
            "name": name or None,
            "loss": float(loss),
            "sent": 10,
        }
        hops.append({**hop, "avg": float(avg) if avg else None})
    return answer({"hops": hops}, **more)


def traceroute(*lines: str, **more: Any) -> Data:
    """Return an answer of traceroute; a line has probes: address:rtt, address:rtt:note, or a star."""
    hops = []
    for number, line in enumerate(lines, 1):
        probes: list[Any] = []
        for probe in line.split():
            address, _, rest = probe.partition(":")
            rtt, _, note = rest.partition(":")
            found = {"address": address, "rtt": float(rtt or 1)} | ({"note": note} if note else {})
            probes.append(None if probe == "*" else found)
        hops.append({"hop": number, "probes": probes})
    return answer({"hops": hops}, **more)


def ping(sent: int, received: int, avg: float | None = None, ttl: int | None = 57, **more: Any) -> Data:
    replies = [{"seq": number + 1, "rtt": avg, "ttl": ttl} for number in range(received)]
    times = {} if avg is None else {"min": avg - 1, "avg": avg, "max": avg + 2}
    facts = {"sent": sent, "received": received, "rate": 100 * received / sent, "replies": replies, **times}
    return answer(facts, **more)


def path(as_path: str, next_hop: str = "192.0.2.1", best: bool = False, **more: Any) -> Data:
    numbers = [*map(int, as_path.split())]
    common = {"prefix": "203.0.113.0/24", "origin": "IGP", "local_pref": 100, "med": 0, "communities": []}
    return {**common, "as_path": numbers, "next_hop": next_hop, "best": best, **more}


def bgp(*paths: Data, **more: Any) -> Data:
    return answer({"paths": [*paths]}, **more)


def peers(**more: str) -> Data:
    rows = [{"name": name, "state": state, "received": 12} for name, state in more.items()]
    return answer({"neighbors": rows})


def text(*lines: str, **more: Any) -> Data:
    return answer({"output": [*lines]}, **more)


class Pair(NamedTuple):
    name: str
    a: Data
    b: Data
    sentence: str
    b_is: Mapping[str, str] = MappingProxyType({"performed_at": LATER})  # of B, beside its facts


ONE, TWO, THREE, NINE = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.9"
FOUR, SIX, SEVEN = "192.0.2.4", "192.0.2.6", "192.0.2.7"
CALM = mtr(f"{ONE} 1.1", f"{TWO} 3.3", f"{THREE} 8.6 50", f"{FOUR} 17.0", f"{TARGET} 18.0")
BEST = path("64501 64511", best=True)
PAIRS = [
    # paths of packets: the same question, asked again later
    Pair("same path", CALM, CALM, "Same path, same times"),
    Pair(
        "one hop changed, later and lossy (the sketch)",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.5", f"{NINE} 22.4", f"{FOUR} 30.0", f"{TARGET} 31.1 30"),
        "1 of 5 hops differs, from hop 3; +13.1 ms and loss 0 → 30 % at the end",
    ),
    Pair(
        "one hop changed, and nothing comes of it",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.5", f"{NINE} 8.4", f"{FOUR} 17.0", f"{TARGET} 18.1"),
        "1 of 5 hops differs, from hop 3; same time at the end",
    ),
    Pair(
        "hop inserted",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.5", f"{NINE} 5", f"{THREE} 8.4", f"{FOUR} 17.0", f"{TARGET} 18.1"),
        "1 hop more, at hop 3; same time at the end",
    ),
    Pair(
        "two hops gone",
        CALM,
        mtr(f"{ONE} 1.1", f"{FOUR} 4.0", f"{TARGET} 5.0"),
        "2 hops fewer, from hop 2; −13.0 ms at the end",
    ),
    Pair(
        "other length: one hop became three",
        CALM,
        mtr(f"{ONE} 1", f"{TWO} 3", f"{NINE} 5", f"{SIX} 7", f"{SEVEN} 9", f"{FOUR} 45", f"{TARGET} 48"),
        "3 of 7 hops differ, from hop 3, 2 hops more; +30.0 ms at the end",
    ),
    Pair(
        "a hop that is silent today",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.5", "*", f"{FOUR} 17.0", f"{TARGET} 18.1"),
        "Same path, but hop 3 does not answer in B; same times",
    ),
    Pair(
        "stars on both sides",
        traceroute(f"{ONE}:1", "* * *", f"{TARGET}:9"),
        traceroute(f"{ONE}:1", "* * *", f"{TARGET}:9"),
        "Same path, same times",
    ),
    Pair(
        "a silent hop inserted",
        traceroute(f"{ONE}:1", f"{TWO}:2", f"{TARGET}:9"),
        traceroute(f"{ONE}:1", "* * *", f"{TWO}:2", f"{TARGET}:9"),
        "1 hop more, at hop 2; same time at the end",
    ),
    Pair(
        "ECMP: other members of the same groups",
        traceroute(f"{ONE}:1", f"{TWO}:2 {THREE}:2 {TWO}:2", f"{TARGET}:9"),
        traceroute(f"{ONE}:1", f"{THREE}:2 {FOUR}:2", f"{TARGET}:9"),
        "Same path, same times",
    ),
    Pair(
        "RTT noise",
        mtr(f"{ONE} 1.1", f"{TARGET} 18.0"),
        mtr(f"{ONE} 4.9", f"{TARGET} 21.4"),
        "Same path, same times",
    ),
    Pair(
        "a far target: 6 ms are noise",
        mtr(f"{ONE} 1.1", f"{TARGET} 180"),
        mtr(f"{ONE} 1.1", f"{TARGET} 186"),
        "Same path, same times",
    ),
    Pair(
        "same path, slower from the middle on",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.4", f"{THREE} 21.9", f"{FOUR} 30.2", f"{TARGET} 31.1"),
        "Same path; +13.1 ms at the end, from hop 3 on",
    ),
    Pair(
        "a slow router in the middle is not the network",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 93.4", f"{THREE} 8.6", f"{FOUR} 17", f"{TARGET} 18"),
        "Same path, same times",
    ),
    Pair(
        "loss at the end",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.3", f"{THREE} 8.6 50", f"{FOUR} 17.0 28", f"{TARGET} 18.0 30"),
        "Same path; loss 0 → 30 % at the end",
    ),
    Pair(
        "loss in the middle only",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.3 40", f"{THREE} 8.6", f"{FOUR} 17.0", f"{TARGET} 18.0"),
        "Same path, same times",
    ),
    Pair(
        "target gone",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.3", "*", "*", "*", "*", "*"),
        f"The target no longer answers; hop 2, {TWO}, is the last that answers",
    ),
    Pair(
        "target gone, on another path",
        CALM,
        mtr(f"{ONE} 1.1", f"{NINE} 3.3", "*", "*"),
        f"The target no longer answers; hop 2, {NINE}, is the last that answers;"
        " 1 of 2 hops differs, from hop 2",
    ),
    Pair(
        "target back",
        traceroute(f"{ONE}:1", f"{TWO}:1:!H"),
        traceroute(f"{ONE}:1", f"{TWO}:2", f"{TARGET}:9"),
        "The target answers again",
    ),
    Pair(
        "a firewall before the target, both times",
        traceroute(f"{ONE}:1", f"{TWO}:2", "* * *"),
        traceroute(f"{ONE}:1", f"{NINE}:2", "* * *"),
        "The target answers neither in A nor in B; 1 of 2 hops differs, from hop 2",
    ),
    Pair("nothing answers at all", mtr("*", "*"), mtr("*"), "No hop answers, neither in A nor in B"),
    # paths of packets from another router, to another target
    Pair(
        "two routers whose paths meet",
        CALM,
        mtr(f"{SIX} 1", f"{SEVEN} 2", f"r3.example={THREE} 3", f"{FOUR} 4", f"{TARGET} 5"),
        "The paths meet at hop 3 of A and 3 of B, r3.example; −13.0 ms at the end",
        {"router": "r2"},
    ),
    Pair(
        "two routers with the target in common",
        CALM,
        mtr(f"{SIX} 1", f"{TARGET} 18"),
        "Only the last hop is in common; 5 and 2 hops; same time at the end",
        {"router": "r2"},
    ),
    Pair(
        "two routers, one of which does not reach the target",
        CALM,
        mtr(f"{SIX} 1", "*", "*"),
        f"Only A reaches the target; in B, hop 1, {SIX}, is the last that answers;"
        " no hop in common; 5 and 1 hops",
        {"router": "r2"},
    ),
    Pair(
        "two targets",
        CALM,
        mtr(f"{ONE} 1.1", f"{TWO} 3.3", f"{NINE} 9", "198.51.100.7 40"),
        "Same first 2 hops, then the paths part; 5 and 4 hops; +22.0 ms at the end",
        {"target": "198.51.100.7"},
    ),
    # ping
    Pair(
        "ping as before", ping(30, 30, 18.0), ping(30, 30, 18.9), "Same: 18.0 and 18.9 ms on average, no loss"
    ),
    Pair("ping with loss", ping(30, 30, 18.0), ping(30, 21, 18.3), "Loss 0 → 30 %"),
    Pair(
        "ping slower and with loss",
        ping(30, 30, 18.0),
        ping(30, 27, 31.1),
        "+13.1 ms on average and loss 0 → 10 %",
    ),
    Pair("ping: target gone", ping(5, 5, 18.0), ping(5, 0), "The target no longer answers"),
    Pair("ping: target back", ping(5, 0), ping(5, 5, 18.0), "The target answers again"),
    Pair(
        "ping: no route any more",
        ping(5, 5, 18.0),
        text("", "ping: connect: Network is unreachable"),
        'The target no longer answers; it says "ping: connect: Network is unreachable"',
    ),
    Pair(
        "ping: the way back is another one",
        ping(5, 5, 18.0),
        ping(5, 5, 18.1, ttl=55),
        "TTL of replies 57 → 55",
    ),
    Pair(
        "ping: the name leads to another address",
        ping(5, 5, 18.0, target="a.example", address="192.0.2.1"),
        ping(5, 5, 3.0),
        "Another address: 192.0.2.1 → 192.0.2.9; −15.0 ms on average",
        {"target": "a.example", "address": "192.0.2.9"},
    ),
    Pair(
        "ping from two routers, one of which gets nothing",
        ping(5, 5, 18.0),
        ping(5, 0),
        "The target answers A only",
        {"router": "r2"},
    ),
    # routes
    Pair("same route", bgp(BEST), bgp(BEST), "Same path and attributes"),
    Pair(
        "other AS path",
        bgp(BEST),
        bgp(path("64502 64503 64511", "192.0.2.2", best=True)),
        "AS path differs: 64501 64511 → 64502 64503 64511, 1 AS more",
    ),
    Pair(
        "other origin: perhaps hijacked",
        bgp(BEST),
        bgp(path("64501 64666", best=True)),
        "Origin AS changed: 64511 → 64666; AS path 64501 64511 → 64501 64666",
    ),
    Pair(
        "prepended",
        bgp(BEST),
        bgp(path("64501 64511 64511 64511", best=True)),
        "Prepends differ: 64501 64511 → 64501 64511 ×3",
    ),
    Pair(
        "communities changed",
        bgp(path("64501 64511", best=True, communities=["64501:1", "64501:20"])),
        bgp(path("64501 64511", best=True, communities=["64501:1", "64501:666", "65535:666"])),
        "Same AS path; communities changed: +64501:666 +65535:666 −64501:20",
    ),
    Pair(
        "local preference and MED",
        bgp(BEST),
        bgp(path("64501 64511", best=True, local_pref=200, med=None)),
        "Same AS path; local preference 100 → 200, MED 0 → none",
    ),
    Pair(
        "another of the same paths is best",
        bgp(BEST, path("64502 64511", "192.0.2.2")),
        bgp(path("64501 64511"), path("64502 64511", "192.0.2.2", best=True)),
        "Another path is best: 64501 64511 → 64502 64511",
    ),
    Pair(
        "a second path appears",
        bgp(BEST),
        bgp(BEST, path("64502 64511", "192.0.2.2")),
        "Same best path and attributes; 1 → 2 paths",
    ),
    Pair(
        "the prefix is gone",
        bgp(BEST, path("64502 64511", "192.0.2.2")),
        text("Network not found"),
        'The prefix is gone; 2 → 0 paths; it says "Network not found"',
    ),
    Pair("another router has no path", bgp(BEST), bgp(), "No path in B, 1 in A", {"router": "r2"}),
    Pair(
        "a covering prefix only",
        bgp(BEST),
        bgp(path("64501 64511", best=True, prefix="203.0.112.0/23")),
        "Another prefix: 203.0.113.0/24 → 203.0.112.0/23; same AS path",
    ),
    Pair(
        "tables",
        bgp(BEST, path("1", prefix="192.0.2.0/24"), path("2", prefix="198.51.100.0/24")),
        bgp(BEST, path("7 1", prefix="192.0.2.0/24"), path("3", prefix="100.64.0.0/10")),
        "1 prefix only in A, 1 prefix only in B, 1 of 2 in common with another best path",
    ),
    # neighbors and texts
    Pair(
        "a session is down",
        peers(as64501="Established", as64502="Established"),
        peers(as64501="Established", as64502="Idle"),
        "1 of 2 neighbors changed: as64502 Established → Idle",
    ),
    Pair(
        "sessions as before",
        peers(as64501="Established"),
        peers(as64501="Established"),
        "Same states of 1 neighbor",
    ),
    Pair("text", text("a", "b", "c"), text("a", "x", "y", "c"), "1 line only in A, 2 lines only in B"),
    Pair("same text", text("a", "b"), text("a", "b"), "Same text"),
]


def found(pair: Pair) -> Differences:
    return compare(pair.a, {**pair.b, **pair.b_is}).found


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
def test_sentence_is_what_an_engineer_would_write(pair: Pair) -> None:
    assert found(pair).sentence == pair.sentence


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
def test_answer_is_the_same_as_itself_and_differs_both_ways(pair: Pair) -> None:
    there, back = compare(pair.a, pair.b).found, compare(pair.b, pair.a).found
    assert there.is_same == back.is_same
    assert compare(pair.a, pair.a).found.is_same
    assert compare(pair.b, pair.b).found.is_same
    assert json.loads(json.dumps(compare(pair.a, pair.b).document()))["sentence"] == there.sentence


def test_pairs_are_many_and_have_names() -> None:
    assert len({pair.name for pair in PAIRS}) == len(PAIRS) >= 25


def test_rows_are_those_of_the_sketch() -> None:
    rows = found(PAIRS[1]).rows
    told = [(row.a and row.a.text, row.change, row.matters, row.b and row.b.text) for row in rows]
    assert told == [
        (f"1 {ONE}", "same", False, f"1 {ONE}"),
        (f"2 {TWO}", "same", False, f"2 {TWO}"),
        (f"3 {THREE}", "− only A", False, None),
        (None, "+ only B", False, f"3 {NINE}"),
        (f"4 {FOUR}", "+13.0 ms", True, f"4 {FOUR}"),
        (f"5 {TARGET}", "+13.1 ms", True, f"5 {TARGET}"),
    ]
    assert rows[4].a
    assert rows[4].a.figures == "0 % 17.0 ms"


def test_hop_that_is_silent_on_one_side_is_a_row_that_says_so() -> None:
    rows = compare(mtr(f"{ONE} 1.1", f"{TARGET} 9"), mtr("*", f"{TARGET} 9")).found.rows
    assert (rows[0].b, rows[0].change) == (SideCell("1 no answer", "", {"hop": 1}), "silent in B")


def test_row_of_a_ping_matters_where_replies_or_times_differ() -> None:
    rows = compare(ping(10, 10, 18.0), ping(30, 21, 48.0)).found.rows
    assert [(row.label, row.change, row.matters) for row in rows] == [
        ("sent", "differs", False),
        ("received", "differs", True),
        ("answered", "differs", True),
        ("min", "+30.0 ms", True),
        ("avg", "+30.0 ms", True),
        ("max", "+30.0 ms", True),
        ("TTL of replies", "same", False),
    ]


def printed(name: str, lines: int | None = None, **more: Any) -> Data:
    """Return the answer of a real ping, stopped after some lines, or else ended by itself."""
    shown = sample(name).splitlines(keepends=True)[:lines]
    return answer(facts("ping", "".join(shown), lines is None), command="ping", output=shown, **more)


def test_ping_that_was_stopped_has_the_figures_of_its_probes() -> None:
    comparison = compare(printed("ping4-ok.out"), printed("ping4-ok.out", 4))
    assert comparison.found.sentence == "Same: 18.6 and 18.9 ms on average, no loss"
    rows = {row.label: row.b and row.b.facts for row in comparison.found.rows}
    assert [rows[name] for name in ("sent", "received", "answered", "avg")] == [3, 3, 100, 18.9]


@pytest.mark.parametrize("name", ["ping4-unreachable-route.out", "ping6-no-such-host-on-lan.out"])
def test_ping_that_was_stopped_before_a_reply_has_none(name: str) -> None:
    answered, silent = printed("ping4-ok.out", 3), printed(name, 2, performed_at=LATER)
    assert compare(silent, silent).found.sentence == "No answer, neither in A nor in B"
    assert compare(answered, silent).found.sentence == "The target no longer answers"
    with pytest.raises(HTTPProblem, match="answers of ping and paths"):
        compare(silent, {**CALM, "command": silent["command"]})


def test_as_paths_are_aligned_and_attributes_stand_below() -> None:
    one = bgp(path("64501 64501 64502 64511", best=True, communities=["1:2"]))
    other = bgp(path("64501 64503 64511", best=True, communities=["1:2"], local_pref=50))
    told = [
        (row.label, row.a and row.a.text, row.change, row.b and row.b.text)
        for row in compare(one, other).found.rows
    ]
    assert told == [
        ("prefix", "203.0.113.0/24", "same", "203.0.113.0/24"),
        ("AS path", "64501 ×2", "×2 → ×1", "64501"),
        ("AS path", "64502", "− only A", None),
        ("AS path", None, "+ only B", "64503"),
        ("AS path", "64511", "same", "64511"),
        ("origin", "IGP", "same", "IGP"),
        ("next hop", "192.0.2.1", "same", "192.0.2.1"),
        ("local preference", "100", "differs", "50"),
        ("MED", "0", "same", "0"),
        ("communities", "1:2", "same", "1:2"),
    ]


def test_lines_that_are_the_same_are_folded() -> None:
    lines = [str(number) for number in range(100)]
    rows = compare(text(*lines), text(*lines[:50], "new", *lines[50:])).found.rows
    assert [row.change for row in rows] == [
        "47 lines the same", "same", "same", "same", "+ only B", "same", "same", "same", "47 lines the same",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b"),
    [(CALM, ping(5, 5, 1.0)), (bgp(BEST), peers(a="up")), (CALM, text("hello", command="y"))],
)
def test_answers_of_different_kinds_are_400_that_says_what_can_be_compared(a: Data, b: Data) -> None:
    with pytest.raises(HTTPProblem) as caught:
        compare(a, b)
    assert caught.value.status == 400
    assert all(kind in str(caught.value) for kind in COMPARABLE.values())


HUGE: list[Data] = [
    mtr(*(f"192.0.{number // 250}.{number % 250 + 1} 1" for number in range(2000))),
    bgp(path(" ".join(map(str, range(1, 60000))), best=True, communities=[f"1:{n}" for n in range(30000)])),
    bgp(*(path("1 2", prefix=f"10.{n // 250}.{n % 250}.0/24") for n in range(3000))),
    bgp(*(path(f"1 {n}") for n in range(3000))),
    bgp(path("1 " * 120_000 + "9")),
    bgp(*[path("")] * 20_000),
    peers(**{f"n{number}": "up" for number in range(3000)}),
    text(*(str(number % 7) for number in range(100_000))),
    text(*(str(number) for number in range(50_000))),
]


@pytest.mark.parametrize("one", HUGE)
@pytest.mark.parametrize("other", HUGE)
def test_comparison_of_anything_is_bounded(one: Data, other: Data) -> None:
    began = time.thread_time()
    try:
        comparison = compare(one, {**other, "target": "x"})
    except HTTPProblem:
        return
    assert time.thread_time() - began < 5
    assert len(comparison.found.rows) <= 4 * MOST_ALIGNED + 20
    assert len(comparison.found.sentence) < 1000
