"""Parsers of BIRD and FRR on what real daemons have printed: facts as a person reads them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookingglass.facts import facts
from lookingglass.facts.common import DEEPEST, as_number, as_path, find_json, json_documents
from tests.samples import CASES, EVERY, parser_of, read
from tests.support import effort, is_part, sample

PRINTED = {  # parser and text of each sample, and of each case from a public report or a lab
    name: (parser_of(name), sample(name)) for name in EVERY if parser_of(name) in {"bird", "frr"}
}
for path in sorted(CASES.glob("*.json")):
    if (parser := json.loads(path.read_text())["parser"]) in {"bird", "frr"}:
        PRINTED[path.stem] = (parser, path.with_suffix(".out").read_text())


@pytest.mark.parametrize(
    "name", ["01-bird3-recursive", "bird-vpn-row-closes-path", "bird-flow-row-closes-path"]
)
def test_line_that_is_not_understood_adds_nothing_to_the_path_before_it(name: str) -> None:
    path = json.loads((CASES / f"{name}.json").read_text())["expected"]["paths"][0]
    assert facts("bird", PRINTED[name][1])["paths"][0] == path


# --- BIRD


def test_bird_routes_are_paths() -> None:
    best, other = read("birdc-r1-show-route-for4-all.out")["paths"]
    assert best == {
        "prefix": "203.0.113.0/26", "as_path": [64501, 64501, 64511, 64511, 64511], "origin": "IGP",
        "next_hop": "198.51.100.6", "local_pref": 90, "best": True,
        "communities": ["64501:666", "65535:65281", "64500:3001"],
        "protocol": "transit_v4",
    }  # fmt: skip
    assert (other["best"], other["med"], other["next_hop"]) == (False, 100, "198.51.100.9")
    (path,) = read("birdc-r1-show-route-for6-all.out")["paths"]
    assert (path["next_hop"], path["large_communities"]) == ("2001:db8:2::2", ["64501:7:42"])
    paths = read("birdc-r1-show-route-prefix-all.out")["paths"]
    assert [path["as_path"][-1] for path in paths] == [4200000001] * 2
    assert all("64501:99" not in path["communities"] for path in paths)  # an extended community is none
    static = read("birdc-show-route-export.out")["paths"]
    assert static[0] == {"prefix": "192.0.2.0/25", "best": True, "protocol": "own4"}
    assert len(read("birdc-r1-show-route-all.out")["paths"]) == 25
    assert len(read("birdc-show-route-community.out")["paths"]) == 3


def test_bird_protocols_are_neighbors() -> None:
    summary = {each["name"]: each for each in read("birdc-r1-show-protocols.out")["neighbors"]}
    assert set(summary) == {"transit_v4", "transit_v6", "backup_v4", "peer_down", "peer_disabled"}
    assert (summary["peer_down"]["state"], summary["peer_disabled"]["state"]) == ("Active", "down")
    (one,) = read("birdc-show-protocol-one-all.out")["neighbors"]
    assert one == {
        "name": "transit_v4", "address": "198.51.100.6", "asn": 64501, "state": "Established",
        "since": "2026-11-23 06:58:09", "received": 6,
    }  # fmt: skip
    assert len(read("birdc-r1-show-protocols-all.out")["neighbors"]) == 5


# --- FRR, JSON and text


@pytest.mark.parametrize("name", ["frr-r3-prefix4.out", "frr-r3-prefix4-json.out"])
def test_frr_paths_are_the_same_from_text_and_json(name: str) -> None:
    first, best = read(name)["paths"]
    expected = {
        "prefix": "192.0.2.0/26", "as_path": [64501, 64500], "origin": "IGP", "next_hop": "198.51.100.9",
        "communities": ["64500:1", "64501:1000", "64510:2000"], "large_communities": ["64500:1:1"],
        "best": True, "med": 50,
    }  # fmt: skip
    assert {key: best[key] for key in expected} == expected
    assert (first["as_path"], first["local_pref"], first["best"]) == ([64500], 80, False)


def test_frr_prefixes_of_both_families_and_tables_are_read() -> None:
    for name in ("frr-r3-address6.out", "frr-r3-address6-json.out"):
        (path,) = read(name)["paths"]
        assert (path["next_hop"], path["as_path"]) == ("2001:db8:4::2", [64511] * 3)
    for name in ("frr-r3-address4.out", "frr-r3-address4-json.out"):
        (path,) = read(name)["paths"]
        assert (path["origin"], path["med"], path["as_path"]) == ("incomplete", 30, [64511, 4200000001])
    (local,) = read("frr-r3-local4.out")["paths"]
    assert (local["as_path"], local["best"]) == ([], True)
    paths = read("frr-r3-table4-json.out")["paths"]
    assert len(paths) == 8
    assert sum(path["best"] for path in paths) == 7
    assert len(read("frr-r3-regexp-json.out")["paths"]) == 4
    assert read("frr-r3-notfound.out") == read("frr-r3-notfound-json.out") == {}


@pytest.mark.parametrize("name", ["frr-r3-summary.out", "frr-r3-summary-json.out"])
def test_frr_neighbors_are_the_same_from_text_and_json(name: str) -> None:
    neighbors = {each["address"]: each for each in read(name)["neighbors"]}
    assert len(neighbors) == 7
    r2 = neighbors["198.51.100.9"]
    assert (r2["asn"], r2["state"], r2["received"], r2["name"]) == (64501, "Established", 2, "peer r2")
    assert neighbors["203.0.113.1"]["state"] == "Idle (Admin)"


def test_frr_neighbor_in_detail_is_read_from_json() -> None:
    (one,) = read("frr-r3-neighbor-json.out")["neighbors"]
    assert [one[name] for name in ("address", "asn", "received")] == ["198.51.100.9", 64501, 2]
    assert one["state"] == "Established"
    assert len(read("frr-r3-neighbors-json.out")["neighbors"]) == 7


def test_frr_summary_of_the_default_policy_and_of_host_names_is_read() -> None:
    columns = "4 64501 9 14 0 0 0 00:00:05"
    text = f"""198.51.100.9      {columns} (Policy) (Policy) peer r2
