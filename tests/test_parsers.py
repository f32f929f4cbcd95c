"""Parsers of routing daemons on what they have printed: facts as a person reads them."""

from __future__ import annotations

import pytest

from lookingglass.facts import facts
from tests.samples import read

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
"""
    up = {"asn": 64501, "since": "00:00:05", "state": "Established"}
    assert facts("frr", text)["neighbors"] == [
        {**up, "address": "198.51.100.9", "name": "peer r2"},
        {**up, "address": "198.51.100.14", "received": 2, "name": "r4"},
        {**up, "address": "198.51.100.22", "received": 3},
        {"asn": 65546, "since": "never", "state": "Idle (Admin)", "name": "swp1"},
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
