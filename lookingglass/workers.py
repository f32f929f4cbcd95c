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
    """Threads that answer: a task wakes the one that became free last, and no other.

    ``queue.SimpleQueue`` wakes a second one for nothing, and the two fight for Python's lock.
    """

    def __init__(self, count: int) -> None:
        self._tasks: collections.deque[Job] = collections.deque()
        self._free: list[threading.Lock] = []  # each is released once, to wake the thread that waits for it
        self._is_over = False
        for number in range(count):
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True).start()

    def add(self, task: Job) -> None:
        """Have a thread do a task as soon as one is free."""
        self._tasks.append(task)
        self._wake()

    def end(self) -> None:
        """Begin no more tasks; those under way are not waited for."""
        self._is_over = True
        while self._free:
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(IndexError):  # none is free: then the next one looks for it
            self._free.pop().release()

    def _work(self) -> None:
        bell = threading.Lock()
        bell.acquire()
        while not self._is_over:
            try:
                task = self._tasks.popleft()
            except IndexError:
                self._free.append(bell)
                if self._tasks or self._is_over:  # since it looked
                    self._wake()
                bell.acquire()
                continue
            try:
                task.service()
            except BaseException:
                log.exception("a thread that answers has failed")
            del task  # a connection that is closed is not kept until the next task
