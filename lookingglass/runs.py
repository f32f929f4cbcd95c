"""A Run and its viewers."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from commands import Job
from lookingglass.problems import Busy, RouterFailure
from rfc8522 import End

GRACE = 1.0  # seconds from SIGTERM to SIGKILL
TICK = 0.1  # seconds in which a Run notices that it has no viewer, or that its process has ended
CHUNK = 65536  # bytes read at once
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
NO_ROOM = "This machine cannot run more commands now."
NO_RESOURCES = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}

# What a terminal or a browser might obey is shown instead: C0 as control pictures, C1, the bidirectional
# controls and the two Unicode line separators as the replacement character.
NEUTRAL = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F)], 0xFFFD),
    **dict.fromkeys(range(0x2066, 0x206A), 0xFFFD),
}

log = logging.getLogger("tinytracer")


class Run:
    """Run one argv once: a process, its reader, a buffer of decoded text, and viewers.

    It ends when its process ends, the time of its viewers is up, its output is full, or the last viewer
    has left; the whole process group then gets SIGTERM, after GRACE SIGKILL, and the process is reaped.
    """

    def __init__(self, output_limit: int, ended: Callable[[], None]) -> None:
        self.pieces: list[str] = []
        self.end: End | None = None
        self.changed = threading.Condition()
        self.started = time.monotonic()
        self._viewers: set[Viewer] = set()
        self._cancelled = False
        self._room = output_limit  # bytes
        self._ended = ended
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decode = io.IncrementalNewlineDecoder(utf8, translate=True).decode

    def start(self, job: Job) -> None:
        """Start the process and its reader; the first viewer has joined already.

        Raises Problem: 502 when there is no such program, 503 when the machine has no room for it.
        """
        self._skip = job.skip
        self._pipe, self._process = _spawn(job)
        try:
            threading.Thread(target=self._follow, name="run", daemon=True).start()
        except RuntimeError as error:
            self._signal(signal.SIGKILL)
            os.close(self._pipe)
            if self._exits_within(GRACE):
                self._process.wait()
            raise Busy(NO_ROOM) from error

    def join(self, seconds: float, ceiling: float) -> Viewer | None:
        """Admit one more viewer; None: the Run has ended, or is being stopped."""
        with self.changed:
            if self.end is not None or self._cancelled or not self._viewers:
                return None
            return self.admit(seconds, ceiling)

    def admit(self, seconds: float, ceiling: float) -> Viewer:
        """Admit a viewer for ``seconds``, but at most until the Run is ``ceiling`` seconds old."""
        viewer = Viewer(self, min(time.monotonic() + seconds, self.started + ceiling))
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer; when it was the last one, the Run ends."""
        with self.changed:
            self._viewers.discard(viewer)

    def cancel(self) -> None:
        """End the Run whoever is watching."""
        with self.changed:
            self._cancelled = True

    def wait(self, seconds: float) -> None:
        """Wait until the Run has ended, at most ``seconds``."""
        with self.changed:
            self.changed.wait_for(lambda: self.end, max(0.0, seconds))

    def last_deadline(self) -> float:
        """Return when the last of the viewers has to leave, by the monotonic clock."""
        return max((viewer.deadline for viewer in self._viewers), default=0.0)

    def _follow(self) -> None:
        reason = "left"
        try:
            reason = self._read()
        finally:
            self._finish(reason)

    def _read(self) -> str:
        """Append what the process prints until it ends or is to be stopped, and return the reason."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        pause = 0.000001  # seconds; grows while a process lives on that has closed its output
        is_open = True
        while True:
            reason, left = self._verdict()
            if reason:
                return reason
            if is_open and poll.poll(1000 * left):
                is_open = self._append(os.read(self._pipe, CHUNK))
            elif self._has_exited():
                return "exit"
            elif not is_open:
                time.sleep(pause)
                pause = min(2 * pause, TICK)

    def _verdict(self) -> tuple[str, float]:
        """Return why to stop ("": go on; else nobody joins any more), and for how many seconds not to ask."""
        with self.changed:
            left = self.last_deadline() - time.monotonic()
            if not self._viewers or self._cancelled:
                reason = "left"
            elif left <= 0:
                reason = "time"
            else:
                reason = "full" if self._room < 0 else ""
            self._cancelled = bool(reason)
        return reason, max(0.0, min(TICK, left))

    def _append(self, data: bytes) -> bool:
        """Add bytes to the text, as far as there is room; empty ``data`` is the end and returns False."""
        text = self._decode(data[: max(0, self._room)], final=not data).translate(NEUTRAL)
        self._room -= len(data)
        while self._skip and text:
            _, newline, text = text.partition("\n")
            self._skip -= len(newline)
        if text:
            with self.changed:
                self.pieces.append(text)
                self.changed.notify_all()
        return bool(data)

    def _finish(self, reason: str) -> None:
        """Leave no process of the group, reap ours, tell the viewers."""
        if reason != "exit":
            self._signal(signal.SIGTERM)
            self._exits_within(GRACE)
        self._signal(signal.SIGKILL)
        exited = self._exits_within(GRACE / 4)
        try:
            self._drain()
        finally:
            if reason == "exit" and self._room < 0:
                reason = "full"
            status = self._process.wait() if exited else None
            self._ended()
            with self.changed:
                self.end = End(reason, status, time.monotonic() - self.started, time.time())
                self.changed.notify_all()
        self._process.wait()  # what became root may live on; nobody waits for this thread

    def _drain(self) -> None:
        """Take what is in the pipe and close it, whoever else holds its other end."""
        os.set_blocking(self._pipe, False)
        try:
            with contextlib.suppress(BlockingIOError):
                while self._room >= 0 and (data := os.read(self._pipe, CHUNK)):
                    self._append(data)
            self._append(b"")
        finally:
            os.close(self._pipe)

    def _has_exited(self) -> bool:
        """Look without reaping: as long as the leader is not reaped, its group's number is not reused."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        except ChildProcessError:
            return True  # the host process reaps for itself

    def _exits_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        pause = 0.0005
        while not self._has_exited():
            if time.monotonic() >= end:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or became another user
            os.killpg(self._process.pid, number)


