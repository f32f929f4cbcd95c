"""Pictures of ping, traceroute and mtr: numbers and words as a person expects them of real output."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lookingglass.facts import PARSERS, facts
from lookingglass.pictures import Drawing, draw, scale_of
from lookingglass.pictures.axis import exact_percent, ms, percent, round_above
from lookingglass.pictures.markup import host_name
from tests import pictures
from tests.pictures import column, mtr, of_class, ping, ping_lines, rows, text_of, tree
from tests.samples import read


def drawn(name: str) -> Drawing:
    return draw(read(name), is_over=True)


# --- ping


def test_host_name_may_break_behind_its_dots_and_no_address_is_cut() -> None:
    assert host_name("r1.example.net") == "<bdi>r1.<wbr/>example.<wbr/>net</bdi>"
    for whole in ("64501 via 192.0.2.1", "ae1.as64500", "2001:db8::1", "<b>."):
        assert "<wbr/>" not in host_name(whole)


def test_ping_says_what_was_sent_and_which_were_lost() -> None:
    found = draw(ping(30, pictures.LOST), is_over=True)
    assert found.words == (
        "30 sent, 11 lost (probes 1, 2, 4, 5, 13, 16, 18, 20, 22, 24, 28), 17.7/18.1/18.4 ms"
    )
    figures = text_of(tree(found.figures))
    assert figures.startswith("address 203.0.113.20sent 30lost 11 (36.7 %)")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ping4-ok.out", "5 sent, none lost, 18.0/18.6/19.4 ms"),
        ("ping4-O-report-outstanding.out", "6 sent, 2 lost (probes 3, 5), 17.5/18.7/19.9 ms"),
        ("ping4-100loss.out", "4 sent, 4 lost (probes 1, 2, 3, 4)"),
        ("ping4-quiet.out", "5 sent, none lost, 17.7/18.0/18.1 ms"),
        ("busybox-ping4-loss.out", "2 sent, 2 lost (probes 0, 1)"),
        ("busybox-ping6.out", "2 sent, none lost, 18.9/19.0/19.2 ms"),
    ],
)
def test_ping_in_words_as_a_person_would_say_it(name: str, words: str) -> None:
    assert drawn(name).words == words


def test_every_probe_has_its_slot_in_order() -> None:
    root = tree(draw(ping(30, pictures.LOST), is_over=True).picture)
    (strip,) = of_class(root, "probes")
    assert strip.get("width") == str(30 * 24)
    slots = of_class(root, "slot")
    assert [pictures.percent(slot, "x") for slot in slots] == pytest.approx(
        [100 * place / 30 for place in range(30)], abs=0.01
    )
    lost = [place for place, slot in enumerate(slots, 1) if of_class(slot, "lost")]
    assert lost == list(pictures.LOST)
    assert all(of_class(slots[place - 1], "cross") for place in lost)
    assert len(of_class(root, "echo")) == 19


def test_bar_is_as_high_as_its_delay() -> None:
    root = tree(draw(ping(3, slow={1: 5.0, 2: 10.0, 3: 20.0}), is_over=True).picture)
    assert [float(bar.get("height", "")) for bar in of_class(root, "echo")] == [16, 32, 64]
    assert [text_of(label) for label in root.iter("text")][:2] == ["20 ms", "10 ms"]


def test_reply_above_three_medians_is_a_notched_bar_with_its_value() -> None:
    found = ping(10, slow={4: 212.4})
    assert scale_of(found) == 60  # above 3 * 18
    root = tree(draw(found, is_over=True).picture)
    slots = of_class(root, "slot")
    assert [place for place, slot in enumerate(slots, 1) if of_class(slot, "notch")] == [4]
    (value,) = of_class(root, "value")
    assert text_of(value) == "212.4"


def test_running_ping_has_a_line_for_each_probe_that_is_planned() -> None:
    text = ping_lines(17, pictures.LOST)
    found = draw(facts("ping", text, complete=False), is_over=False, planned=30)
    root = tree(found.picture)
    slots = of_class(root, "slot")
    assert len(slots) == 30
    assert [place for place, slot in enumerate(slots, 1) if of_class(slot, "open")] == list(range(18, 31))
    assert all(line.get("height") == "2" for line in of_class(root, "open"))
    assert found.words == "17 sent, 6 lost (probes 1, 2, 4, 5, 13, 16), 17.7/18.1/18.4 ms"


def test_probe_that_may_still_be_answered_is_not_called_lost() -> None:
    text = ping_lines(4, lost=(3, 4))
    found = draw(facts("ping", text, complete=False), is_over=False, planned=5)
    root = tree(found.picture)
    assert len(of_class(root, "overdue")) == 2
    assert of_class(root, "cross") == []
    assert found.words == "4 sent, 2 without an answer yet, 17.8/17.9/17.9 ms"
    assert "no answer yet 2" in text_of(tree(found.figures))
    over = draw(facts("ping", text), is_over=True)  # as one that was stopped
    assert len(of_class(tree(over.picture), "cross")) == 2


def test_late_answer_takes_the_place_of_no_answer_yet() -> None:
    text = ping_lines(3, lost=(2,)) + "64 bytes from 203.0.113.20: icmp_seq=2 ttl=60 time=900 ms\n"
    root = tree(draw(facts("ping", text, complete=False), is_over=False).picture)
    assert of_class(root, "lost") == of_class(root, "overdue") == []
    assert len(of_class(root, "echo")) == 3


def test_strip_stands_before_the_first_answer() -> None:
    root = tree(draw({}, is_over=False, planned=5).picture)
    assert len(of_class(root, "open")) == 5
    assert draw({}, is_over=False) == ("", "", "")


def test_router_that_complains_of_a_probe_stands_at_its_slot() -> None:
    found = drawn("ping4-no-such-host-on-lan.out")
    titles = [text_of(title) for title in tree(found.picture).iter("title")]
    assert titles[0] == "probe 1: lost, Destination Host Unreachable, says 198.51.100.14"


def test_last_probe_that_is_lost_without_a_word_is_lost_in_the_end() -> None:
    text = "".join(line for line in ping_lines(5, lost=(5,)).splitlines(True) if "no answer" not in line)
    assert "icmp_seq=5" not in text
    text += "\n--- 203.0.113.20 ping statistics ---\n5 packets transmitted, 4 received, 20% packet loss\n"
    found = draw(facts("ping", text), is_over=True)
    root = tree(found.picture)
    assert [text_of(title) for title in root.iter("title")][4] == "probe 5: lost"
    assert "to come" not in found.picture
    assert found.words.startswith("5 sent, 1 lost (probe 5)")


def test_quiet_ping_has_figures_and_no_strip() -> None:
    found = drawn("ping4-quiet.out")
    assert found.picture == ""
    assert "sent 5lost 0 (0 %)" in text_of(tree(found.figures))


@pytest.mark.parametrize(
    ("argv", "probes"),
    [
        (["ping", "-4", "-n", "-O", "-c", "5", "-i", "0.2", "192.0.2.1"], 5),
        (["ping", "-c30", "192.0.2.1"], 30),
        (["ssh", "-c", "aes128-ctr", "fra1", "ping -4 -c 5 -I 192.0.2.9 192.0.2.1 2>&1"], 5),
        (["ping", "192.0.2.1", "repeat", "5", "source", "192.0.2.9"], 5),
        (["/ping", "src-address=192.0.2.9", "count=7", "192.0.2.1"], 7),
        (["ping", "inet", "192.0.2.1", "count", "5"], 5),
        (["ping", "192.0.2.1"], None),
        (["ping", "-c", "0", "192.0.2.1"], None),
    ],
)
def test_argv_says_how_many_probes_are_planned(argv: list[str], probes: int | None) -> None:
    assert PARSERS["ping"].planned(argv) == probes
    assert PARSERS["traceroute"].planned(argv) is None


# --- axes and numbers


@pytest.mark.parametrize(
    ("value", "top"),
    [
        (0, 1),
        (0.04, 0.04),
        (0.35, 0.4),
        (1, 1),
        (18.5, 20),
        (20, 20),
        (20.1, 30),
        (51, 60),
        (168.5, 200),
        (9e9, 1e10),
    ],
)
def test_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert round_above(value) == pytest.approx(top)


def test_numbers_are_as_people_write_them() -> None:
    assert [ms(value) for value in (0, 0.003, 0.044, 0.999, 1, 18.55, 999.4, 1234.5)] == [
        *("0.00", "0.003", "0.04", "1.0", "1.0", "18.6", "999.4", "1234"),
    ]
    assert [percent(*each) for each in ((0, 5), (1, 1000), (1, 9000), (11, 30), (8999, 9000), (5, 5))] == [
        *("0 %", "0.1 %", "0.1 %", "37 %", "99.9 %", "100 %"),
    ]
    assert exact_percent(20.0) == "20 %"


def test_answers_that_share_an_axis_are_drawn_on_the_largest() -> None:
    near, far = ping(5), ping(5, slow=dict.fromkeys(range(1, 6), 150.0))
    top = max(scale_of(near) or 0, scale_of(far) or 0)
    assert top == 200
    bars = of_class(tree(draw(near, True, scale=top).picture), "echo")
    assert float(bars[0].get("height", "")) == pytest.approx(64 * 17.8 / 200, abs=0.01)


# --- traceroute and mtr


def test_mtr_is_a_table_with_a_header_for_each_column_and_row() -> None:
    found = drawn("mtr4-raw.out")
    head, *body = rows(found)
    assert head[:7] == ["Hop", "Router", "Loss", "Best", "Avg", "Worst", "Step"]
    assert head[7].startswith("Range on an axis from 0 to 20 ms")
    assert body[2][:7] == [
        "3",
        "ae3.r3.transit.example 198.51.100.10",
        "60 % only here",
        "8.8",
        "8.8",
        "8.8",
        "+5.5",
    ]
    root = tree(found.picture)
    assert {cell.get("scope") for cell in root.iter("th")} == {"col", "row"}


def test_step_is_the_growth_of_the_floor_and_the_largest_has_the_word() -> None:
    # The second router answers slowly, which raises nothing: 3 ms later the third one has answered.
    found = draw(mtr((0, 1.0), (0, 40.0), (0, 4.0), (0, 12.0), (0, 13.0)), is_over=True)
    assert column(found, "Step") == ["+1.0", "+3.0", "+0.00", "+8.0 largest", "+1.0"]


@pytest.mark.parametrize(
    ("hops", "words"),
    [
        ([(0, 1.0), (20, 2.0), (0, 3.0)], ["", "only here", ""]),
        ([(0, 1.0), (20, 2.0), (20, 3.0), (10, 4.0)], ["", "goes on", "goes on", "at the end"]),
        ([(50, 1.0), (10, 2.0), (0, 3.0), (30, 4.0)], ["only here", "only here", "", "at the end"]),
        ([(10, 1.0), (100, None), (10, 3.0)], ["goes on", "at the end"]),
        ([(10, 1.0), (100, None), (0, 3.0)], ["only here", ""]),
    ],
)
def test_loss_says_where_it_matters(hops: list[tuple[float, float | None]], words: list[str]) -> None:
    cells = column(draw(mtr(*hops), is_over=True), "Loss")
    assert [cell.partition("% ")[2] for cell in cells] == words


def test_loss_at_the_last_hop_of_a_running_mtr_says_nothing_yet() -> None:
    assert column(draw(mtr((0, 1.0), (20, 2.0)), is_over=False), "Loss") == ["0 %", "20 %"]


def test_runs_of_stars_fold() -> None:
    found = drawn("traceroute4-unreachable-H.out")
    assert rows(found)[4] == ["4 to 18: no answer from 15 hops"]
    assert "4 to 18: no answer from 15 hops" in found.words.split("\n")
    stars = drawn("traceroute4-stars-blackhole.out")
    assert rows(stars)[-1] == ["3 to 12: no answer from 10 hops"]
    (cell,) = [cell for cell in tree(stars.picture).iter("td") if cell.get("colspan")]
    assert cell.get("colspan") == "8"
    assert rows(draw(mtr((0, 1.0), (0, None), (0, 3.0)), True))[2] == ["2: no answer"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("traceroute4-unreachable-H.out", "!H host unreachable"),
        ("traceroute6-unreachable.out", "!N network unreachable"),
        ("traceroute4-prohibited-X.out", "!X prohibited by the administrator"),
    ],
)
def test_notes_are_told_in_words(name: str, words: str) -> None:
    found = drawn(name)
    assert any(row[1].endswith(words) for row in rows(found) if len(row) > 1)
    assert words in found.words


def test_notes_with_numbers_are_told_in_words() -> None:
    text = " 1  192.0.2.1  1.0 ms !F-1492  1.0 ms !13  1.0 ms !Z\n"
    cell = rows(draw(facts("traceroute", text), True))[1][1]
    assert cell == "192.0.2.1!F-1492 fragmentation needed, at most 1492 bytes!13 unreachable, code 13!Z"


def test_several_addresses_at_a_hop_are_several_lines() -> None:
    text = (
        " 1  r1.example (198.51.100.1) [AS64500]  4.9 ms 198.51.100.2 (198.51.100.2)  5.0 ms"
        " r1.example (198.51.100.1) [AS64500]  9.2 ms\n"
    )
    root = tree(draw(facts("traceroute", text), True).picture)
    (cell,) = [cell for cell in of_class(root, "router") if cell.tag == "td"]
    assert [text_of(line) for line in cell] == ["r1.example 198.51.100.1 AS64500", "198.51.100.2"]
    assert len(of_class(root, "dot")) == 3
    mtr_hop = {"hop": 1, "addresses": [{"address": "192.0.2.1"}, {"address": "192.0.2.2"}], "avg": 1.0}
    assert rows(draw({"hops": [mtr_hop]}, True))[1][1] == "192.0.2.1192.0.2.2"


def test_traceroute_with_one_probe_a_hop_has_one_column_of_times() -> None:
    text = " 1  192.0.2.1  1.0 ms\n 2  *\n 3  192.0.2.3  9.0 ms\n"
    head, *body = rows(draw(facts("traceroute", text), True))
    assert head[:4] == ["Hop", "Router", "RTT", "Step"]
    assert body[1] == ["2: no answer"]
    assert draw(facts("traceroute", text), True).words.split("\n")[0] == "1: 192.0.2.1, 1.0 ms, +1.0"


def places(markup: str, kind: str, name: str) -> list[float]:
    return [pictures.percent(each, name) for each in of_class(tree(markup), kind)]


def test_ranges_lie_on_one_axis() -> None:
    found = draw(mtr((0, 2.0), (0, 10.0), (0, 16.0)), is_over=True).picture
    assert places(found, "dot", "cx") == pytest.approx([10.5, 50.5, 80.5])
    assert places(found, "whisker", "x1")[::3] == pytest.approx([10, 50, 80])
    assert places(found, "whisker", "x2")[::3] == pytest.approx([12.5, 52.5, 82.5])
    assert "viewBox" not in found


def test_whisker_beyond_the_axis_ends_in_an_arrow() -> None:
    hops: Any = mtr((0, 2.0), (0, 10.0))
    hops["hops"][0]["worst"] = 900.0
    assert scale_of(hops) == 30  # above 2 * 10.1
    found = tree(draw(hops, is_over=True).picture)
    assert len(of_class(found, "beyond")) == 1
    assert "900.0" in column(draw(hops, True), "Worst")


def test_nothing_of_a_picture_needs_an_id_or_a_style_attribute() -> None:
    drawings = [draw(ping(30, pictures.LOST), True), drawn("mtr4-raw.out"), draw(pictures.TWO_PATHS, True)]
    for each in drawings:
        assert not re.search(r"\s(?:id|style|on\w+)=", each.figures + each.picture)
