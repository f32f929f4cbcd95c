"""Bytes of a tool in, harmless text out, the facts in it, and what is drawn of them."""

from __future__ import annotations

import codecs
import io
import json
import math
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from lookingglass.facts import PARSERS, facts
from lookingglass.facts.common import Facts
from lookingglass.neutral import NEUTRAL
from lookingglass.pictures import Drawing, draw, scale_of, verdicts

FACTS = 0.125  # seconds between two readings of facts, at least,
FACTS_SHARE = 20  # and so many times as long as the last reading has taken
DRAWN = 1 << 16  # bytes a second that each viewer is sent of what is drawn, at most
LONGEST_RAW = 1024  # characters of a line that may be raw
IN_STEP = 4  # things that are made for viewers at a time
AXES = 4  # on which the same is drawn at a time, for viewers who see it beside others

UTF8 = codecs.getincrementaldecoder("utf-8")

Made = TypeVar("Made")


class Output:
    """Keep the text of a source up to a limit; one thread writes, any may read ``pieces`` and ``heard``.

    Lines that match ``raw_line`` are for programs: they are ``heard``, but people are not shown them.
    """

    def __init__(self, limit: int, skip: int, raw_line: re.Pattern[str] | None = None) -> None:
        self.pieces: list[str] = []
        self.heard = [] if raw_line else self.pieces  # with raw lines, in whole lines
        self._raw_line = raw_line
        self._rest = ""  # the line that has no end yet, where some may be raw
        self.began: float | None = None  # when the first piece came, by the monotonic clock
        self._room = limit  # bytes
        self._skip = skip  # lines that are left out at the beginning
        self._decode = io.IncrementalNewlineDecoder(UTF8("replace"), translate=True).decode

    @property
    def is_full(self) -> bool:
        """Tell whether there was more than the limit."""
        return self._room < 0

    @property
    def memory(self) -> int:
        """Return the bytes of memory that it takes."""
        kept = self.pieces if self.heard is self.pieces else self.pieces + self.heard
        return sum(map(sys.getsizeof, kept))

    def add(self, data: bytes) -> bool:
        """Add bytes as far as there is room, and tell whether there is more to show; no bytes are the end."""
        text = self._decode(data[: max(0, self._room)], final=not data).translate(NEUTRAL)
        self._room -= len(data)
        while self._skip and text:
            _, newline, text = text.partition("\n")
            self._skip -= len(newline)
        if text:
            self.began = self.began or time.monotonic()
        if self._raw_line:
            text = self._without_raw(text, self._raw_line, is_end=not data)
        if text:
            self.pieces.append(text)
        return bool(text)

    def _without_raw(self, text: str, raw_line: re.Pattern[str], is_end: bool) -> str:
        """Hear the lines that are complete, and return those of them that people are shown."""
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        whole += newline
        if is_end or len(self._rest) > LONGEST_RAW:
            whole, self._rest = whole + self._rest, ""
        if whole:
            self.heard.append(whole)
        return "".join(line for line in whole.splitlines(keepends=True) if not raw_line.fullmatch(line))


class Once:
    """Make things of a Run once for all viewers who need the same at the same time."""

    def __init__(self) -> None:
        self._made: tuple[tuple[Any, Any], ...] = ()  # by what of, the newest first

    def __call__(self, make: Callable[..., Made], *of: object) -> Made:
        """Return ``make(*of)``, or what it has returned lately."""
        key = (make, of)
        for known, kept in self._made:
            if known == key:
                found: Made = kept
                return found
        made = make(*of)
        self._made = ((key, made), *self._made[: IN_STEP - 1])
        return made


class Drawn(NamedTuple):
    """Hold what was drawn once for all viewers of a Run."""

    drawing: Drawing = Drawing()
    quoted: str = ""  # its markup as a part of a string in JSON
    lost: float | None = None  # percent, so far


NOT_DRAWN = Drawn()


