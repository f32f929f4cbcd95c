"""Parsers of ping and traceroute on what real tools have printed: facts as a person reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lookingglass.facts import facts
from tests.samples import CASES, R1, R2, R3, R4, TARGET, read, says
from tests.support import sample


@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_output_in_public_reports_gives_the_facts_that_are_right(path: Path) -> None:
    case = json.loads(path.read_text())
    found = facts(case["parser"], path.with_suffix(".out").read_text())
    assert any(
        says(found, right) and bool(found) == bool(right) for right in [case["expected"], *case["also_right"]]
    )


# --- ping


@pytest.mark.parametrize(
    ("name", "times", "sent", "received", "rate"),
    [
        ("ping4-ok.out", (18.019, 18.555, 19.354, 0.507), 5, 5, 100),
        ("ping4-ok-n.out", (18.079, 18.340, 18.614, 0.219), 5, 5, 100),
        ("ping4-name.out", (18.025, 18.903, 19.402, 0.622), 3, 3, 100),
        ("ping4-D-timestamps.out", (18.561, 19.416, 19.905, 0.607), 3, 3, 100),
        ("ping4-O-report-outstanding.out", (17.525, 18.717, 19.939, 0.997), 6, 4, 66.67),
        ("ping4-quiet.out", (17.738, 17.962, 18.149, 0.135), 5, 5, 100),
        ("ping4-flood-refused.out", (18.042, 18.065, 18.088, 0.023), 2, 2, 100),
        ("ping4-100loss.out", None, 4, 0, 0),
        ("ping4-no-such-host-on-lan.out", None, 4, 0, 0),
        ("ping4-unreachable-route.out", None, 3, 0, 0),
        ("ping6-ok.out", (18.218, 19.043, 19.983, 0.645), 5, 5, 100),
        ("ping6-name.out", (18.246, 18.596, 19.007, 0.313), 3, 3, 100),
        ("ping6-100loss.out", None, 4, 0, 0),
        ("ping6-no-such-host-on-lan.out", None, 4, 0, 0),
        ("ping6-unreachable-route.out", None, 3, 0, 0),
        ("busybox-ping4.out", (18.537, 18.938, 19.600), 3, 3, 100),
        ("busybox-ping6.out", (18.862, 19.041, 19.221), 2, 2, 100),
        ("busybox-ping4-loss.out", None, 2, 0, 0),
    ],
)
def test_ping_statistics_are_as_printed(
    name: str, times: tuple[float, ...] | None, sent: int, received: int, rate: float
) -> None:
    found = read(name)
    assert (found["sent"], found["received"], found["rate"]) == (sent, received, rate)
    printed = tuple(found[key] for key in ("min", "avg", "max", "mdev") if key in found)
    assert printed == (times or ())
    if name != "ping4-quiet.out":
        assert len(found["replies"]) == received


def test_ping_replies_have_sequence_time_ttl_and_address() -> None:
    replies = read("ping4-O-report-outstanding.out")["replies"]
    assert [reply["seq"] for reply in replies] == [1, 2, 4, 6]
    assert replies[2] == {"seq": 4, "rtt": 17.5, "ttl": 60, "address": "203.0.113.20"}
    assert read("ping6-name.out")["replies"][0]["address"] == "2001:db8:203::10"
    first = read("busybox-ping6.out")["replies"][0]
    assert first == {"seq": 0, "rtt": 18.862, "ttl": 60, "address": "2001:db8:203::10"}
    assert len(read("inetutils-ping4.out")["replies"]) == 3
    assert read("inetutils-ping4.out")["rate"] == 100


def test_ping_under_way_has_replies_and_no_summary() -> None:
    text = sample("ping4-ok.out")
    assert set(facts("ping", text[: text.index("icmp_seq=4")])) == {"replies"}


def test_cisco_success_rate_is_read() -> None:
    found = facts("ping", "!!!!.\nSuccess rate is 80 percent (4/5), round-trip min/avg/max = 40/41/44 ms\n")
    assert found == {"min": 40, "avg": 41, "max": 44, "rate": 80, "sent": 5, "received": 4}


# --- traceroute


def table(name: str) -> list[list[Any]]:
    """Return the hops as a person would note them: address or None for each probe."""
    return [[probe and probe["address"] for probe in hop["probes"]] for hop in read(name)["hops"]]


CHAIN6 = ["2001:db8:1::2", "2001:db8:2::2", "2001:db8:3::2", "2001:db8:4::2", "2001:db8:203::10"]


@pytest.mark.parametrize(
    ("name", "third"),
    [
        ("traceroute4.out", [R3, R3, None]),
        ("traceroute4-n.out", [None, None, None]),
        ("traceroute4-icmp.out", [R3, None, R3]),
        ("traceroute4-A-asn.out", [R3, R3, None]),
        ("traceroute4-N1-sequential.out", [R3, R3, None]),
        ("inetutils-traceroute4.out", [R3, R3, R3]),
        ("inetutils-traceroute4-names.out", [R3, R3, R3]),
    ],
)
def test_traceroute_has_every_probe_of_every_hop(name: str, third: list[Any]) -> None:
    assert table(name) == [[R1] * 3, [R2] * 3, third, [R4] * 3, [TARGET] * 3]


@pytest.mark.parametrize(
    ("name", "third"),
    [
        ("traceroute6.out", [None, CHAIN6[2], None]),
        ("traceroute6-n.out", [None, CHAIN6[2], CHAIN6[2]]),
        ("traceroute6-A-asn.out", [CHAIN6[2], None, None]),
        ("busybox-traceroute4.out", [CHAIN6[2], None, None]),
    ],
)
def test_traceroute_of_ipv6_has_every_probe(name: str, third: list[Any]) -> None:
    expected = [[address] * 3 for address in CHAIN6]
    expected[2] = third
    assert table(name) == expected


def test_traceroute_probes_have_names_times_notes_and_asns() -> None:
    hops = read("traceroute4.out")["hops"]
    assert hops[0]["probes"][1] == {"address": R1, "name": "ge0-0.r1.lg.example", "rtt": 1.418}
    assert read("traceroute4-n.out")["hops"][0]["probes"][0] == {"address": R1, "rtt": 1.347}
    assert read("traceroute4-A-asn.out")["hops"][4]["probes"][0] == {
        "address": TARGET,
        "asn": 64510,
        "rtt": 17.631,
    }
    original = read("traceroute4-original-tinytracer.out")["hops"]
    assert [probe and probe["rtt"] for probe in original[2]["probes"]] == [None, None, 9.392, None, 9.398]
    assert original[4]["probes"][0]["asn"] == 64510
    unreachable = read("traceroute4-unreachable-H.out")["hops"]
    assert len(unreachable) == 19
    assert unreachable[18]["probes"][2] == {
        "address": R4,
        "name": "be10.r4.dc.example",
        "rtt": 16.697,
        "note": "!H",
    }
    assert [probe["note"] for probe in read("traceroute6-unreachable.out")["hops"][3]["probes"]] == ["!N"] * 3
    assert read("traceroute4-prohibited-X.out")["hops"][10]["probes"][1]["note"] == "!X"
    names = read("inetutils-traceroute4-names.out")["hops"][4]["probes"][0]
    assert names == {"address": TARGET, "name": "target.example", "rtt": 18.363}
    assert table("traceroute4-stars-blackhole.out")[2:] == [[None] * 3] * 10
    assert table("busybox-traceroute4-n.out")[0] == [R1, R1]


def test_strange_names_do_not_break_a_traceroute() -> None:
    line = " 3  <script>alert(1)</script>.example (198.51.100.10)  8.7 ms (x) 9 ms !F-1492"
    (hop,) = facts("traceroute", f"{line} * 192.0.2.1 ms 7 ms !<10>\n")["hops"]
    assert [probe and probe.get("note") for probe in hop["probes"]] == [None, "!F-1492", None, "!<10>"]
    assert hop["probes"][0]["name"] == "<script>alert(1)</script>.example"


def test_bsd_ping_and_traceroute_are_read() -> None:
    found = facts(
        "ping",
        "16 bytes from 2001:db8::1, icmp_seq=0 hlim=64 time=0.5 ms\n"
        "round-trip min/avg/max/std-dev = 0.5/0.6/0.7/0.1 ms\n",
    )
    assert found["replies"] == [{"seq": 0, "rtt": 0.5, "ttl": 64, "address": "2001:db8::1"}]
    assert (found["min"], found["mdev"]) == (0.5, 0.1)
    (hop,) = facts("traceroute", " 1  192.0.2.1  1.0 ms\n    192.0.2.2  2.0 ms *\n")["hops"]
    assert [probe and probe["address"] for probe in hop["probes"]] == ["192.0.2.1", "192.0.2.2", None]


# --- what else tools print: ping

REPLY = {"seq": 1, "rtt": 0.5, "ttl": 60, "address": "203.0.113.10"}


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        # key=value that we do not know, in any place; other words for the sequence number
        ("64 bytes from 203.0.113.10: icmp_seq=1 ident=4711 ttl=60 time=0.5 ms", REPLY),
        ("64 bytes from 203.0.113.10: ident=4711 icmp_seq=1 flow=ab12 ttl=60 time=0.5 ms", REPLY),
        ("64 bytes from 203.0.113.10: icmp_req=1 ttl=60 time=0.5 ms", REPLY),
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 tso=1 tsr=2 time=0.5 ms", REPLY),
        ("64 bytes from 203.0.113.10: icmp_seq=1. time=0.5 ms", {**REPLY, "ttl": None}),
        ("[1700000000.000001] 64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=0.5 ms", REPLY),
        ("21:04:03.123456 64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=0.5 ms", REPLY),
        ("64 bytes from 203.0.113.10 via ge-0/0/1.0: icmp_seq=1 ttl=60 time=0.5 ms", REPLY),
        ("\a64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=0.5 ms\r", REPLY),
        # units, and times that are none
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=0.5ms", REPLY),
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=1 msec", {**REPLY, "rtt": 1}),
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=0.5ms.", REPLY),
        ("64 bytes from 203.0.113.10 via fei0: icmp_seq=1 ttl=60 time=0.500 ms.", REPLY),
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=0.5ms.5", {**REPLY, "rtt": None}),
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time<1 ms", {**REPLY, "rtt": None}),
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=-48.2 ms", {**REPLY, "rtt": None}),
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=1,5 ms", {**REPLY, "rtt": None}),
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=500 us", {**REPLY, "rtt": None}),
        # names that look like addresses, and replies without an address
        ("64 bytes from cafe.example (203.0.113.10): icmp_seq=1 ttl=60 time=0.5 ms", REPLY),
        ("64 bytes from dead.beef (203.0.113.10): icmp_seq=1 ttl=60 time=0.5 ms", REPLY),
        ("64 bytes from 10.9.8.7 (203.0.113.10): icmp_seq=1 ttl=60 time=0.5 ms", REPLY),
        ("64 bytes from  (203.0.113.10): icmp_seq=1 ttl=60 time=0.5 ms", REPLY),
        ("64 bytes from face.b00c: icmp_seq=1 ttl=60 time=0.5 ms", {**REPLY, "address": None}),
        ("16 bytes from cafe.de, icmp_seq=1 hlim=60 time=0.5 ms", {**REPLY, "address": None}),
        ("64 bytes from : icmp_seq=1 ttl=60 time=0.5 ms", {**REPLY, "address": None}),
        ("64 bytes from: icmp_seq=1 ttl=60 time=0.5 ms", {**REPLY, "address": None}),
        ("64 bytes from icmp_seq=1 ttl=60 time=0.5 ms", {**REPLY, "address": None}),
        ("64 bytes: icmp_seq=1 ttl=60 time=0.5 ms", {**REPLY, "address": None}),
        ("64 bytes from a=b.example (203.0.113.10): icmp_seq=1 ttl=60 time=0.5 ms", REPLY),
        # another line that follows without a line break
        (
            "64 bytes from 203.0.113.10: icmp_seq=1 ttl=60no answer yet for icmp_seq=2",
            {**REPLY, "rtt": None, "ttl": None},
        ),
        ("64 bytes from fe80::1%eth0: icmp_seq=1 ttl=60 time=0.5 ms", {**REPLY, "address": "fe80::1%eth0"}),
        # remarks
        ("64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=0.5 ms (DUP!)", {**REPLY, "note": "DUP!"}),
        (
            "9 bytes from 203.0.113.10: icmp_seq=1 ttl=60 (truncated)",
            {**REPLY, "rtt": None, "note": "truncated"},
        ),
        (
            "64 bytes from 203.0.113.10: icmp_seq=1 ttl=60 time=0.5 ms (BAD CHECKSUM) (DIFFERENT ADDRESS!)",
            {**REPLY, "note": "BAD CHECKSUM, DIFFERENT ADDRESS!"},
        ),
    ],
)
def test_reply_is_read_whatever_else_its_line_says(line: str, reply: dict[str, Any]) -> None:
    before, after = (
        f"{line.replace('=1', '=0', 1)}\n",
        "64 bytes from 203.0.113.9: icmp_seq=2 ttl=60 time=9.0 ms\n",
    )
    replies = facts("ping", f"{before}{line}\n{after}")["replies"]
    assert len(replies) == 3
    assert replies[1] == reply
    assert replies[2]["address"] == "203.0.113.9"


@pytest.mark.parametrize(
    "line",
    [
        "From 198.51.100.1 icmp_seq=1 Destination Host Unreachable",
        "From r1.example (198.51.100.1) icmp_seq=1 Time to live exceeded",
        "From 198.51.100.1: icmp_seq=1 Redirect Host(New nexthop: 198.51.100.9)",
        "36 bytes from r1.example (198.51.100.1): Time to live exceeded",
        "92 bytes from 198.51.100.1: Communication prohibited by filter",
        "no answer yet for icmp_seq=1",
        "Request timeout for icmp_seq 1",
        "ping: sendmsg: Network is unreachable",
        "wrong data byte #16 should be 0x10 but was 0x0",
    ],
)
def test_error_is_no_reply(line: str) -> None:
    assert facts("ping", f"{line}\n1 packets transmitted, 0 received, 100% packet loss\n")["replies"] == []
    assert "replies" not in facts("ping", f"{line}\n")


@pytest.mark.parametrize(
    ("who", "address"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("198.51.100.1:", "198.51.100.1"),
        ("r1.example (198.51.100.1):", "198.51.100.1"),
        ("2001:db8::", "2001:db8::"),
        ("2001:db8:::", "2001:db8::"),
        ("fe80::1%eth0:", "fe80::1%eth0"),
        ("face.b00c", None),
    ],
)
def test_error_has_the_address_of_its_sender(who: str, address: str | None) -> None:
    text = f"From {who} icmp_seq=2 Redirect Host(New nexthop: 198.51.100.9)\n"
    (error,) = facts("ping", text)["errors"]
    assert (error["seq"], error["address"]) == (2, address)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 packets transmitted, 3 packets received, 1 duplicates, 0% packet loss", (3, 3, 100)),
        (
            "4 packets transmitted, 3 received, +1 duplicates, +1 corrupted, +2 errors, 25% packet loss",
            (4, 3, 75),
        ),
        (
            "1 packets transmitted, 1 packets received, 0.0% packet loss, 1 packets out of wait time",
            (1, 1, 100),
        ),
        ("1 packet transmitted, 1 packet received, 0.0% packet loss", (1, 1, 100)),
        ("1 packets transmitted, 3 packets received, -- somebody's printing up packets!", (1, 3, None)),
        ("0 packets transmitted, 0 received", (0, 0, None)),
        ("5 Pakete übertragen, 5 empfangen, 0% Paketverlust", (None, None, None)),
        ("Success rate is 0 percent (0/5)", (5, 0, 0)),
    ],
)
def test_counts_are_read_where_they_make_sense(text: str, expected: tuple[Any, ...]) -> None:
    found = facts("ping", f"{text}\n")
    assert tuple(found.get(name) for name in ("sent", "received", "rate")) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rtt min/avg/max/mdev = 1.0/2.0/3.0/0.5 ms, pipe 2", (1, 2, 3, 0.5)),
        ("rtt min/avg/max/mdev = 1.0/2.0/3.0/0.5 ms, ipg/ewma 0.023/0.007 ms", (1, 2, 3, 0.5)),
        ("round-trip (ms)  min/avg/max/stddev = 1.0/2.0/3.0/0.5", (1, 2, 3, 0.5)),
        ("round-trip min/avg/max/std-dev = 1.0/2.0/3.0/nan ms", (1, 2, 3, None)),
        ("round-trip min/avg/max = 1/2/3 ms", (1, 2, 3, None)),
        ("round-trip min = 1.0ms, avg = 2.0ms, max = 3.0ms, stddev = 0.5ms", (1, 2, 3, 0.5)),
        ("round-trip min = 1.0us, avg = 2.0us, max = 3.0us, stddev = 0.5us", (None,) * 4),
        ("rtt min/avg/max/mdev = -0.5/2.0/3.0/0.5 ms", (None,) * 4),
        ("rtt min/avg/max/mdev = 1.0/2.0/3.0/0.5 us", (None,) * 4),
        ("round-trip min/avg/max = 1.0/2.0/3.0/0.5/0.6 ms", (None,) * 4),
        ("4/5 packets, 20% loss, min/avg/ewma/max = 0.1/0.1/0.1/0.1 ms", (None,) * 4),
    ],
)
def test_times_are_read_in_milliseconds_or_not_at_all(line: str, expected: tuple[Any, ...]) -> None:
    found = facts("ping", f"{line}\n")
    assert tuple(found.get(name) for name in ("min", "avg", "max", "mdev")) == expected


# --- what else tools print: traceroute

A, B, C = "198.51.100.1", "198.51.100.2", "198.51.100.3"


def probes(text: str) -> list[Any]:
    """Return the probes of the only hop, each as (host, rtt, asn, note)."""
    hops = facts("traceroute", text).get("hops", [{"probes": []}])
    assert len(hops) == 1
    return [
        probe and (probe.get("address", probe.get("name")), probe["rtt"], probe.get("asn"), probe.get("note"))
        for probe in hops[0]["probes"]
    ]


@pytest.mark.parametrize(
    ("text", "times"),
    [
        (f"  1 {A} 1 msec *  0 msec", [1, "*", 0]),
        (f"  1 {A} 1 msec ?  *", [1, "?", "*"]),
        (f" 1  {A}  <1 ms  <10 ms  2 ms", ["?", "?", 2]),
        (f" 1  {A}  -0.123 ms  1.0 ms *", ["?", 1, "*"]),
        (f" 1 {A} < 10 ms < 10 ms  *", ["?", "?", "*"]),  # Huawei
        (f" 1  {A}  1,5 ms  850 us  0.5 s", ["?", "?", "?"]),
        (f" 1  {A}  1.5ms  * 2ms ", [1.5, "*", 2]),
        (f" 1  {A}    0.878 ms  0.755 ms 12345678901 ms\r", [0.878, 0.755, "?"]),
        (f" 1  *** {A} 1 ms", ["*", "*", "*", 1]),
        (" 1  0.0.0.0  * * *", ["*", "*", "*"]),
    ],
)
def test_star_is_a_star_and_an_odd_time_is_a_probe(text: str, times: list[Any]) -> None:
    assert [
        "*" if probe is None else "?" if probe[1] is None else probe[1] for probe in probes(text)
    ] == times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Junos, IOS and asdot; BSD's -a in front; several origins
        (f" 1  r1.example ({A}) [AS  64500]  1 ms", [(A, 1, 64500, None)]),
        (f"  1 {A} [AS 64500] 1 msec [AS 64501] {B} 2 msec", [(A, 1, 64500, None), (B, 2, 64501, None)]),
        (f"  1 {A} [AS 1.10] 1 msec", [(A, 1, 65546, None)]),
        (f" 1  [AS64500] r1.example ({A})  1 ms * 2 ms", [(A, 1, 64500, None), None, (A, 2, 64500, None)]),
        (f" 1  [AS64500] {A}  1 ms\n    [AS0] {B}  2 ms", [(A, 1, 64500, None), (B, 2, None, None)]),
        (f" 1  {A} [AS64500/AS64501]  1 ms {B} [*]  2 ms {C} [!!]  3 ms",
         [(A, 1, 64500, None), (B, 2, None, None), (C, 3, None, None)]),
        (f" 1  [AS666].example ({A})  1 ms", [(A, 1, None, None)]),
        # an empty PTR, and one that looks like something else
        (f" 1   ({A})  1 ms * 2 ms", [(A, 1, None, None), None, (A, 2, None, None)]),
        (f" 1  *  ({A})  1 ms  ({B})  2 ms", [None, (A, 1, None, None), (B, 2, None, None)]),
        (f" 1  1.0 ({A})  1 ms cafe ({B})  2 ms", [(A, 1, None, None), (B, 2, None, None)]),
        (f" 1  *.isp.example ({A})  1 ms * *.isp.example ({B})  2 ms\n    *.isp.example ({C})  3 ms",
         [(A, 1, None, None), None, (B, 2, None, None), (C, 3, None, None)]),
        (f" 1  {A} (dead.beef)  1ms  *  {B} (face)  2ms", [(A, 1, None, None), None, (B, 2, None, None)]),
        # what stands between a host and its times
        (f" 1  {A} ({A}) <MPLS:L=16,E=0,S=0,T=1/L=17,E=0,S=1,T=1>  1 ms '-8'  2 ms F=1480",
         [(A, 1, None, None), (A, 2, None, None)]),
        (f"  1 {A} [MPLS: Labels 16/17 Exp 0] 1 msec", [(A, 1, None, None)]),
        (f"13  r1 ({A}) [MPLS: Label 16 Exp 0] More labels  1 ms More labels  2 ms",
         [(A, 1, None, None), (A, 2, None, None)]),
        (f" 1  r1 ({A})  1 ms MPLS Label=16 CoS=5 TTL=1 S=0  2 ms", [(A, 1, None, None), (A, 2, None, None)]),
        (f"  1 {A} (red/1001, red/1001) 1 msec", [(A, 1, None, None)]),
        (f" 1  r1 ({A}) 36 bytes to {B}  1 ms", [(A, 1, None, None)]),
        (f" 1  {A} ({A})  1 ms (255)  2 ms (64)", [(A, 1, None, None), (A, 2, None, None)]),
        (f" 5  t.example ({A}) [open]  1 ms <syn,ack>", [(A, 1, None, None)]),
        # a further line for each address, and lines that are none
        (f"  1 {A} 1 msec\n    {B} 2 msec\n    {A} 3 msec",
         [(A, 1, None, None), (B, 2, None, None), (A, 3, None, None)]),
        (f" 1  {A} ({A})  1 ms\n     MPLS Label=16 CoS=0 TTL=1 S=1\n    r2 ({B})  2 ms",
         [(A, 1, None, None), (B, 2, None, None)]),
        (f" 1  {A} ({A})  1 ms\n       entry  1:  MPLS Label =  16, Exp = 7, TTL = 1", [(A, 1, None, None)]),
        (f" 1  {A} ({A})  1 ms\ntraceroute: sendto: No route to host\n    {B}  2 ms", [(A, 1, None, None)]),
        # notes; IOS tells no time with them
        (f" 1  {A}  1 ms !H * {B}  2 ms !F-1492", [(A, 1, None, "!H"), None, (B, 2, None, "!F-1492")]),
        (f"  1 {A} !A  *  !A", [(A, None, None, "!A"), None, (A, None, None, "!A")]),
        (f"  1 {A} !H  !H  *", [(A, None, None, "!H"), (A, None, None, "!H"), None]),
        (f" 1  {A}  <1 ms !N", [(A, None, None, "!N")]),
        # KAME's traceroute6 prints a name alone
        (" 1  r1.example  1 ms  2 ms", [("r1.example", 1, None, None), ("r1.example", 2, None, None)]),
        (" 1  gateway  1 ms *\n    cafe.de  2 ms",
         [("gateway", 1, None, None), None, ("cafe.de", 2, None, None)]),
        # the time of a host that was not understood is nobody else's
        (f" 1  {A}  1 ms what_is_it  2 ms *", [(A, 1, None, None)]),
        (f" 1  {A}  1 ms @@\n    {B}  2 ms", [(A, 1, None, None)]),
        # other tools
        ("  1    <1 ms    <1 ms    <1 ms  192.168.0.1", []),
        ("  3    12 ms     *       11 ms  r3.example [198.51.100.10]", []),
        (f" 1 {A}       0%    3   0.5ms     0.4     0.3     0.5", []),
        (f"64 bytes from {A}: icmp_seq=1 ttl=60 time=0.5 ms", []),
        ("30 hops max * * *", []),
    ],
)  # fmt: skip
def test_probe_has_what_was_printed_for_it(text: str, expected: list[Any]) -> None:
    assert probes(f"{text}\n") == expected


def test_further_line_of_a_hop_that_was_not_understood_goes_to_no_other_hop() -> None:
    text = f" 1  {A}  1 ms\n 2  what is it?\n    {B}  2 ms\n 3  {C}  3 ms\n"
    hops = facts("traceroute", text)["hops"]
    assert [(hop["hop"], len(hop["probes"])) for hop in hops] == [(1, 1), (3, 1)]
