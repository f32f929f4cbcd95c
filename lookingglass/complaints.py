"""Log the standard error of what leads to a router, in lines that nobody can forge."""

from __future__ import annotations

import logging
import os
import select
import threading

from lookingglass.loop import Loop
from lookingglass.neutral import NEUTRAL

ROOM = 4096  # bytes that the log has of a Run
CHUNK = 65536  # bytes read at once
FLOOD = 1 << 20  # bytes beyond which nobody reads, so that who writes has to wait for the end

log = logging.getLogger("tinytracer")


class Complaints:
    """Read the standard error of what leads to a router, and log it at the end; raises OSError.

    ``writer`` is for the process, and is to be closed here when the process has it.
    """

    def __init__(self, router: str, loop: Loop) -> None:
        self._router = router
        self._loop = loop
        self._said = bytearray()
        self._size = 0  # bytes, also of what is left out
        self._lock = threading.Lock()
        self._is_closed = False
        self._reader, self.writer = os.pipe()
        try:
            os.set_blocking(self._reader, False)
            loop.watch(self._reader, select.EPOLLIN, self._on_news)
        except BaseException:
            os.close(self._reader)
            os.close(self.writer)
            raise

    def close(self) -> None:
        """Read no more, close the pipe, and log what was said, without empty lines."""
        self._loop.forget(self._reader)
        with self._lock:
            self._read()
            self._is_closed = True
        os.close(self._reader)
        text = self._said.decode(errors="replace").replace("\r\n", "\n")
        for line in filter(str.strip, text.translate(NEUTRAL).split("\n")):
            log.warning("%s: %s", self._router, line)
        if self._size > ROOM:
            log.warning("%s: (there was more, after %d bytes)", self._router, ROOM)

    def _on_news(self, events: int) -> None:
        with self._lock:
            is_over = not self._is_closed and (not self._read() or self._size > FLOOD)
        if is_over:
            self._loop.forget(self._reader)

    def _read(self) -> bool:
        """Read once, and tell whether there may be more."""
        try:
            data = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return True
        self._size += len(data)
        self._said += data[: ROOM - len(self._said)]
        return bool(data)