class Digest:
    """Keep what a parser knows of a Run's output: read and drawn once a Run, and not too often.

    ``planned`` is how many probes its command sends, ``own_as`` its router's AS; None: it is not known.
    """

    def __init__(self, parser: str, planned: int | None = None, own_as: int | None = None) -> None:
        self.due = -math.inf  # when output may be read again, by the monotonic clock
        self.known: Facts = {}
        self._parser = parser
        raw = PARSERS[parser].raw
        self._raw = raw() if raw else None
        self._report: str | None = None  # of what is known
        self._lock = threading.Lock()
        self._seen = 0  # pieces that are part of what is known
        self._is_complete = False
        self._planned, self._own_as = planned, own_as
        self._quoted: tuple[Facts, str] = ({}, "{}")  # what, and how it is written
        self._top: tuple[Facts, float | None] = ({}, None)  # of what, as the next one
        self._drawing = threading.Lock()
        # By whether it is over, and the top of an axis that is not its own: of what, and the newest.
        self._drawn: dict[tuple[bool, float | None], tuple[Facts, Drawn]] = {}

    def update(self, pieces: list[str], is_last: bool, is_complete: bool) -> Facts:
        """Return the facts, read anew when there is more output and it is time, or for the last time.

        ``is_complete``: the source has ended by itself.
        """
        if not self._has_more(len(pieces), is_complete):
            return self.known
        if not self._lock.acquire(blocking=is_last):
            return self.known  # another thread is reading
        try:
            length, began = len(pieces), time.monotonic()
            if self._has_more(length, is_complete) and (is_last or began >= self.due):
                found = self._read(pieces, length, is_complete)
                self.known = found if found != self.known else self.known
                self._seen, self._is_complete = length, is_complete
                self.due = began + max(FACTS, FACTS_SHARE * (time.monotonic() - began))
            return self.known
        finally:
            self._lock.release()

    def _has_more(self, length: int, is_complete: bool) -> bool:
        """Tell whether there is output, or its end, that is no part of what is known."""
        return length > self._seen or is_complete > self._is_complete

    def quoted_facts(self) -> str:
        """Return what is known in JSON."""
        known, (of, quoted) = self.known, self._quoted
        if of is not known:
            quoted = json.dumps(known)
            self._quoted = (known, quoted)
        return quoted

    def top(self) -> float | None:
        """Return the top of the axis (ms) that a picture of what is known has alone; None: it has none."""
        known, (of, top) = self.known, self._top
        if of is not known:
            top = scale_of(known)
            self._top = (known, top)
        return top

    def draw(self, is_over: bool, scale: float | None = None) -> Drawn:
        """Return figures and picture of what is known; the same object as before when nothing is new.

        ``scale`` is the top of the axis (ms) that it shares with others; None: it has its own.
        """
        key = is_over, None if scale is None or scale == self.top() else scale
        with self._drawing:
            known, began = self.known, time.monotonic()
            of, drawn = self._drawn.get(key, (None, NOT_DRAWN))
            if of is not known:
                drawing = draw(known, is_over, scale=key[1], planned=self._planned, own_as=self._own_as)
                if drawing != drawn.drawing:
                    quoted = json.dumps(drawing.figures + drawing.picture)[1:-1]
                    drawn = Drawn(drawing, quoted, verdicts.summary(known, is_over).lost)
                self._drawn.pop(key, None)
                self._drawn = dict([*self._drawn.items()][1 - AXES :])
                self._drawn[key] = known, drawn
                self.due += FACTS_SHARE * (time.monotonic() - began)
                self.due = max(self.due, began + len(drawn.quoted) / DRAWN)
            return drawn

    def report(self, host: str, began: float) -> str:
        """Return what is shown in place of raw lines, of all that ``update`` has read; "" without any."""
        with self._lock:
            if self._raw is None or self._raw.is_empty:
                return ""
            if self._report is None:
                self._report = self._raw.report(host, began, self._is_complete)
            return self._report

    def _read(self, pieces: list[str], length: int, is_complete: bool) -> Facts:
        if self._raw:
            self._raw.feed("".join(pieces[self._seen : length]))
            self._report = None
            if not self._raw.is_empty:
                return self._raw.facts(is_complete)
        return facts(self._parser, "".join(pieces[:length]), is_complete)

    def due_for(self, pieces: list[str]) -> float | None:
        """Return when ``update`` may know more of the pieces that there are; None: it knows all of them."""
        if len(pieces) <= self._seen:
            return None
        now = time.monotonic()
        return self.due if self.due > now else now + FACTS  # another thread is reading
