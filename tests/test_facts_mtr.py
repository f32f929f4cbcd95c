"""The parser of mtr on what it has printed: reports, JSON, raw lines."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookingglass.facts import facts
from lookingglass.facts.mtr_raw import Rounds
from tests.samples import R1, R2, R3, R4, TARGET, read
from tests.support import sample


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


# --- what else tools print: mtr

A, B, C = "198.51.100.1", "198.51.100.2", "198.51.100.3"
HEADER = "HOST: lg                          Loss%   Snt   Last   Avg  Best  Wrst StDev\n"
NUMBERS = "  0.0%     3    1.0   1.0   1.0   1.0   0.0\n"


def hosts(text: str, complete: bool = True) -> list[Any]:
    """Return each hop's address and name; False for what nothing is said of."""
    found = facts("mtr", text, complete).get("hops", [])
    return [(hop.get("address", False), hop.get("name", False)) for hop in found]


@pytest.mark.parametrize(
    ("line", "loss", "sent"),
    [
        ("  1.|-- ???                        0.0%     1    0.0   0.0   0.0   0.0   0.0", 0.0, 1),
        ("  1.|-- ???                       66.7%     3    0.0   0.0   0.0   0.0   0.0", 66.7, 3),
        ("  1.|-- (waiting for reply)        0.0%     0    0.0   0.0   0.0   0.0   0.0", 0.0, 0),
        ("  1.|-- 198.51.100.1               0.0%     0    0.0   0.0   0.0   0.0   0.0", 0.0, 0),
        ("  1. AS???    ???                  0.0%     1    0.0   0.0   0.0   0.0   0.0", 0.0, 1),
    ],
)
def test_zeros_of_a_hop_that_has_not_answered_are_no_times(line: str, loss: float, sent: int) -> None:
    (hop,) = facts("mtr", f"{HEADER}{line}\n")["hops"]
    assert (hop["loss"], hop["sent"]) == (loss, sent)
    assert not {"last", "avg", "best", "worst", "stdev"} & set(hop)
    (hop,) = facts("mtr", f"{HEADER}  1.|-- {A:25}  0.0%     1    0.0   0.0   0.0   0.0   0.0\n")["hops"]
    assert (hop["last"], hop["stdev"]) == (0, 0)  # somebody near


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        # the column is 25 characters wide behind " 1.|-- "
        ("xe-0-1-0.r2.transit.examp", (False, False)),
        ("r1.example (203.0.113.101", (False, "r1.example")),
        ("r1.example (203.0.113.10)", ("203.0.113.10", "r1.example")),
        ("2001:db8:1111:2222:3333:4", (False, False)),
        ("2001:db8:1111:2222::33:44", (False, False)),  # reads well, and may lack its end
        ("2001:db8:1111:2222::33:4", ("2001:db8:1111:2222::33:4", False)),
        ("xe-0-1-0.r2.transit.exam", (False, "xe-0-1-0.r2.transit.exam")),
        ("(x).example", (False, "(x).example")),  # no error
        ("(x).a (198.51.100.1)", ("198.51.100.1", "(x).a")),
        ("(no route to host)", (None, None)),
        ("(Cannot assign requested ", (None, None)),
        ("(waiting for reply)", (None, None)),
        ("???", (None, None)),
    ],
)
def test_what_fills_the_column_of_a_report_may_lack_its_end(host: str, expected: tuple[Any, ...]) -> None:
    text = f"{HEADER}  1.|-- {host:25.25}{NUMBERS}"
    assert hosts(text) == [expected]


def test_wide_report_cuts_only_what_is_very_long() -> None:
    for host in ("xe-0-1-0.r2.transit.examp", "r1.example (203.0.113.101)", "r2.example"):
        header = f"HOST: {'lg':26}  Loss%   Snt   Last   Avg  Best  Wrst StDev\n"
        assert hosts(f"{header}  1.|-- {host:26}{NUMBERS}")[0][1] == host.split(" ")[0]
    for host in ("a" * 80, f"{'a' * 60} (2001:db8:1111:222"):
        assert "a" * 80 not in str(hosts(f"{HEADER}  1.|-- {host:90}{NUMBERS}"))
        assert hosts(f"{HEADER}  1.|-- {host:90}{NUMBERS}")[0][0] is False
        report = {"report": {"hubs": [{"count": 1, "host": host, "Snt": 1}]}}
        assert hosts(json.dumps(report))[0] == hosts(f"{HEADER}  1.|-- {host:90}{NUMBERS}")[0]


