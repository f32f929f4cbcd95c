"""The threads that answer: each task wakes one of them."""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
from typing import Protocol

log = logging.getLogger("tinytracer")


class Job(Protocol):
    """What a thread does: the next answer of a connection, or the pumping of live ones."""

    def service(self) -> None: ...


class Workers:
    """Threads that answer: one that takes a task wakes another for the next, the one that became free last.

    So few fight for Python's lock. ``queue.SimpleQueue`` wakes one more also where there is nothing to do.
    """

    def __init__(self, count: int) -> None:
        self._tasks: collections.deque[Job] = collections.deque()
        self._free: list[threading.Lock] = []  # each is released once, to wake the thread that waits for it
        self._is_waking = False  # a thread, which looks at the tasks then
        self._is_over = False
        for number in range(count):
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True).start()

    def add(self, task: Job) -> None:
        """Have a thread do a task as soon as one is free."""
        self._tasks.append(task)
        if not self._is_waking:
            self._wake()

    def end(self) -> None:
        """Begin no more tasks; those under way are not waited for."""
        self._is_over = True
        while self._free:
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(IndexError):  # none is free: then the next one looks for it
            bell = self._free.pop()
            self._is_waking = True
            bell.release()

    def _work(self) -> None:
        bell = threading.Lock()
        bell.acquire()
        while not self._is_over:
            try:
                task = self._tasks.popleft()
            except IndexError:
                self._wait(bell)
                continue
            if self._tasks:
                self._wake()
            try:
                task.service()
            except BaseException:
                log.exception("a thread that answers has failed")
            del task  # a connection that is closed is not kept until the next task

    def _wait(self, bell: threading.Lock) -> None:
        self._free.append(bell)
        if self._tasks or self._is_over:  # since it looked
            self._wake()
        bell.acquire()
        self._is_waking = False
