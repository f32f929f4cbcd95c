"""All parsers together: samples, parts of them, and what nobody has printed."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookingglass.facts import PARSERS, facts
from lookingglass.facts.common import Facts
from tests.samples import CASES, EVERY, parser_of, read
from tests.support import effort, is_part, sample

WITHOUT_FACTS = re.compile(
    r"\.err$|\.tsv$|^ip-|^birdc-(?:no-|r1-show-(?:memory|status|route-(?:count|notfound))|restricted-denied|syntax)"
    r"|-split\.out|local-unreach|notfound|^frr-r3-(?:table4|regexp|neighbor)\.out"
)
PROBING = re.compile(r"(?:busybox-|inetutils-)?(?:ping|traceroute|mtr)")
# Counts and times of --raw go on; the rest of a hop stays as it was said.
COUNTED = {"loss", "sent", "last", "avg", "best", "worst", "stdev"}
REPORTED = [
    (json.loads(path.read_text())["parser"], path.with_suffix(".out").read_text())
    for path in sorted(CASES.glob("*.json"))
]


@pytest.mark.parametrize("name", EVERY)
def test_every_sample_gives_facts_exactly_where_a_person_reads_some(name: str) -> None:
    found = read(name) if parser_of(name) else {}
    assert bool(found) != bool(WITHOUT_FACTS.search(name))
    json.dumps(found, allow_nan=False)


def test_index_names_every_sample() -> None:
    rows = sample("INDEX.tsv").splitlines()[1:]
    assert {Path(name).stem for name in EVERY} - {"INDEX"} == {row.split("\t")[0] for row in rows}


@pytest.mark.parametrize("name", [name for name in EVERY if parser_of(name) and "-raw" not in name])
def test_facts_of_a_part_never_contradict_those_of_the_whole(name: str) -> None:
    text, whole = sample(name), read(name)
    for end in range(0, len(text), 1 + len(text) // 1500):
        found = facts(parser_of(name), text[:end], complete=False)
        assert is_part(found, whole), (text[:end][-80:], found)


@pytest.mark.parametrize("name", [name for name in EVERY if "-raw" in name])
def test_hops_of_raw_lines_under_way_keep_their_hosts(name: str) -> None:
    text, whole = sample(name), read(name)
    for end in range(len(text)):
        hops = facts("mtr", text[:end], complete=False).get("hops", [])
        told = [{key: value for key, value in hop.items() if key not in COUNTED} for hop in hops]
        assert is_part(told, whole["hops"]), (text[:end][-80:], told)


@pytest.mark.parametrize(("parser", "text"), REPORTED)
def test_part_of_a_reported_case_never_contradicts_the_whole(parser: str, text: str) -> None:
    whole = facts(parser, text)
    for end in range(0, 0 if text.startswith("x ") else len(text), 1 + len(text) // 1500):
        assert is_part(facts(parser, text[:end], complete=False), whole), text[:end][-80:]


@pytest.mark.parametrize(("parser", "text"), REPORTED)
def test_lines_that_end_as_a_terminals_say_the_same(parser: str, text: str) -> None:
    assert facts(parser, text.replace("\n", "\r\n")) == facts(parser, text)


@pytest.mark.parametrize("name", [name for name in EVERY if parser_of(name)])
def test_samples_through_a_terminal_say_the_same(name: str) -> None:
    assert facts(parser_of(name), sample(name).replace("\n", "\r\n")) == read(name)


@settings(deadline=None)
@given(st.sampled_from([name for name in EVERY if PROBING.match(name) and "-raw" not in name]), st.data())
def test_mutated_text_is_not_contradicted_by_more_of_it(name: str, data: st.DataObject) -> None:
    text = sample(name)[:3000]
    start, end = sorted(data.draw(st.integers(0, len(text))) for _ in range(2))
    piece = data.draw(
        st.sampled_from(["", " ", "  ", "\n", "* ", "!H ", "1.0 ms ", "-1.0 ms ", "(", ")", "<1 ms "])
    )
    text = text[:start] + piece + text[start : min(end, start + 200)] + text[end:]
    cut = data.draw(st.integers(0, len(text)))
    part = facts(parser_of(name), text[:cut], complete=False)
    assert is_part(part, facts(parser_of(name), text, complete=False))
    assert is_part(part, facts(parser_of(name), text))


def test_parser_that_fails_gives_no_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(text: str, complete: bool) -> Facts:
        raise LookupError

    monkeypatch.setattr("lookingglass.facts.PARSERS", {"ping": PARSERS["ping"]._replace(read=fails)})
    assert facts("ping", sample("ping4-ok.out")) == {}


# What follows reads without ``facts``, in which nothing that a parser raises is seen.


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("name", ["ping4-ok.out", "mtr4-json.out", "frr-r3-prefix4-json.out"])
def test_output_of_another_tool_raises_nothing(parser: str, name: str) -> None:
    PARSERS[parser].read(sample(name), True)


PIECES = ("\n", "9" * 30, "\x00", "(", "-", "1e999", "{", "}", "\ufffd", "[[", '"')


def mutate(text: str, chance: random.Random) -> str:
    """Change a text a little: cut, double, swap, or replace."""
    start, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
    piece = chance.choice(("", text[start:end] * 2, *PIECES))
    return text[:start] + piece + (text[start + 1 :] if chance.random() < 0.7 else text[end:])


@pytest.mark.slow
def test_thousands_of_mutated_samples_raise_nothing() -> None:
    chance = random.Random(8522)
    texts = [(parser_of(name), sample(name)[:1500]) for name in EVERY if parser_of(name) and sample(name)]
    texts += REPORTED
    for _ in range(30_000):
        parser, text = chance.choice(texts)
        text, complete = mutate(text, chance), chance.random() < 0.5
        PARSERS[parser].read(text, complete)


@settings(deadline=None)
@given(st.sampled_from(sorted(PARSERS)), st.text(), st.booleans())
def test_any_text_gives_facts_or_none(parser: str, text: str, complete: bool) -> None:
    json.dumps(PARSERS[parser].read(text, complete), allow_nan=False)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("mtr", "{" * 200_000),
        ("ping", "bytes from " * 20_000),
        ("traceroute", " 1  " + "* " * 120_000),
        ("traceroute", " 1  " + "(" * 250_000),
        ("mtr", "HOST: x Loss%\n" + " 1.|-- " + "a " * 120_000),
    ],
)
def test_hostile_text_takes_no_time_to_speak_of(parser: str, text: str) -> None:
    started = time.thread_time()
    facts(parser, text)
    assert time.thread_time() - started < 10  # what backtracks takes minutes


HEADER = "HOST: lg                          Loss%   Snt   Last   Avg  Best  Wrst StDev\n"
REPORT = f"{HEADER}  1.|-- 198.51.100.2               0.0%     3    1.0   1.0   1.0   1.0   0.0\n"


@pytest.mark.parametrize(
    ("parser", "before", "piece"),
    [
        ("ping", "", "1 bytes from "),
        ("ping", "", "1 bytes from a_a_a_a="),
        ("ping", "64 bytes from a: seq=1 ", "(x "),
        ("ping", "64 bytes from ", " " * 99),
        ("traceroute", " 1  ", "a.b  1"),
        ("traceroute", " 1  ", "1.1.1.1 ("),
        ("traceroute", " 1  ", "[AS1 "),
        ("traceroute", " 1  ", "<a "),
        ("traceroute", " 1  a (1.1.1.1)  1 ms", "\n    b (1.1.1.2)  1 ms"),
        ("mtr", "", HEADER),
        ("mtr", "HOST: x Loss%", " Snt"),
        ("mtr", HEADER, "  1.|-- a "),
        ("mtr", HEADER, "\n"),
        ("mtr", HEADER + "  1. AS1 ", "1 "),
        ("mtr", REPORT, "    |  `|-- 198.51.100.6\n"),
        ("mtr", REPORT, "     AS1  b\n"),
        ("mtr", "", "h 0 198.51.100.2\nd 0 a\n"),
        ("mtr", "", "@\n"),
    ],
)
def test_time_grows_with_the_size_of_hostile_text_and_no_faster(parser: str, before: str, piece: str) -> None:
    def seconds(size: int) -> float:
        text = before + piece * (size // len(piece))
        return effort(lambda: facts(parser, text))

    assert seconds(240_000) < 8 * seconds(60_000) + 0.1  # what is quadratic takes 16 times as long


def test_all_parsers_are_known_to_the_module() -> None:
    assert list(PARSERS) == ["ping", "traceroute", "mtr", "bird", "frr"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_number_that_is_no_json_is_left_out(number: str) -> None:
    hubs = f'{{"report": {{"hubs": [{{"count": 1, "host": "192.0.2.1", "Avg": {number}, "Best": 1.5}}]}}}}'
    assert facts("mtr", hubs) == {"hops": [{"hop": 1, "address": "192.0.2.1", "best": 1.5}]}