r4(198.51.100.14) {columns} 2 (Policy) N/A
*198.51.100.22    {columns} 3 7 N/A
swp1              4 1.10 0 0 0 0 0 never Idle (Admin) 0 N/A
swp2              4 1.10 0 0 0 0 0 never Idle (Policy) 10G peer
swp3              4 1.10 0 0 0 0 0 never Active (Policy) N/A
"""
    up = {"asn": 64501, "since": "00:00:05", "state": "Established"}
    assert facts("frr", text)["neighbors"] == [
        {**up, "address": "198.51.100.9", "name": "peer r2"},
        {**up, "address": "198.51.100.14", "received": 2, "name": "r4"},
        {**up, "address": "198.51.100.22", "received": 3},
        {"asn": 65546, "since": "never", "state": "Idle (Admin)", "name": "swp1"},
        {"asn": 65546, "since": "never", "state": "Idle", "name": "10G peer"},
        {"asn": 65546, "since": "never", "state": "Active", "name": "swp3"},
    ]


def test_as_sets_and_unknown_lines_do_not_mix_paths() -> None:
    text = """BGP routing table entry for 192.0.2.0/24, version 5
Paths: (3 available, best #2, table default)
  Not advertised to any peer
  64999
    198.51.100.1 from 198.51.100.1 (198.51.100.1)
      Origin EGP, valid, external
  {64500,64501} 1.10, (aggregated by 64510 198.51.100.10)
    0.0.0.0 from 0.0.0.0 (198.51.100.10)
      Origin IGP, metric 0, localpref 222, valid, sourced, best (First path received)
  what nobody knows
      Origin incomplete, localpref 5, valid
"""
    first, second = facts("frr", text)["paths"]
    assert (first["as_path"], first["best"], first["origin"]) == ([64999], False, "EGP")
    assert (second["as_path"], second["best"], second["local_pref"]) == ([64500, 64501, 65546], True, 222)


@pytest.mark.parametrize(
    ("next_hop", "used"),
    [
        (":: fe80::5", "fe80::5"),
        ("::", "fe80::2"),  # beside it stands "via"
        (":: ::", "fe80::2"),
        ("2001:db8::1 fe80::5", "2001:db8::1"),
        ("fe80::5", "fe80::5"),
        ("<odd>", "fe80::2"),
    ],
)
def test_next_hop_of_bird_is_one_that_packets_can_use(next_hop: str, used: str) -> None:
    text = "2001:db8::/48        unicast [up1 06:58:09.929] * (100) [AS64501i]\n"
    (path,) = facts("bird", f"{text}\tvia fe80::2 on eth0\n\tBGP.next_hop: {next_hop}\n")["paths"]
    assert path["next_hop"] == used


def test_bird_lists_go_on_and_what_is_cut_or_unknown_is_left_out() -> None:
    text = (
        "Table master4:\n"
        "10.1.0.0/16          unicast [s4 06:58:09.929] ! (200) [AS64511i]\n"
        "\tvia 198.51.100.6 on eth0\n"
        "\tBGP.as_path: 64501 42...\n"
        "\tBGP.community: (64501,1) (64501,2)\n"
        "\t\t(64501,3) (64501,4)\n"
        "\tBGP.large_community: (64501, 7, 1)\n"
        "\t\t(64501, 7, 2)\n"
        "10.2.0.0/16          something [s4 06:58:09.929] * (200)\n"
        "\tBGP.as_path: 65002\n"
        "10.3.0.0/16          prohibited [s4 06:58:09.929] * (200)\n"
    )
    first, second = facts("bird", text)["paths"]
    assert first == {
        "prefix": "10.1.0.0/16", "best": True, "protocol": "s4", "next_hop": "198.51.100.6",
        "communities": ["64501:1", "64501:2", "64501:3", "64501:4"],
        "large_communities": ["64501:7:1", "64501:7:2"],
    }  # fmt: skip
    assert second == {"prefix": "10.3.0.0/16", "best": True, "protocol": "s4"}


# --- what holds for any text


@settings(deadline=None)  # machines may be busy
@given(st.sampled_from(sorted(PRINTED)), st.floats(0, 1))
def test_facts_of_a_text_cut_anywhere_never_contradict_those_of_the_whole(name: str, where: float) -> None:
    parser, text = PRINTED[name]
    found = facts(parser, text[: int(where * len(text))], complete=False)
    assert is_part(found, facts(parser, text))


SOUND = sorted(PRINTED.keys() - {"bird-values-not-understood", "frr-json-cut-off"})  # no odd lines in them
ODD = (
    "% odd",
    "odd odd  odd",
    "\todd: odd",
    "  odd odd",
    "                     odd [odd 1] * (1)",
    "2001:: odd [x]",
)


@settings(deadline=None)  # machines may be busy
@given(st.sampled_from(SOUND), st.floats(0, 1), st.sampled_from(ODD))
def test_odd_line_costs_at_most_one_path_or_peer_its_facts(name: str, where: float, odd: str) -> None:
    parser, text = PRINTED[name]
    lines = text.split("\n")
    at = int(where * len(lines))
    found = facts(parser, "\n".join([*lines[:at], odd, *lines[at:]]))
    whole = facts(parser, text)
    for kind, rows in found.items():
        for row in rows:
            # What ends early has the next hop of "via", the routes of some channels, and "down" for "Down".
            unsure = {"next_hop", "received"} | ({"state"} if row.get("state") == "down" else set())
            rest = {key: value for key, value in row.items() if key not in unsure}
            assert any(is_part(rest, other) for other in whole[kind]), (row, "\n".join(lines[at - 3 : at]))


@settings(deadline=None)  # machines may be busy
@given(
    st.sampled_from(sorted(PRINTED)), st.sampled_from(("% odd\n", "[WARN] odd\n", "{ odd\n", "[ 12:30 ]\n\n"))
)
def test_noise_around_a_json_document_costs_nothing(name: str, noise: str) -> None:
    parser, text = PRINTED[name]
    if find_json(text) is not None:
        assert facts(parser, noise + text + noise) == facts(parser, text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('\n  {"a": 1}', {"a": 1}),
        ('% odd\n{"a": [1, 2]}odd', {"a": [1, 2]}),
        ('[WARN] odd\n[{"a": NaN, "b": 1e999, "c": Infinity}]\n', [{"a": None, "b": None, "c": None}]),
        ('{\n{"a": "\\u007b\\n}"}\n', {"a": "{\n}"}),
        (f'{{"a": {"9" * 5000}}}', {"a": None}),
        ('[   12.345] vtysh: odd\n[1] 4711\n[] odd\n{"a": 1}\n', {"a": 1}),
        ("[1, 2]\n", [1, 2]),
        ("[1, 2]", [1, 2]),
        ('% odd {"a": 1}', {"a": 1}),  # nothing ended the line on standard error
        ('\u241b[?1h\u241b={\n "a": 1\n}', {"a": 1}),  # from a terminal
        ('% odd {"a": 1}\n{"b": 1}\n', {"b": 1}),  # in lines of its own
        ("% odd {a} {64501,64502} [64501]\n", None),
        ('{"a": [\nodd {"b": 1}\n', None),
        ('{"a": [\n{"b": 1}\n', None),  # inside of one that has no end
        ('{"a"\n% odd\n: 1}', None),
        ("[" * 100_000, None),
        ("[" * DEEPEST + "]" * DEEPEST, json.loads("[" * DEEPEST + "]" * DEEPEST)),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), None),  # what is made of it could not be written
        (r'{"\u202ea": ["\u001b[2J\b", "\ud800 \ud83d\ude00\n"]}', {"\ufffda": ["␛[2J␈", "\ufffd 😀\n"]}),
        ("", None),
    ],
)
def test_json_is_found_in_whatever_surrounds_it(text: str, found: object) -> None:
    assert find_json(text) == found


def test_documents_follow_each_other() -> None:
    assert list(json_documents('{"a": 1}\n{}\n% odd\n[2]\n{"b":')) == [{"a": 1}, {}, [2]]


@settings(deadline=None)  # machines may be busy
@given(st.text(alphabet='{}[]",:1 \\\na'), st.text(alphabet='}]",:1 \\a'))
def test_text_before_and_after_never_hides_a_document_in_lines_of_its_own(before: str, after: str) -> None:
    document = {"the": [{"one": 1}]}
    found = list(json_documents(f"% {before}".replace("\n", "\n% ") + f"\n{json.dumps(document)}{after}"))
    assert found[0] == document


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("64501 64502", [64501, 64502]),
        ("(65001 65002) 64501 {64502,64503}", [65001, 65002, 64501, 64502, 64503]),
        ("[65001,65002] ({65003 65004}) 1.10 0.64501", [65001, 65002, 65003, 65004, 65546, 64501]),
        ("", []),
        ("64501 64502 ...", None),
        ("64501 6...", None),
        ("64501 198.51.100.9", None),
        ("64501 4294967296", None),
        ("64501 1.65536", None),
        ("64501 ?", None),
    ],
)
def test_as_path_is_understood_as_a_whole_or_not_at_all(text: str, numbers: list[int] | None) -> None:
    assert as_path(text) == numbers
    assert [as_number("0"), as_number("0.0"), as_number("-1")] == [None] * 3


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-5", "4294967296", "true", '"5"']
)
def test_number_that_is_none_is_left_out(number: str) -> None:
    path = f'{{"prefix": "192.0.2.0/24", "paths": [{{"path": "64500", "locPrf": {number}, "metric": 5}}]}}'
    assert facts("frr", path)["paths"][0]["med"] == 5
    assert "local_pref" not in facts("frr", path)["paths"][0]


# --- hostile text


HOSTILE: dict[str, tuple[str, str, str]] = {  # parser, beginning, what is repeated
    "brackets": ("frr", "", "["),
    "brackets in lines": ("frr", "", "[\n"),
    "braces in lines": ("frr", "", "{\n"),
    "objects in objects": ("frr", "", '{"paths":'),
    "objects without end": ("frr", "", '{"a": {},\n'),
    "lists that end in nonsense": ("frr", "", "[1,\n2,\nodd\n"),
    "strings without end": ("frr", "", '{"\n'),
    "long number": ("frr", '{"paths": [{"aspath": {"string": "', "9"),
    "long AS path": ("frr", "BGP routing table entry for 192.0.2.0/24\n  ", "1 "),
    "spaces in a path": (
        "frr",
        "BGP routing table entry for 192.0.2.0/24\n  1\n",
        "    1::" + " " * 500 + "\n",
    ),
    "from and from": ("frr", "BGP routing table entry for 192.0.2.0/24\n  1\n    1::", " from a(1::"),
    "metrics": (
        "frr",
        "BGP routing table entry for 192.0.2.0/24\n  1\n      Origin IGP",
        ", metric 12345678901",
    ),
    "peers": ("frr", "", "a" * 300 + " " * 80 + "4 " + "1" * 10 + " " * 20 + "1" * 20 + "\n"),
    "one peer": ("frr", "", "4 "),
    "wrapped names": ("frr", "", "a" * 300 + "\n"),
    "route": ("bird", "x", " unicast ["),
    "spaces": ("bird", "", " "),
    "AS path": ("bird", "192.0.2.0/24 unicast [p]\n\tBGP.as_path: ", "1 "),
    "set": ("bird", "192.0.2.0/24 unicast [p]\n\tBGP.community: ", "(1,2)"),
    "set in many lines": ("bird", "192.0.2.0/24 unicast [p]\n\tBGP.community: (1,2)\n", "\t\t(1,2)\n"),
    "protocols": ("bird", "", ("a" + " " * 39) * 6 + "BGP x y\n"),
    "gaps in a time": ("bird", "a BGP --- up 1", "   1  x"),
    "spaces in a time": ("bird", "a BGP --- up 1", " "),
    "reasons": ("bird", "a BGP --- up 1", "  Error: Idle"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_linear_time(name: str) -> None:
    parser, beginning, repeated = HOSTILE[name]
    short, long = (beginning + repeated * (size // len(repeated)) for size in (30_000, 240_000))
    once = max(effort(lambda: facts(parser, short)), 0.002)
    assert effort(lambda: facts(parser, long)) < 24 * once  # 8 times as much text; quadratic would be 64
