"""Bytes of a tool in, harmless text out, and the facts in it."""

from __future__ import annotations

import codecs
import io
import math
import threading
import time

from lookingglass.facts import facts
from lookingglass.facts.common import Facts
from lookingglass.neutral import NEUTRAL

FACTS = 0.25  # seconds between two readings of facts, at least,
FACTS_SHARE = 20  # and so many times as long as the last reading has taken


class Output:
    """Keep the text of a source up to a limit; one thread writes, any may read ``pieces``."""

    def __init__(self, limit: int, skip: int) -> None:
        self.pieces: list[str] = []
        self.began: float | None = None  # when the first piece came, by the monotonic clock
        self._room = limit  # bytes
        self._skip = skip  # lines that are left out at the beginning
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decode = io.IncrementalNewlineDecoder(utf8, translate=True).decode

    @property
    def is_full(self) -> bool:
        """Tell whether there was more than the limit."""
        return self._room < 0

    def add(self, data: bytes) -> bool:
        """Add bytes as far as there is room, and tell whether text came of them; no bytes are the end."""
        text = self._decode(data[: max(0, self._room)], final=not data).translate(NEUTRAL)
        self._room -= len(data)
        while self._skip and text:
            _, newline, text = text.partition("\n")
            self._skip -= len(newline)
        if text:
            self.began = self.began or time.monotonic()
            self.pieces.append(text)
        return bool(text)


class Digest:
    """Keep what a parser knows of a Run's output: read once a Run, and not too often."""

    def __init__(self, parser: str) -> None:
        self.due = -math.inf  # when output may be read again, by the monotonic clock
        self._parser = parser
        self._lock = threading.Lock()
        self._known: Facts = {}
        self._seen = 0  # pieces that are part of what is known
        self._is_complete = False

    def update(self, pieces: list[str], is_last: bool, is_complete: bool) -> Facts:
        """Return the facts, read anew when there is more output and it is time, or for the last time.

        ``is_complete``: the source has ended by itself.
        """
        if not self._lock.acquire(blocking=is_last):
            return self._known  # another thread is reading
        try:
            length, began = len(pieces), time.monotonic()
            is_new = length > self._seen or is_complete > self._is_complete
            if is_new and (is_last or began >= self.due):
                found = facts(self._parser, "".join(pieces[:length]), is_complete)
                self._known = found if found != self._known else self._known
                self._seen, self._is_complete = length, is_complete
                self.due = began + max(FACTS, FACTS_SHARE * (time.monotonic() - began))
            return self._known
        finally:
            self._lock.release()

    def due_for(self, pieces: list[str]) -> float | None:
        """Return when ``update`` may know more of the pieces that there are; None: it knows all of them."""
        if len(pieces) <= self._seen:
            return None
        now = time.monotonic()
        return self.due if self.due > now else now + FACTS  # another thread is reading
