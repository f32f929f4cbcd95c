"""Bytes in, harmless text out; and facts that are read once a Run, at a bounded rate."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookingglass import output as output_module
from lookingglass.output import Digest, Output
from tests.support import PATIENT, at_once


def text_of(*parts: bytes, limit: int = 4096, skip: int = 0) -> str:
    output = Output(limit, skip)
    for part in (*parts, b""):
        output.add(part)
    return "".join(output.pieces)


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        (b"\x1b[31m\x00\x07\x7f", "␛[31m␀␇␡"),
        ("\u202eevil\u2028line\u2066\x9b\u200f".encode(), "�evil�line���"),
        (b"\xff\xfe caf\xc3\xa9", "�� café"),
        (b"cut \xe2\x82", "cut �"),
        (b"tab\tstays\n", "tab\tstays\n"),
        (b"ends with \r", "ends with \n"),
    ],
)
def test_hostile_bytes_are_neutralised(printed: bytes, shown: str) -> None:
    assert text_of(printed) == shown
    assert text_of(*(bytes([each]) for each in printed)) == shown  # however they come


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_text_does_not_depend_on_how_the_bytes_were_cut(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[start:end] for start, end in itertools.pairwise(places)]
    assert text_of(*parts) == text_of(data)
    assert not set(text_of(data)) & set("\x00\x1b\r\x7f\x80\x9b\u202e\u2028\u2066")


def test_no_text_is_no_piece_and_no_news() -> None:
    output = Output(10, 0)
    assert not output.add(b"\xe2\x82")
    assert output.pieces == []
    assert output.add(b"\xac")
    assert output.pieces == ["€"]


@pytest.mark.parametrize(
    ("parts", "shown", "is_full"),
    [
        ([b"x" * 10], "x" * 10, False),
        ([b"x" * 11], "x" * 10, True),
        ([b"x" * 6, b"y" * 6], "xxxxxxyyyy", True),
        ([b"x" * 10, b"y", b"z"], "x" * 10, True),
        (["€€€€".encode()], "€€€�", True),
    ],
)
def test_output_is_cut_at_the_limit_exactly(parts: list[bytes], shown: str, is_full: bool) -> None:
    output = Output(10, 0)
    for part in parts:
        output.add(part)
    assert output.is_full is is_full
    output.add(b"")
    assert "".join(output.pieces) == shown


@pytest.mark.parametrize(
    ("parts", "skip", "shown"),
    [
        ([b"one\ntw", b"o\nthree\n"], 2, "three\n"),
        ([b"one\r", b"\ntwo\n"], 1, "two\n"),
        ([b"one"], 1, ""),
        ([b"\n\n\nfour"], 3, "four"),
        ([b"one\n"], 5, ""),
    ],
)
def test_first_lines_can_be_left_out(parts: list[bytes], skip: int, shown: str) -> None:
    assert text_of(*parts, skip=skip) == shown


RAW = re.compile(r"x [0-9]\s?")


def test_raw_lines_are_heard_but_not_shown_however_the_bytes_were_cut() -> None:
    printed = b"a\nx 1\nx 2\r\nb x 3\nx 4\nc"
    for size in range(1, len(printed) + 1):
        output = Output(4096, 0, RAW)
        parts = [printed[start : start + size] for start in range(0, len(printed), size)]
        is_news = [output.add(part) for part in (*parts, b"")]
        assert "".join(output.pieces) == "a\nb x 3\nc"
        assert "".join(output.heard) == "a\nx 1\nx 2\nb x 3\nx 4\nc"
        assert sum(is_news) == len(output.pieces)


def test_line_too_long_to_be_raw_is_shown_before_its_end() -> None:
    output = Output(1 << 20, 0, RAW)
    assert not output.add(b"x" * output_module.LONGEST_RAW)
    assert output.add(b"x")
    assert output.pieces == ["x" * (output_module.LONGEST_RAW + 1)]


class Parser:
    """Count how often facts are read, and take time for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        self.read: list[str] = []
        self.at_once = self.most_at_once = 0
        self.work: Callable[[], object] = lambda: time.sleep(seconds)
        monkeypatch.setattr(output_module, "facts", self)

    def __call__(self, parser: str, text: str, is_complete: bool) -> dict[str, Any]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.read.append(text)
        self.work()
        self.at_once -= 1
        return {"length": len(text), "is_complete": is_complete}


def test_facts_are_read_once_for_the_same_output(monkeypatch: pytest.MonkeyPatch) -> None:
    parser, digest = Parser(monkeypatch), Digest("ping")
    first = digest.update(["a"], False, False)
    assert first == {"length": 1, "is_complete": False}
    assert digest.update(["a"], False, False) is first
    assert digest.update(["a"], True, False) is first
    assert parser.read == ["a"]


def test_facts_are_read_at_a_bounded_rate_and_at_the_end_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    parser, digest, pieces = Parser(monkeypatch), Digest("ping"), []
    began = time.monotonic()
    while time.monotonic() < began + 2.5 * output_module.FACTS:
        pieces.append("x")
        digest.update(pieces, False, False)
        time.sleep(0.001)
    assert 2 <= len(parser.read) <= 1 + (time.monotonic() - began) / output_module.FACTS
    assert digest.update(pieces, True, True) == {"length": len(pieces), "is_complete": True}


def test_slow_parser_is_asked_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    Parser(monkeypatch, seconds=0.05)
    digest = Digest("ping")
    before = time.monotonic()
    digest.update(["a"], False, False)
    assert digest.due - before >= output_module.FACTS_SHARE * 0.05


def test_end_of_the_source_is_news_even_without_output(monkeypatch: pytest.MonkeyPatch) -> None:
    parser, digest = Parser(monkeypatch), Digest("ping")
    digest.update(["a"], True, False)
    assert digest.update(["a"], True, True)["is_complete"] is True
    assert len(parser.read) == 2


def test_many_threads_read_facts_once_and_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    parser, digest = Parser(monkeypatch), Digest("ping")
    done = threading.Semaphore(0)
    others: list[bool] = []
    parser.work = lambda: others.append(all(done.acquire(timeout=PATIENT) for _ in range(19)))

    def ask(number: int) -> None:
        digest.update(["a"], False, False)
        done.release()

    at_once(20, ask)
    assert len(parser.read) == 1
    assert others == [True]


def test_last_reading_waits_for_one_under_way_and_has_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    parser, digest = Parser(monkeypatch, seconds=0.2), Digest("ping")
    thread = threading.Thread(target=digest.update, args=(["a"], False, False))
    thread.start()
    time.sleep(0.05)
    assert digest.update(["a", "b"], True, True) == {"length": 2, "is_complete": True}
    thread.join()
    assert parser.most_at_once == 1


def test_parser_that_fails_is_not_stuck_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("a parser's mistake")

    digest = Digest("ping")
    with monkeypatch.context() as patch:
        patch.setattr(output_module, "facts", fail)
        with pytest.raises(ValueError, match="mistake"):
            digest.update(["a"], True, False)
    Parser(monkeypatch)
    assert digest.update(["a"], True, False)["length"] == 1
