"""Runs that have ended well, and may answer the same question again for some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from commands import Invocation
from lookingglass.runs import Run

ENTRIES = 256  # Runs that are kept, the newest ones
BYTES = 1 << 24  # of memory for their output


class Reuse(NamedTuple):
    """Say for how many seconds a Run is told again, and which one deserves it."""

    seconds: float
    succeeded: Callable[[int | None, str], bool]  # by its exit status and its output

    def suits(self, run: Run) -> bool:
        """Tell whether a Run that has ended did so by itself, in time, wholly and with success."""
        end = run.end
        return end is not None and end.reason == "exit" and self.succeeded(end.status, "".join(run.pieces))


class Kept(NamedTuple):
    """Hold a Run that has ended, until a moment of the monotonic clock that nothing moves."""

    run: Run
    until: float
    size: int  # bytes


class Finished:
    """Keep Runs that have ended, within bounds; its caller holds a lock."""

    def __init__(self) -> None:
        self._kept: dict[Invocation, Kept] = {}  # in the order of their ends
        self._size = 0  # bytes

    def __len__(self) -> int:
        """Return how many Runs are kept."""
        return len(self._kept)

    def put(self, run: Run, seconds: float) -> None:
        """Keep a Run that has ended just now; the oldest ones make room for it."""
        size = run.output.memory
        self._remove(run.invocation)
        self._forget()
        if size > BYTES:
            return
        while len(self._kept) >= ENTRIES or self._size + size > BYTES:
            self._remove(next(iter(self._kept)))
        self._kept[run.invocation] = Kept(run, time.monotonic() + seconds, size)
        self._size += size

    def get(self, invocation: Invocation, seconds: float) -> Run | None:
        """Return a Run that has ended less than ``seconds`` ago; None: there is none."""
        self._forget()
        kept = self._kept.get(invocation)
        return kept.run if kept and kept.run.age < seconds else None

    def _forget(self) -> None:
        now = time.monotonic()
        for invocation in [each for each, kept in self._kept.items() if kept.until <= now]:
            self._remove(invocation)

    def _remove(self, invocation: Invocation) -> None:
        kept = self._kept.pop(invocation, None)
        self._size -= kept.size if kept else 0
