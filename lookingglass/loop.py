"""Wait for descriptors and for moments in one thread, on behalf of everybody."""

from __future__ import annotations

import _thread
import contextlib
import logging
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

BEGINNING = 1.0  # seconds in which a new thread has to begin
LATE = 5.0  # seconds that a callback may come late, or take
RELIEF = 0.05  # seconds to wait for memory

log = logging.getLogger("tinytracer")


class Bell:
    """End a wait, or the next one, of a single thread; ``threading.Event`` costs six times as much."""

    def __init__(self) -> None:
        self._silence = threading.Lock()  # held until it rings
        self._silence.acquire()

    def ring(self) -> None:
        """Ring, in any thread."""
        with contextlib.suppress(RuntimeError):  # it has rung already
            self._silence.release()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, or has rung since the last wait, at most ``seconds``."""
        self._silence.acquire(timeout=max(0.0, seconds))


class Loop:
    """Call back when a descriptor is ready or a moment has come; callbacks are short and never wait.

    It sleeps until then: an idle loop uses no CPU. Every method may be called in any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoll: select.epoll | None = None
        self._bell = -1  # an eventfd that ends the sleep
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._moments: dict[Callable[[], None], float] = {}
        self._sleeps_until = -math.inf  # by the monotonic clock; minus infinity while it is awake
        self._awake_since = math.inf  # by the monotonic clock; infinity while it sleeps
        self._is_over = False
        self._runs = threading.Event()
        self._only_one = threading.Lock()

    def open(self) -> None:
        """Make its descriptors, at first use and so behind any fork of the host; raises OSError."""
        with self._lock:
            if self._epoll is None:
                epoll = select.epoll()
                bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                try:
                    epoll.register(bell, select.EPOLLIN)
                except BaseException:
                    os.close(bell)
                    raise
                self._epoll, self._bell = epoll, bell

    def start(self) -> None:
        """Run in a thread of its own, unless it runs already; raises OSError, RuntimeError or MemoryError."""
        if self._runs.is_set() or self._is_over:
            return
        self.open()
        _thread.start_new_thread(self.run, ())  # Thread.start() waits for ever for a thread that dies at once
        if not self._runs.wait(BEGINNING):
            raise RuntimeError("the new thread has not begun")

    def is_well(self) -> bool:
        """Tell whether it does what is asked of it: its thread runs, and nothing is LATE."""
        if self._epoll is None or self._is_over:
            return True  # nothing is asked of it
        with self._lock:
            due = min(self._moments.values(), default=math.inf)
        return self._runs.is_set() and time.monotonic() - min(due, self._awake_since) < LATE

    def __del__(self) -> None:
        """Close the bell, when nobody can ring it any more; the epoll object closes itself."""
        if self._bell >= 0:
            os.close(self._bell)

    def watch(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        """Call ``callback`` with the events of ``select.epoll`` that it is ready for.

        Raises OSError, and ValueError when the loop is not open or has ended.
        """
        epoll = self._the_epoll()
        if self._is_over:
            raise ValueError("the loop has ended")
        self._callbacks[descriptor] = callback
        try:
            epoll.register(descriptor, events)
        except BaseException:
            del self._callbacks[descriptor]
            raise

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events of a watched descriptor."""
        self._the_epoll().modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no longer, which may be closed already."""
        if self._callbacks.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError, ValueError):
                self._the_epoll().unregister(descriptor)

    def call_at(self, moment: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` once at a moment by the monotonic clock, in place of an earlier wish for it."""
        with self._lock:
            self._moments[callback] = moment
            is_early = moment < self._sleeps_until
        if is_early:
            self.wake()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once in the loop's thread."""
        self._soon.append(callback)
        self.wake()

    def cancel(self, *callbacks: Callable[[], None]) -> None:
        """Drop the wish to call some callbacks."""
        with self._lock:
            for callback in callbacks:
                self._moments.pop(callback, None)

    def wake(self) -> None:
        """End the sleep; safe in a signal handler."""
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    def end(self) -> None:
        """Make ``run`` return soon; safe in a signal handler."""
        self._is_over = True
        self.wake()

    def run(self) -> None:
        """Call back until ``end``; a callback that raises is logged and harms no other."""
        self.open()
        if not self._only_one.acquire(blocking=False):
            return
        try:
            self._runs.set()
            while not self._is_over:
                try:
                    self._turn()
                except MemoryError:
                    time.sleep(RELIEF)
        finally:
            self._runs.clear()
            self._only_one.release()

    def _turn(self) -> None:
        """Sleep, and call back for all that there is then.

        A callback may close another descriptor, and its number be a new one's at once: that has no event yet.
        """
        seconds = self._seconds_to_sleep()
        self._awake_since = math.inf
        happened = self._the_epoll().poll(seconds)
        self._awake_since = time.monotonic()
        callbacks = [self._callbacks.get(descriptor) for descriptor, _ in happened]
        for (descriptor, events), callback in zip(happened, callbacks, strict=True):
            if descriptor == self._bell:
                os.eventfd_read(self._bell)
            elif callback and self._callbacks.get(descriptor) == callback:
                _safely(callback, events)
        self._sleeps_until = -math.inf
        while self._soon:
            _safely(self._soon.popleft())
        if self._moments:
            for moment_callback in self._due():
                _safely(moment_callback)

    def _the_epoll(self) -> select.epoll:
        if self._epoll is None:
            raise ValueError("the loop is not open")
        return self._epoll

    def _seconds_to_sleep(self) -> float | None:
        with self._lock:
            self._sleeps_until = min(self._moments.values(), default=math.inf)
        return None if self._sleeps_until == math.inf else max(0.0, self._sleeps_until - time.monotonic())

    def _due(self) -> list[Callable[[], None]]:
        now = time.monotonic()
        with self._lock:
            due = [callback for callback, moment in self._moments.items() if moment <= now]
            for callback in due:
                del self._moments[callback]
        return due


def _safely(callback: Callable[..., None], *arguments: int) -> None:
    try:
        callback(*arguments)
    except Exception:
        log.exception("a callback failed")
