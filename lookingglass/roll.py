"""The roll: which process groups run, kept where the watcher finds it after this process was killed."""

from __future__ import annotations

import array
import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from lookingglass import watcher
from lookingglass.kernel import end_of, file_in_memory
from lookingglass.loop import Loop

REST = 60.0  # seconds without an entry after which there is no watcher any more
FIRM = 60.0  # seconds after which a watcher has proved itself
LONGEST_PAUSE = 600.0  # seconds between two attempts to start one, at most
DISMISSAL = 0.25  # seconds in which a watcher ends that is no longer needed

# Read at import, for when it is needed the file may be gone, or another one.
_loader: Any = watcher.__loader__
PROGRAM: str = _loader.get_source(watcher.__name__) or ""

log = logging.getLogger("tinytracer")


class Watcher:
    """Run the watcher process: ``exit`` is readable when it has ended; raises OSError.

    It inherits that SIGTERM is blocked: systemd sends that to all of a unit, and the server needs its watcher
    to the end, with which the watcher ends as well.
    """

    def __init__(self, table: int) -> None:
        own, others = socket.socketpair()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            self._process = subprocess.Popen(
                [_python(), "-I", "-S", "-c", PROGRAM, str(os.getpid())],
                stdin=others.fileno(),
                stdout=table,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # it outlives what ends the server's
            )
        except BaseException:
            own.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            others.close()
        self._socket = own
        self.is_dismissed = False
        self.started = time.monotonic()
        try:
            self.exit = end_of(self._process.pid)
        except BaseException:
            self.kill()
            self._free()
            raise

    def tell(self, pipe: int) -> None:
        """Have it end whoever may write to a pipe, named by its inode."""
        with contextlib.suppress(OSError):
            self._socket.send(pipe.to_bytes(8, sys.byteorder), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def kill(self) -> None:
        """End it, and nothing else."""
        self.is_dismissed = True
        self._process.kill()

    def close(self) -> None:
        """Let it end, after it has ended what stands on the roll."""
        self._free()
        os.close(self.exit)

    def _free(self) -> None:
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DISMISSAL)


class Roll:
    """Keep the process groups of Runs in a file in memory, and keep a watcher who reads it at the end.

    The watcher is started with the first entry and ends when there was none for a while. Without one all
    runs as well, so nothing here raises; the log has it.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._table: int | None = None
        self._free: list[int] = []  # places
        self._used = 0  # places, the free ones included
        self._watcher: Watcher | None = None
        self._is_wanted = False  # a watcher runs, is being started, or is started after a pause
        self._failures = 0  # in a row
        self._is_closed = False

    def expect(self, pipe: int) -> int | None:
        """Enter the inode of the pipe that a process group will write to, before there is one.

        Returns its place, None when there is none.
        """
        return self.enter(0, pipe, None)

    def enter(self, group: int, pipe: int, place: int | None) -> int | None:
        """Enter a process group and the inode of the pipe that it writes to (0: others may as well).

        ``place`` is where it was expected. Returns its place, None when there is none.
        """
        try:
            entry = array.array("Q", (group, watcher.now(), pipe)).tobytes()
            with self._lock:
                if self._is_closed:
                    return place
                if self._table is None:
                    self._table = file_in_memory("roll")
                fresh = self._free[-1] if self._free else self._used
                at = fresh if place is None else place
                os.pwrite(self._table, entry, at * watcher.ENTRY_BYTES)
                if place is None and self._free:
                    self._free.pop()
                elif place is None:
                    self._used += 1
                is_wanted, self._is_wanted = self._is_wanted, True
        except (OSError, MemoryError) as error:
            self._fail(f"cannot be told of a command: {error}")
            return place
        if not is_wanted:
            self._start()
        return at

    def leave(self, place: int | None) -> None:
        """Take an entry off, before its process is reaped: then its number may be a stranger's."""
        if place is None:
            return
        with self._lock:
            if self._table is not None:
                with contextlib.suppress(OSError):
                    os.pwrite(self._table, bytes(watcher.ENTRY_BYTES), place * watcher.ENTRY_BYTES)
            self._free.append(place)
            is_at_rest = self._is_empty() and not self._is_closed
        if is_at_rest:
            with contextlib.suppress(OSError, MemoryError):
                self._loop.call_at(time.monotonic() + REST, self._rest)

    def tell(self, pipe: int) -> None:
        """Have the watcher end whoever may write to a pipe although its Run has ended."""
        with self._lock:
            if self._watcher is not None:
                self._watcher.tell(pipe)

    def close(self) -> None:
        """End the watcher, and through it what still stands on the roll."""
        with self._lock:
            self._is_closed = True
            last, self._watcher = self._watcher, None
            table, self._table = self._table, None
            if last and self._is_empty():
                last.kill()
        self._loop.cancel(self._rest, self._start)
        if last:
            self._loop.forget(last.exit)
            last.close()
        if table is not None:
            os.close(table)

    def _is_empty(self) -> bool:
        return len(self._free) == self._used

    def _start(self) -> None:
        """Start the one watcher that is wanted; nobody wants it any more when nothing runs."""
        try:
            with self._lock:
                if self._table is None or self._is_empty():
                    self._is_wanted = False
                    return
                table = os.dup(self._table)  # which may be closed meanwhile
            try:
                fresh = Watcher(table)
            finally:
                os.close(table)
        except (OSError, MemoryError) as error:
            self._fail(f"cannot be started: {error}")
            return
        try:
            with self._lock:
                if not self._is_closed:
                    self._loop.watch(fresh.exit, select.EPOLLIN, self._on_exit)
                    self._watcher = fresh
                    return
        except (OSError, MemoryError) as error:
            self._fail(f"cannot be watched itself: {error}")
        fresh.kill()
        fresh.close()

    def _on_exit(self, events: int) -> None:
        with self._lock:
            gone, self._watcher = self._watcher, None
        if gone is None:
            return  # it was closed
        self._loop.forget(gone.exit)
        gone.close()
        if gone.is_dismissed:
            self._start()  # for what was entered just now
            return
        if time.monotonic() - gone.started > FIRM:
            self._failures = 0
        self._fail("has ended")

    def _rest(self) -> None:
        with self._lock:
            if self._watcher is not None and self._is_empty():
                self._watcher.kill()

    def _fail(self, why: str) -> None:
        """Try again after a pause that grows with each failure; the log has only the first one."""
        with self._lock:
            if self._is_closed:
                return
            pause = min(2.0**self._failures, LONGEST_PAUSE)
            self._failures = min(self._failures + 1, 16)
            is_first = self._failures == 1
        if is_first:
            log.warning("The watcher %s. Without it, commands outlive this process when it is killed.", why)
        with contextlib.suppress(OSError, MemoryError):
            self._loop.call_at(time.monotonic() + pause, self._start)


def _python() -> str:
    """Return the path of a Python: within some hosts ``sys.executable`` is the host's own program."""
    if os.path.basename(sys.executable or "").startswith(("python", "pypy")):
        return sys.executable
    return os.path.join(sys.base_exec_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