@pytest.mark.parametrize(
    ("text", "expected", "asn"),
    [
        ("192.0.2.0/24       r1.example", (False, "r1.example"), None),
        ("2001:db8::/32      2001:db8::1", ("2001:db8::1", False), None),
        ("2001:db8:1000::/36r1.example", (False, False), None),
        ("DE  r1.example (198.51.100.1)", ("198.51.100.1", "r1.example"), None),
        ("    r1.example", (False, "r1.example"), None),
        ("ripencc 198.51.100.1", ("198.51.100.1", False), None),
        ("2004-01-01 ???", (None, None), None),
        ("??? (no route to host)", (None, None), None),
        ("AS64500  r1.example (198.51.100.1)", ("198.51.100.1", "r1.example"), 64500),
        ("AS???    198.51.100.1", ("198.51.100.1", False), None),
        ("AS4200000001r1.example", (False, False), None),
        ("AS64500 64501r1.example", (False, False), 64500),
        ("AS64500 64501r1.example (198.51.100.1)", ("198.51.100.1", False), 64500),
        ("r1.example (198.51.100.1)", ("198.51.100.1", "r1.example"), None),
    ],
)
def test_columns_of_y_and_z_are_no_names(text: str, expected: tuple[Any, ...], asn: int | None) -> None:
    report = f"{HEADER}  1. {text:60}{NUMBERS}"
    assert hosts(report) == [expected]
    assert facts("mtr", report)["hops"][0].get("asn") == asn


def test_lines_of_labels_and_further_addresses_are_no_hops() -> None:
    labels = "    |   +-- [MPLS: Lbl 16 TC 0 S 0 TTL 1]\n"
    text = (
        f"{HEADER}  1.|-- {A:25}{NUMBERS}    |  |+-- [MPLS: Lbl 16 TC 0 S 0 TTL 1]\n"
        f"    |  `|-- {B}\n{labels}{labels}    |   |-- {C}\n  2.|-- {'r4.example':25}{NUMBERS}{labels}"
    )
    first, second = facts("mtr", text)["hops"]
    assert (first["address"], second["name"], "addresses" in second) == (A, "r4.example", False)
    assert first["addresses"] == [{"address": each, "name": None} for each in (A, B, C)]
    text = (
        f"{HEADER}  1. AS64500  {A:25}{NUMBERS}       [MPLS: Lbl 16 TC 0 S u TTL 1]\n"
        f"     AS64501  r2.example ({B})\n     AS???    {C}\n\n     AS64502  r9.example\n"
    )
    (hop,) = facts("mtr", text)["hops"]
    assert [(each["address"], each["name"]) for each in hop["addresses"]] == [
        (A, None),
        (B, "r2.example"),
        (C, None),
    ]


def test_number_that_its_neighbour_may_have_covered_is_left_out() -> None:
    text = f"{HEADER}  1.|-- {A:25}  0.0% 12345  1234. 123456   1.0   1.0   0.0\n"
    (hop,) = facts("mtr", text)["hops"]
    assert hop == {
        "hop": 1, "address": A, "loss": 0.0, "last": 1234.0, "best": 1.0, "worst": 1.0, "stdev": 0.0,
    }  # fmt: skip


HUB = '{"count": %s, "host": "r1.example (198.51.100.1)", "Loss%%": %s, "Snt": %s, "Avg": %s}'


