"""The Runs under way, of which visitors who ask the same question share one."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable

from commands import Invocation
from lookingglass.children import Child
from lookingglass.finished import Finished, Reuse
from lookingglass.loop import Loop
from lookingglass.problems import Busy
from lookingglass.roll import Roll
from lookingglass.runs import FULL, Run, Viewer
from lookingglass.sources import Holding, Source
from lookingglass.watcher import GRACE

CLOSING = "This looking glass is stopping."


class Runs:
    """Keep the Runs under way, so that visitors who ask the same question share one."""

    def __init__(self, output_limit: int, open_source: Callable[[Invocation], Source] | None = None) -> None:
        self.loop = Loop()
        self._roll = Roll(self.loop)
        self._open_source = open_source or functools.partial(Child, loop=self.loop, roll=self._roll)
        self.output_limit = output_limit  # bytes, of a Run that starts
        self._lock = threading.Lock()
        self._runs: dict[Invocation, Run] = {}  # the newest of each invocation
        self._finished = Finished()
        self.alive: set[Run] = set()  # also those that are being stopped
        self._is_closed = False

    def view(
        self,
        invocation: Invocation,
        take_slot: Callable[[], Holding],
        seconds: float,
        ceiling: float,
        reuse: Reuse | None = None,
    ) -> Viewer:
        """Return a viewer of the Run of ``invocation`` for ``seconds``; start it when it does not run yet.

        ``take_slot`` admits a new source; its Refusal passes through, and so does what the source raises.
        With ``reuse`` it may be a Run that has ended.
        """
        self.start_loop()
        with self._lock:
            if self._is_closed:
                raise Busy(CLOSING)
            run = self._runs.get(invocation)
            viewer = run.join(seconds, ceiling) if run else None
            if viewer is not None:
                return viewer
            finished = self._finished.get(invocation, reuse.seconds) if reuse else None
            if finished is not None:
                return finished.revisit()
            ended = functools.partial(self._keep, reuse) if reuse else None
            run = Run(invocation, self.output_limit, self.loop, self._forget, ended)
            viewer = run.admit(seconds, ceiling)
            self._runs[invocation] = run
            self.alive.add(run)
        try:
            run.start(self._open_source, take_slot)
        except BaseException:
            viewer.close()
            raise
        if self._is_closed:
            run.stop("closing")
        return viewer

    def close(self) -> None:
        """Start no more Runs, end those under way, and wait until they are gone (at most 2 GRACE)."""
        with self._lock:
            self._is_closed = True
            under_way = list(self.alive)
        for run in under_way:
            run.stop("closing")
        end = time.monotonic() + 2 * GRACE
        for run in under_way:
            run.wait(end - time.monotonic())
        self._roll.close()
        self.loop.end()

    def start_loop(self) -> None:
        """Start the thread that reads all sources, at the first question, behind any fork; raises Busy."""
        try:
            self.loop.start()
        except (OSError, RuntimeError, MemoryError) as error:
            raise Busy(FULL) from error

    def check_health(self) -> None:
        """Raise Busy when commands cannot be run, whatever the limits say."""
        if self._is_closed:
            raise Busy(CLOSING)
        if not self.loop.is_well():
            raise Busy("What reads the commands hangs or has ended.")

    def _keep(self, reuse: Reuse, run: Run) -> None:
        if reuse.suits(run):
            with self._lock:
                self._finished.put(run, reuse.seconds)

    def _forget(self, run: Run) -> None:
        with self._lock:
            self.alive.discard(run)
            if self._runs.get(run.invocation) is run:
                del self._runs[run.invocation]
