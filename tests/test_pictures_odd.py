"""Pictures of what nobody expects: hostile names, facts that are none, and far too many of them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookingglass.pictures import Drawing, draw, draw_alone, scale_of
from lookingglass.pictures.board import MOST as MOST_ROUTERS
from lookingglass.pictures.board import Row, board
from lookingglass.pictures.markup import LONGEST, escape
from lookingglass.pictures.verdicts import of_outcome, running, verdict
from tests.pictures import ping, text_of, tree
from tests.samples import EVERY, parser_of, read

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</title></svg></table>&amp;",
    "\u202egpj.exe\u2066",
    "a\x00\x1b[31m\r\n\tb\x7f\x9b",
    "\ud800 half of a pair, \uffff",
    "x" * 300,
    "ראש.example",
]
OBEYED = {*map(chr, range(0x20)), "\x7f", "\x9b", "\u202e", "\u2066", "\ud800", "\uffff"}


def everything(drawing: Drawing) -> str:
    """Return the markup, once it is known to be well-formed and without anything that could be obeyed."""
    markup = drawing.figures + drawing.picture
    tree(markup)
    assert not OBEYED & set(markup)
    assert not OBEYED - {"\n"} & set(drawing.words)
    markup.encode()
    drawing.words.encode()
    return markup


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_texts_are_inert_and_can_be_read(text: str) -> None:
    hop = {"hop": 1, "address": text, "name": text, "addresses": [{"address": text, "name": text}], "avg": 1}
    probe = {"address": text, "name": text, "note": text, "rtt": 1.0}
    path = dict.fromkeys(("prefix", "origin", "next_hop", "protocol", "reason"), text)
    found: list[Any] = [
        {"hops": [hop]},
        {"hops": [{"hop": 1, "probes": [probe]}]},
        {"paths": [{**path, "best": True, "as_path": [64501], "communities": [text]}]},
        {"neighbors": [dict.fromkeys(("name", "address", "state", "since"), text)]},
        {
            "replies": [{"seq": 1, "rtt": 1.0, "address": text}],
            "errors": [{"seq": 2, "address": text, "message": text}],
        },
    ]
    for facts in found:
        drawing = draw(facts, True, own_as=64500)
        markup = everything(drawing)
        assert "<script" not in markup
        assert "<img" not in markup
        assert escape(text)[:12] in markup
        if alone := draw_alone(facts, text, 64500):
            tree(alone)
            assert not OBEYED & set(alone)
            assert "<script" not in alone
        of_outcome(200, {"data": {"output": [], **facts}})
    row = Row(text, text, verdict("bad", text), {}, True)
    assert escape(text)[:12] in board([row])
    tree(board([row]))


def test_long_texts_are_cut() -> None:
    assert len(escape("x" * 100_000)) == LONGEST
    assert escape("x" * 300) == "x" * 300


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
)
KEYS = (
    *("replies", "sent", "received", "min", "avg", "max", "rate", "lost", "overdue", "errors", "seq", "rtt"),
    *("hops", "hop", "probes", "address", "name", "asn", "note", "loss", "best", "worst", "addresses"),
    *("paths", "prefix", "as_path", "segments", "next_hop", "local_pref", "med", "communities", "reason"),
    *("neighbors", "state", "since", "output", "truncated", "target", "message"),
)
ROW_OF = st.dictionaries(
    st.sampled_from(KEYS),
    SCALARS | st.lists(SCALARS | st.dictionaries(st.sampled_from(KEYS), SCALARS), max_size=4),
)
ODD = st.dictionaries(
    st.sampled_from(KEYS), SCALARS | st.lists(ROW_OF | SCALARS, max_size=5) | ANY, max_size=8
)


@settings(deadline=None)
@given(ODD, st.booleans(), st.none() | st.integers(0, 40), st.none() | st.floats(0.01, 1e6))
def test_odd_facts_raise_nothing_and_are_well_formed(
    facts: dict[str, Any], is_over: bool, planned: int | None, scale: float | None
) -> None:
    everything(draw(facts, is_over, scale, planned))
    scale_of(facts)
    if alone := draw_alone(facts, "odd"):
        tree(alone)
    running(facts, 1.0, 30.0)
    tree(board([Row("r1", "", of_outcome(200, {"data": facts}), facts, is_over)]))


@settings(deadline=None)
@given(
    st.integers(100, 599), st.dictionaries(st.sampled_from(("status", "message", "data", "code")), ANY | ODD)
)
def test_odd_envelopes_raise_nothing(status: int, envelope: dict[str, Any]) -> None:
    assert of_outcome(status, envelope).words


@pytest.mark.parametrize("name", [name for name in EVERY if parser_of(name)])
def test_every_sample_is_drawn_well_formed(name: str) -> None:
    facts = read(name)
    drawing = draw(facts, True)
    everything(drawing)
    assert bool(drawing.words) == bool(facts)
    assert of_outcome(200, {"data": {"output": [], **facts}}).words


MANY: dict[str, Any] = {
    "replies": {"replies": [{"seq": seq, "rtt": 1.0 + seq % 7} for seq in range(1, 20_001)], "sent": 20_000},
    "planned": {},
    "hops": {
        "hops": [{"hop": 1, "avg": 1, "best": 1, "worst": 2, "loss": 5, "address": "192.0.2.1"}] * 20_000
    },
    "stars": {"hops": [{"hop": hop, "probes": [None] * 3} for hop in range(20_000)]},
    "hosts": {
        "hops": [{"hop": 1, "probes": [{"address": f"h{host}", "rtt": host / 7} for host in range(20_000)]}]
    },
    "paths": {
        "paths": [
            {"prefix": "192.0.2.0/24", "as_path": [asn, 9, 8], "next_hop": "x"} for asn in range(20_000)
        ]
    },
    "prefixes": {"paths": [{"prefix": f"{number}", "as_path": [1, 2]} for number in range(20_000)]},
    "long": {"paths": [{"prefix": "x", "as_path": list(range(20_000))}, {"prefix": "x", "as_path": [1]}]},
    "set": {"paths": [{"prefix": "x", "segments": [1, list(range(20_000))], "as_path": []}]},
    "communities": {"paths": [{"prefix": "x", "as_path": [1], "communities": ["1:1"] * 20_000}]},
    "neighbors": {"neighbors": [{"name": "x", "state": "Active"}] * 20_000},
}


@pytest.mark.parametrize("name", MANY)
def test_cost_of_a_picture_is_bounded_and_it_says_how_much_more_there_is(name: str) -> None:
    began = time.thread_time()
    drawing = draw(MANY[name], bool(MANY[name]), planned=20_000)
    seconds = time.thread_time() - began
    markup = everything(drawing)
    assert len(markup) < 150_000
    assert len(drawing.words) < 30_000
    assert seconds < 20  # what grows with the square takes minutes
    shown = text_of(tree(markup)) + drawing.words
    said = {
        "replies": "The first 300 of 20000 probes are drawn.",
        "planned": "The first 300 of 20000 probes are drawn.",
        "hops": "19936 more hops",
        "stars": "0 to 63: no answer from 64 hops19936 more hops are in the text.",
        "hosts": "and 19992 more",
        "paths": "19976 more paths are in the table.",
        "prefixes": "Paths to 19994 more prefixes are in the table.",
        "long": "… 19940 more",
        "set": ",… 19992 more}",
        "communities": "and 19960 more",
        "neighbors": "19800 more neighbors are in the text.",
    }
    assert said[name] in shown


def test_board_of_too_many_routers_is_bounded() -> None:
    row = Row("r", "", verdict("good", "all answered"), ping(3), True)
    assert sum(1 for _ in tree(board([row] * (MOST_ROUTERS + 1))).iter("tr")) == MOST_ROUTERS + 1