@pytest.mark.parametrize(
    "text",
    [
        '{"report": {"mtr": {}, "hubs": [' + HUB % (1, "0.0", 5, 1.5) + "]}}",
        'mtr: dns_ack: oops\n{"report": {"hubs": [' + HUB % (1, "0.00", 5, "1.50") + "]}}\nmtr: bye\n",
        'mtr: dns_ack: oops{\n "report": {"hubs": [\nmtr: {oops}\n' + HUB % (1, "0.00", 5, "1.50") + "]}}",
        '[1700000000] a warning\n{"report": {"hubs": [' + HUB % ('"1"', '"0.0%"', '"    5"', "1.5") + "]}}",
        '{"report": {"hubs": [\n@Not a TXT record\n' + HUB % (1, "0.0", 5, "1.5") + "]}}",
        '{"report": {"hubs": [null, 5, {"count": "x"}, ' + HUB % (1, "0", 5, "1.5") + "]}}",
    ],
)
def test_json_is_found_and_one_odd_hub_costs_itself_only(text: str) -> None:
    assert facts("mtr", text)["hops"] == [
        {"hop": 1, "address": A, "name": "r1.example", "loss": 0, "sent": 5, "avg": 1.5}
    ]


def test_json_of_old_versions_with_numbers_that_are_none_is_read() -> None:
    text = '{"report": {"hubs": [{"count": "1", "host": "???", "ASN": "AS???", "Avg": -nan, "Best": 1.5}]}}'
    text = text.replace("???", "198.51.100.1", 1)
    for each in (text, text.replace(": ", ":")):
        assert facts("mtr", each)["hops"] == [{"hop": 1, "address": A, "best": 1.5}]
    assert facts("mtr", text.replace("AS???", "AS64500 64501"))["hops"][0]["asn"] == 64500


def raw(*lines: str) -> str:
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("lines", "addresses"),
    [
        # mtr 0.95 tells a new address twice and a change once; it looks up who answered last
        ("hA hA p hB hB b p", {A: None, B: "b.example"}),
        ("hA hA p hB hB p hA a p", {A: "a.example", B: None}),
        ("hA hA a p hB hB b p", {A: "a.example", B: "b.example"}),
        # older ones tell each once and look up who answered first
        ("hA p hB p a p", {A: "a.example", B: None}),
        ("hA p a p hB p", {A: "a.example", B: None}),
        # each name behind its own address; and where that is not sure, none
        ("hA a p hB b p", {A: "a.example", B: "b.example"}),
        ("hA p hB a p", {A: None, B: None}),
    ],
)
def test_name_belongs_to_the_address_it_was_looked_up_for(lines: str, addresses: dict[str, Any]) -> None:
    words = {
        "hA": f"h 0 {A}",
        "hB": f"h 0 {B}",
        "p": "p 0 1000 1",
        "a": "d 0 a.example",
        "b": "d 0 b.example",
    }
    (hop,) = facts("mtr", raw("x 0 1", *(words[word] for word in lines.split(" "))))["hops"]
    assert {each["address"]: each["name"] for each in hop["addresses"]} == addresses
    assert (hop["address"], hop["name"]) == next(iter(addresses.items()))


@pytest.mark.parametrize("name", ["2001:db8::1", "2001:DB8::1", "2001:db8:0:0::1"])
def test_name_that_repeats_the_address_is_none(name: str) -> None:
    assert hosts(raw("x 0 1", "h 0 2001:db8::1", f"d 0 {name}", "p 0 5 1")) == [("2001:db8::1", None)]
    (probe,) = facts("traceroute", f" 1  {name} (2001:db8::1)  1 ms\n")["hops"][0]["probes"]
    assert probe == {"address": "2001:db8::1", "rtt": 1}


def path(*addresses: str, cycles: int = 1) -> str:
    """Return raw lines of hops that answer; "-" stays silent, and "+" was probed in the first cycle only."""
    lines, sequence = [], 0
    for cycle in range(cycles):
        for hop, address in enumerate(addresses):
            if cycle and "+" in address:
                continue
            sequence += 1
            lines.append(f"x {hop} {sequence}")
            if not address.startswith("-"):
                lines += [f"h {hop} {address.rstrip('+')}"] * (not cycle) + [f"p {hop} 1000 {sequence}"]
    return raw(*lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (path(A, B, B, C, B), [A, B, B, C, B]),
        (path(A, B, A, B, A, B), [A, B, A, B, A, B]),
        (path(A, B, C, C, C), [A, B, C]),
        (path(A, B, "-", B), [A, B, None, B]),
        (path(A, C, B, "-", C), [A, C, B, None, C]),
        (path(A, C, "-+", C + "+", "-+", cycles=3), [A, C]),
        (path(A, B, "-", B, cycles=3), [A, B, None, B]),
        (path(A, B, "-", "-", "-", cycles=2), [A, B, None]),
        (path("-", "-"), [None]),
    ],
)
def test_loop_keeps_its_hops_and_only_the_run_of_the_target_is_cut(text: str, expected: list[Any]) -> None:
    assert [address for address, _ in hosts(text)] == expected


