"""Pictures of BGP paths and neighbors: what stands where, and that no path is invented."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookingglass.facts import facts
from lookingglass.pictures import draw
from lookingglass.pictures.communities import NAMED, WELL_KNOWN, chips
from lookingglass.pictures.graph import BEND, BOX, EDGE, GAP, MOST_ROWS, ROW, TALL
from lookingglass.pictures.markup import UNKNOWN
from tests.pictures import TWO_PATHS, column, of_class, rows, text_of, tree
from tests.samples import CASES, read

OWN = 64500


def graph_of(drawn: str) -> ET.Element:
    graph = of_class(tree(drawn), "graph")[0].find("svg")
    assert graph is not None
    return graph


def boxes(graph: ET.Element) -> dict[tuple[int, int], str]:
    """Return the boxes by column and row; our AS is in column 0."""
    found = {}
    for group in graph.iter("g"):
        rect, label = group.find("rect"), group.find("text")
        assert rect is not None
        assert label is not None
        place = (int(rect.get("x", "")) - EDGE, int(rect.get("y", "")) - EDGE)
        assert (place[0] % (BOX + GAP), place[1] % ROW) == (0, 0)
        found[place[0] // (BOX + GAP), place[1] // ROW] = label.text or ""
    return found


def walk(graph: ET.Element) -> list[tuple[list[int], bool]]:
    """Return the ASes of every way along the lines, prepends too, and whether it is drawn as the best one.

    It reads nothing but the shapes: where lines begin and end, which pill lies on them, what is in the boxes.
    """
    known = boxes(graph)
    pills = {}
    texts = [each for each in graph if each.tag == "text"]
    for rect, label in zip((each for each in graph if each.tag == "rect"), texts, strict=True):
        pills[int(rect.get("x", "")), int(rect.get("y", "")) + 9] = int((label.text or "")[1:])
    ways: dict[tuple[int, int], list[tuple[tuple[int, int], int, bool]]] = {}
    for line in of_class(graph, "line"):
        start_x, start_y, course = re.fullmatch(r"M(\d+) (\d+)(.*)", line.get("d", "")).groups()  # type: ignore[union-attr]
        bend = re.fullmatch(r"H(\d+)(?:q6 0 6-6V(\d+)q0-6 6-6H(\d+))?", course)
        assert bend is not None
        end_x = int(bend[3] or bend[1])
        end_y = int(bend[2]) - 6 if bend[2] else int(start_y)
        assert not bend[3] or int(bend[1]) == end_x - BEND
        place = ((end_x - EDGE) // (BOX + GAP), (end_y - EDGE - TALL // 2) // ROW)
        column = (int(start_x) - EDGE - BOX) // (BOX + GAP)
        row = (int(start_y) - EDGE - TALL // 2) // ROW
        times = pills.pop((int(start_x) + 4, int(start_y)), 1)
        source = (0, row) if column == 0 else (column, row)
        ways.setdefault(source, []).append((place, times, "best" in line.get("class", "")))
    assert pills == {}

    def onwards(place: tuple[int, int]) -> tuple[list[int], bool]:
        if place not in ways:
            return [], True
        ((target, times, is_best),) = ways[place]
        ases, is_rest_best = onwards(target)
        asn = int(known[target].removeprefix("AS"))
        return [asn] * times + ases, is_best and is_rest_best

    return [onwards(place) for place in ways if place[0] == 0]


def test_two_paths_with_a_common_ending_share_its_boxes() -> None:
    graph = graph_of(draw(TWO_PATHS, True, own_as=OWN).picture)
    assert boxes(graph) == {
        (0, 0): "AS64500",
        (1, 0): "AS64501",
        (2, 0): "AS64510",
        (3, 0): "AS64511",
    }
    assert sorted(walk(graph)) == [([64501, 64510, 64511], True), ([64510, 64510, 64510, 64511], False)]
    (ours,) = of_class(graph, "ours")
    assert int(ours.get("height", "")) == ROW + TALL
    assert "\N{MULTIPLICATION SIGN}3" in text_of(graph)


def test_three_boxes_fit_on_a_phone() -> None:
    assert 3 * BOX + 2 * GAP + 2 * EDGE <= 300


def as_facts(paths: list[list[int]]) -> Any:
    found = [
        {"prefix": "192.0.2.0/24", "as_path": path, "best": not place} for place, path in enumerate(paths)
    ]
    return {"paths": found}


def test_boxes_come_in_the_order_in_which_a_path_is_read() -> None:
    """Text browsers show their words in the order in which they are drawn."""
    graph = graph_of(draw(as_facts([[64501, 64510, 64510, 64511]]), True, own_as=OWN).picture)
    assert [*boxes(graph).values()] == ["AS64500", "AS64501", "AS64510", "AS64511"]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=7), min_size=1, max_size=MOST_ROWS))
def test_graph_invents_no_path_and_forgets_none(paths: list[list[int]]) -> None:
    graph = graph_of(draw(as_facts(paths), True).picture)
    assert sorted(walk(graph)) == sorted((path, not place) for place, path in enumerate(paths))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=7), min_size=2, max_size=9), st.randoms())
def test_picture_does_not_depend_on_the_order_of_the_daemon(
    paths: list[list[int]], chance: random.Random
) -> None:
    found = as_facts(paths)
    shuffled = {"paths": chance.sample(found["paths"], len(paths))}
    assert draw(found, True) == draw(shuffled, True)


def test_boxes_do_not_lie_on_lines_of_other_paths() -> None:
    paths = [[1, 2, 9], [3, 2, 9], [9], [4, 5, 6, 9], [7, 9, 9], [8]]
    graph = graph_of(draw(as_facts(paths), True).picture)
    known = boxes(graph)
    for line in of_class(graph, "line"):
        start, y, end = re.match(r"M(\d+) (\d+)H(\d+)", line.get("d", "")).groups()  # type: ignore[union-attr]
        row = (int(y) - EDGE - TALL // 2) // ROW
        between = [EDGE + column * (BOX + GAP) for column, at in known if at == row and column]
        assert not any(int(start) < x < int(end) for x in between)


def test_set_in_a_path_is_one_box() -> None:
    case = (CASES / "frr-lab-aggregate-text.out").read_text()
    found = facts("frr", case)
    assert found["paths"][0]["as_path"] == [64500, 64501, 64601, 4200000001]
    assert found["paths"][0]["segments"] == [64500, 64501, [64601, 4200000001]]
    drawn = draw(found, True)
    graph = graph_of(drawn.picture)
    assert [box for _, box in sorted(boxes(graph).items())] == [
        "this router",
        "AS64500",
        "AS64501",
        "set of 2",
    ]
    assert column(drawn, "AS path") == ["64500 64501 {64601,4200000001}"]


@pytest.mark.parametrize(
    ("name", "segments"),
    [
        ("11-bird-many-attributes.out", [65001, 65002, 64501, [64502, 64503]]),
        ("bird-3-attributes.out", [64501, 65001, 65002, [65003, 65004], 64502]),
        ("frr-paths-json-of-releases.out", [65001, 65002, [65003, 65004], 64501, [64502, 64503]]),
    ],
)
def test_sets_are_read_from_every_daemon(name: str, segments: list[Any]) -> None:
    found = facts("bird" if "bird" in name else "frr", (CASES / name).read_text())
    assert segments in [path.get("segments") for path in found["paths"]]


def test_table_of_paths_has_the_best_first_and_why() -> None:
    drawn = draw(TWO_PATHS, True, own_as=OWN)
    assert rows(drawn) == [
        ["Choice", "AS path", "Next hop", "Pref", "MED", "Origin", "Communities"],
        [
            "★ best highest local preference",
            "64501 64510 64511",
            *("198.51.100.6", "90", UNKNOWN, "IGP", "64501:200064501:7:42"),
        ],
        [
            *("also", "64510 64510 64510 64511", "198.51.100.10", "80", "100", "IGP"),
            "64510:100065535:65281 no export",
        ],
    ]
    assert drawn.words == (
        "★ best (highest local preference)  64501 64510 64511  via 198.51.100.6  pref 90  IGP"
        "  64501:2000 64501:7:42\n"
        "also  64510 64510 64510 64511  via 198.51.100.10  pref 80  MED 100  IGP  64510:1000 65535:65281"
    )


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("frr-r3-prefix4.out", [None, "Local Pref"]),
        ("frr-r3-prefix4-json.out", [None, "Local Pref"]),
        ("frr-r3-address4.out", ["First path received"]),
        ("birdc-r1-show-route-for4-all.out", [None, None]),
    ],
)
def test_reason_is_the_one_of_the_daemon(name: str, reasons: list[str | None]) -> None:
    assert [path.get("reason") for path in read(name)["paths"]] == reasons


def test_first_path_received_is_no_reason() -> None:
    drawn = draw(read("frr-r3-address4.out"), True)
    assert rows(drawn)[1][0] == "★ best"


def test_prefixes_have_graphs_of_their_own() -> None:
    drawn = draw(read("birdc-r1-show-route-all.out"), True)
    assert len(of_class(tree(drawn.picture), "graph")) == 6
    assert "Paths to 4 more prefixes are in the table." in text_of(tree(drawn.picture))
    assert column(drawn, "Prefix")[:3] == ["0.0.0.0/0", "0.0.0.0/0", "192.0.2.0/25"]
    assert column(drawn, "Protocol")[:3] == ["transit_v4", "backup_v4", "own4"]


def test_routes_without_an_as_path_are_a_table_only() -> None:
    drawn = draw(read("birdc-r1-show-route.out"), True)
    assert of_class(tree(drawn.picture), "graph") == []
    assert rows(drawn)[0] == ["Choice", "Prefix", "Protocol", "Next hop"]
    local = draw(read("frr-r3-local4.out"), True)
    assert of_class(tree(local.picture), "graph") == []
    assert column(local, "AS path") == ["local"]


def test_well_known_communities_are_told_in_words() -> None:
    assert set(NAMED.values()) <= {*WELL_KNOWN, "internet"}
    shown = text_of(tree(chips(["no-export", "65535:666", "llgr-stale", "64500:1"])))
    assert shown == "65535:65281 no export65535:666 blackhole65535:6 long-lived stale64500:1"


# --- neighbors


def test_neighbors_that_are_down_come_first_in_words() -> None:
    drawn = draw(read("frr-r3-summary.out"), True)
    assert rows(drawn)[:3] == [
        ["Neighbor", "AS", "State", "Since", "Received"],
        ["nobody wants it up 203.0.113.1", "AS64999", "✗ down, switched off Idle (Admin)", "never", UNKNOWN],
        ["backup for r1 198.51.100.5", "AS64500", "✓ up Established", "00:00:06", "1"],
    ]
    assert drawn.words.split("\n")[1] == "backup for r1 198.51.100.5 AS64500: up, since 00:00:06, 1 received"


def test_columns_that_nothing_is_known_of_are_left_out() -> None:
    known = {"name": "a", "state": "up"}
    assert rows(draw({"neighbors": [known]}, True))[0] == ["Neighbor", "State"]
    drawn = draw({"neighbors": [known, {**known, "asn": 64500}]}, True)
    assert rows(drawn) == [["Neighbor", "AS", "State"], ["a", UNKNOWN, "✓ up"], ["a", "AS64500", "✓ up"]]


def test_neighbors_of_bird_have_states_in_words() -> None:
    drawn = draw(read("birdc-r1-show-protocols-all.out"), True)
    states = dict(zip(column(drawn, "Neighbor"), column(drawn, "State"), strict=True))
    assert [state for name, state in states.items() if name.startswith("peer_")] == [
        "✗ down, tries to connect Active",
        "✗ down",
    ]