class Viewer:
    """Follow a Run for one client, from its beginning to its end or to the viewer's own deadline."""

    def __init__(self, run: Run, deadline: float) -> None:
        self.run = run
        self.deadline = deadline  # by the monotonic clock
        self._seen = 0
        self._over: End | None = None  # judged once, together with the last text

    def read(self, seconds: float) -> str | None:
        """Return new text, "" when there was none for ``seconds``, None at the end."""
        run = self.run
        with run.changed:
            if self._over:
                return None
            if len(run.pieces) == self._seen and self._end() is None:
                left = self.deadline - time.monotonic()  # when over, it is the Run's end that is waited for
                run.changed.wait(min(seconds, left) if left > 0 else seconds)
            new = run.pieces[self._seen :]
            self._seen += len(new)
            self._over = self._end()
            return None if self._over and not new else "".join(new)

    def result(self) -> tuple[str, End]:
        """Return all the text so far, and how it ended; call it after ``read`` gave None."""
        return "".join(self.run.pieces[: self._seen]), self._over or self._end_now("left")

    def close(self) -> None:
        """Leave the Run."""
        self.run.leave(self)

    def _end(self) -> End | None:
        if self.run.end is not None or time.monotonic() < self.deadline:
            return self.run.end
        if self.run.last_deadline() <= self.deadline:
            return None  # the Run itself is about to end, and leaves no process behind
        return self._end_now("time")

    def _end_now(self, reason: str) -> End:
        return End(reason, None, time.monotonic() - self.run.started, time.time())


class Runs:
    """Keep the Runs under way, so that who asks the same question shares one."""

    def __init__(self, output_limit: int) -> None:
        self._output_limit = output_limit  # bytes
        self._lock = threading.Lock()
        self._runs: dict[Job, Run] = {}  # that can be joined, as far as is known
        self._alive: set[Run] = set()  # also those that are being stopped
        self._closed = False

    def view(
        self,
        job: Job,
        slot: Callable[[], Callable[[], None]],
        seconds: float,
        ceiling: float,
    ) -> Viewer:
        """Return a viewer of the Run of ``job`` for ``seconds``; start it when it does not run yet.

        ``slot`` admits a new process and returns what gives its slot back; its Refusal passes through.
        Raises Problem: 502 when there is no such program, 503 when the machine has no room for it.
        """
        with self._lock:
            if self._closed:
                raise Busy("This looking glass is stopping.")
            run = self._runs.get(job)
            viewer = run.join(seconds, ceiling) if run else None
            if viewer is None:
                viewer = self._start(job, slot(), seconds, ceiling)
            return viewer

    def close(self) -> None:
        """Start no more Runs, end those under way, and wait until they are gone (at most 2 GRACE)."""
        with self._lock:
            self._closed = True
            under_way = list(self._alive)
        for run in under_way:
            run.cancel()
        end = time.monotonic() + 2 * GRACE
        for run in under_way:
            run.wait(end - time.monotonic())

    def _start(self, job: Job, release: Callable[[], None], seconds: float, ceiling: float) -> Viewer:
        run = Run(self._output_limit, lambda: self._forget(job, run, release))
        viewer = run.admit(seconds, ceiling)
        try:
            run.start(job)
        except BaseException:
            release()
            raise
        self._runs[job] = run
        self._alive.add(run)
        return viewer

    def _forget(self, job: Job, run: Run, release: Callable[[], None]) -> None:
        with self._lock:
            self._alive.discard(run)
            if self._runs.get(job) is run:
                del self._runs[job]
        release()


def _spawn(job: Job) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a Job in a session of its own; return the reading end of its output, and the process.

    It has an empty standard input and a minimal environment.
    """
    try:
        reader, writer = os.pipe()
        try:
            process = subprocess.Popen(
                job.argv,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=job.stderr,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
    except OSError as error:
        log.error("cannot run %r: %s", job.argv[0], error)
        if error.errno in NO_RESOURCES:
            raise Busy(NO_ROOM) from error
        raise RouterFailure("The router has no program for this command.") from error
    return reader, process