def test_other_raw_lines_and_complaints_cost_nothing() -> None:
    text = raw(
        "mtr: a complaint", "x 0 1", f"h 0 {A}", "m 0 16 0 1 1", "t 0 5 1700000000", "y 0 64500",
        "p 0 1000 1", "dns_ack: oops", "d 0 two words", "h 0 nonsense", "p 0 -5 1", "z", "",
    )  # fmt: skip
    assert hosts(text) == [(A, None)]
    assert facts("mtr", text)["hops"][0]["sent"] == 1


def test_old_raw_lines_tell_no_loss() -> None:
    (hop,) = facts("mtr", raw(f"h 0 {A}", "p 0 1000", "p 0 3000", "d 0 a.example"))["hops"]
    assert (hop["name"], hop["avg"]) == ("a.example", 2)
    assert not {"sent", "loss"} & set(hop)


def test_answer_that_comes_late_is_not_that_of_the_probe_under_way() -> None:
    text = raw("x 0 1", "x 0 2", f"h 0 {A}", "p 0 900000 1")
    (hop,) = facts("mtr", text, complete=False)["hops"]
    assert (hop["sent"], hop["loss"]) == (1, 0)
    assert facts("mtr", text)["hops"][0]["loss"] == 50


def test_hop_behind_one_that_may_still_be_the_target_is_not_told() -> None:
    text = raw("x 0 1", f"h 0 {A}", "p 0 5 1", "x 1 2", "x 2 3", f"h 2 {C}", "p 2 5 3")
    assert [address for address, _ in hosts(text, complete=False)] == [A]
    assert [address for address, _ in hosts(text + raw(f"h 1 {C}", "p 1 9 2"))] == [A, C]


# --- the report that raw lines become


def report(*lines: str, complete: bool = True) -> list[str]:
    """Return the lines of a report below its header."""
    return Rounds(raw(*lines)).report("lg", 0, complete).splitlines()[2:]


@pytest.mark.parametrize("name", ["mtr4-raw", "mtr4-raw-n", "mtr6-raw", "mtr4-blackhole-raw"])
def test_report_says_what_the_raw_lines_say_and_reads_as_one_of_mtr(name: str) -> None:
    text = Rounds(sample(f"{name}.out")).report("lg.example", 1e9, complete=True)
    assert text.startswith("Start: 2001-09-09T01:46:40+0000\nHOST: lg.example ")
    printed, told = facts("mtr", text)["hops"], read(f"{name}.out")["hops"]
    assert len(printed) == len(told) > 2
    for one, other in zip(printed, told, strict=True):
        assert one.get("name") == other["name"]
        assert [one[key] for key in ("hop", "address", "sent")] == [
            other[key] for key in ("hop", "address", "sent")
        ]
        times = ("loss", "last", "avg", "best", "worst", "stdev")
        assert [one.get(key) for key in times] == [pytest.approx(other.get(key), abs=0.051) for key in times]


def test_report_is_laid_out_as_that_of_mtr() -> None:
    """Header and hops of the same path, but for the numbers, which are of another minute."""
    ours = Rounds(sample("mtr4-raw.out")).report("vm", 0, complete=True).splitlines()[1:]
    theirs = sample("mtr4-report-wide-b.out").splitlines()[1:]
    assert ours[0] == theirs[0]
    digits = str.maketrans("0123456789", "9999999999")
    assert [len(line) for line in ours] == [len(line) for line in theirs]
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert one[:52] == other[:52]
        assert [len(cell) > 0 for cell in one.split()] == [len(cell) > 0 for cell in other.split()]
        assert one[-12:].translate(digits) == other[-12:].translate(digits)
    silent = Rounds(sample("mtr4-blackhole-raw.out")).report("vm", 0, complete=True).splitlines()[-1]
    assert silent == sample("mtr4-blackhole-report.out").splitlines()[-1]


