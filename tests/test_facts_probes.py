"""Parsers of ping, traceroute and mtr on what real tools have printed: facts as a person reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lookingglass.facts import facts
from tests.samples import CASES, read, sample, says


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


R1, R2, R3, R4, TARGET = "198.51.100.2", "198.51.100.6", "198.51.100.10", "198.51.100.14", "203.0.113.10"
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


# --- mtr


def mtr(name: str) -> list[tuple[Any, ...]]:
    return [(hop.get("address"), hop.get("name"), hop["loss"], hop["sent"]) for hop in read(name)["hops"]]


NAMES = [
    "ge0-0.r1.lg.example",
    "xe-0-1-0.r2.transit.example",
    "ae3.r3.transit.example",
    "be10.r4.dc.example",
    "target.example",
]
SILENT = (None, None, 100, 5)


def chain(what: str, sent: int, loss: float, hops: int = 5) -> list[tuple[Any, ...]]:
    """Return the lab's hops with addresses, names or both; ``loss`` is of the third one."""
    addresses = [R1, R2, R3, R4, TARGET] if "a" in what else [None] * 5
    names = NAMES if "n" in what else [None] * 5
    losses = [0, 0, loss, 0, 0]
    return list(zip(addresses, names, losses, [sent] * 5, strict=True))[:hops]


@pytest.mark.parametrize(
    ("name", "hops"),
    [
        ("mtr4-report-wide.out", chain("n", 10, 50)),
        ("mtr4-report-wide-b.out", chain("an", 10, 60)),
        ("mtr4-report-wide-n.out", chain("a", 10, 20)),
        ("mtr4-report-wide-z.out", chain("n", 10, 10)),
        ("mtr4-original-tinytracer.out", chain("an", 10, 70)),
        ("mtr4-report-mpls.out", chain("n", 3, 66.7)),
        ("mtr4-blackhole-report.out", [*chain("an", 5, 0, hops=2), SILENT]),
        ("mtr4-json.out", chain("n", 10, 50)),
        ("mtr4-json-zb.out", chain("an", 10, 50)),
        ("mtr4-blackhole-json.out", [*chain("n", 5, 0, hops=2), SILENT]),
        ("mtr4-raw-n.out", chain("a", 5, 20)),
        ("mtr4-raw.out", chain("an", 5, 60)),
        ("mtr4-blackhole-raw.out", [*chain("an", 5, 0, hops=2), SILENT]),
        ("mtr4-local-unreach.out", None),
    ],
)
def test_mtr_hops_are_as_printed(name: str, hops: list[tuple[Any, ...]] | None) -> None:
    if hops is None:
        assert read(name) == {}
    else:
        assert mtr(name) == hops


def test_mtr_numbers_follow_their_columns() -> None:
    (first, *_, last) = read("mtr4-original-tinytracer.out")["hops"]
    values = [last[name] for name in ("asn", "last", "best", "avg", "worst")]
    assert values == [64510, 19.0, 18.0, 18.6, 20.4]
    assert (first["stdev"], first["asn"]) == (0.1, 64500)
    raw = read("mtr4-raw-n.out")["hops"][0]
    assert raw == {
        "hop": 1, "address": R1, "name": None, "loss": 0, "sent": 5,
        "last": 1.189, "avg": 1.059, "best": 0.919, "worst": 1.189, "stdev": 0.1,
    }  # fmt: skip
    assert "avg" not in read("mtr4-blackhole-json.out")["hops"][2]


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


def test_mtr_that_cuts_addresses_and_names_that_look_like_ases_are_not_believed() -> None:
    report = (
        "HOST: lg                          Loss%   Snt\n"
        "  1.|-- fd00:1111:2222:3333:4444:  0.0%     3\n"
        "  2.|-- AS666 (198.51.100.1)       0.0%     3\n"
        "  3. AS???    r3.example           0.0%     3\n"
        "  4.|-- cafe.de                    0.0%     3\n"
    )
    assert facts("mtr", report)["hops"] == [
        {"hop": 1, "loss": 0.0, "sent": 3},
        {"hop": 2, "address": "198.51.100.1", "name": "AS666", "loss": 0.0, "sent": 3},
        {"hop": 3, "name": "r3.example", "loss": 0.0, "sent": 3},
        {"hop": 4, "name": "cafe.de", "loss": 0.0, "sent": 3},
    ]


def test_mtr_under_way_does_not_count_a_probe_that_may_still_be_answered() -> None:
    text = "x 0 1\nh 0 192.0.2.1\np 0 1000 1\nx 1 2\nx 0 3\n"
    (hop,) = facts("mtr", text, complete=False)["hops"]
    assert (hop["sent"], hop["loss"]) == (1, 0)
    assert facts("mtr", text)["hops"][0]["loss"] == 50


def test_column_that_is_not_a_number_is_left_out() -> None:
    report = "HOST: lg  Loss%  Snt  Last  StDev\n  1.|-- 192.0.2.1  0.0%  5  1.2  -nan\n"
    assert facts("mtr", report) == {
        "hops": [{"hop": 1, "address": "192.0.2.1", "loss": 0.0, "sent": 5, "last": 1.2}]
    }