def test_report_has_labels_and_further_addresses_below_their_hop() -> None:
    labels = "m 0 16 0 1 1"
    lines = report(
        *("x 0 1", f"h 0 {A}", labels, f"h 0 {A}", labels, "p 0 1000 1", "x 1 2", f"h 1 {C}", "p 1 2000 2"),
        *("x 0 3", f"h 0 {B}", "m 0 17 2 0 1", "m 0 18 0 1 1", "m 0 odd", "p 0 3000 3"),
    )
    assert [line[:42].rstrip() for line in lines] == [
        f"  1.|-- {A}  0.0%     2    3.0",
        "    |   +-- [MPLS: Lbl 16 TC 0 S 1 TTL 1]",
        f"    |  `|-- {B}",
        "    |   +-- [MPLS: Lbl 17 TC 2 S 0 TTL 1]",
        "    |   +-- [MPLS: Lbl 18 TC 0 S 1 TTL 1]",
        f"  2.|-- {C}  0.0%     1    2.0",
    ]
    text = Rounds(raw("x 0 1", f"h 0 {A}", "p 0 9 1", f"h 0 {B}")).report("lg", 0, True)
    assert [each["address"] for each in facts("mtr", text)["hops"][0]["addresses"]] == [A, B]


def test_report_of_old_raw_lines_has_dashes_for_what_they_do_not_tell() -> None:
    (line,) = report(f"h 0 {A}", "p 0 1000", "p 0 3000")
    assert line == f"  1.|-- {A}     -     -    3.0   2.0   1.0   3.0   1.4"
    (hop,) = facts("mtr", Rounds(raw(f"h 0 {A}", "p 0 1000")).report("lg", 0, True))["hops"]
    assert hop == {
        "hop": 1, "address": A, "last": 1.0, "avg": 1.0, "best": 1.0, "worst": 1.0, "stdev": 0.0,
    }  # fmt: skip


def test_report_of_rounds_that_were_stopped_does_not_count_a_probe_under_way() -> None:
    lines = ("x 0 1", f"h 0 {A}", "p 0 1000 1", "x 1 2", "x 0 3")
    assert [line.split()[:4] for line in report(*lines, complete=False)] == [["1.|--", A, "0.0%", "1"]]
    assert [line.split()[1:4] for line in report(*lines)] == [[A, "50.0%", "2"]]


@given(st.lists(st.integers(0, 400), max_size=6))
def test_facts_do_not_depend_on_where_reading_paused(cuts: list[int]) -> None:
    lines = sample("mtr4-raw.out").splitlines(keepends=True)
    rounds = Rounds()
    for start, end in itertools.pairwise(sorted({0, len(lines), *(cut % len(lines) for cut in cuts)})):
        rounds.facts(complete=False)
        rounds.feed("".join(lines[start:end]))
    assert rounds.facts(complete=True) == read("mtr4-raw.out")


def test_reading_on_costs_as_much_after_many_rounds_as_at_first() -> None:
    rounds = Rounds()
    cycle = sample("mtr4-raw.out")
    rounds.feed(cycle * 2000)
    began = time.thread_time()
    for _ in range(20):
        rounds.feed(cycle)
        rounds.facts(complete=False)
    assert time.thread_time() - began < 1  # it takes seconds to read all of them again each time


LINES = st.builds(
    lambda *words: " ".join(words),
    st.sampled_from("xphdmtyz"),
    st.sampled_from(["0", "1", "2", "999"]),
    st.sampled_from([A, B, "2001:db8::1", "a.example", "1000", "999999999999", "-5", "33000"]),
    st.sampled_from(["", "33000", "1 2 3", "x y z", "9" * 200]),
)


@given(st.lists(LINES, max_size=40), st.booleans())
def test_no_raw_lines_are_too_odd_for_facts_and_a_report(lines: list[str], complete: bool) -> None:
    rounds = Rounds(raw(*lines))
    hops = rounds.facts(complete).get("hops", [])
    assert sum(".|--" in line for line in rounds.report("lg", 0, complete).splitlines()) == len(hops)
    assert facts("mtr", raw(*lines), complete) == rounds.facts(complete)
