"""One process group: spawned, read, stopped, reaped."""

from __future__ import annotations

import _thread
import contextlib
import errno
import logging
import os
import select
import signal
import time

from commands import Invocation
from lookingglass import cures
from lookingglass.complaints import Complaints
from lookingglass.kernel import end_of
from lookingglass.loop import Loop
from lookingglass.problems import Busy, Problem, RouterFailure
from lookingglass.roll import Roll
from lookingglass.spawning import spawn
from lookingglass.watcher import GRACE

CHUNK = 65536  # bytes read at once
NO_RESOURCES = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC}

log = logging.getLogger("tinytracer")


class Child:
    """Run one invocation in a session of its own, with an empty standard input and a minimal environment.

    ``output`` is a descriptor that is readable when there is output or at its end, ``exit`` one that is
    readable when the process has ended, None when it cannot be waited for. Raises RouterFailure when there is
    no such program, Busy when this machine has no room for it, or lacks what it needs. ``roll`` has it as
    long as it runs.
    """

    def __init__(self, invocation: Invocation, loop: Loop, roll: Roll | None = None) -> None:
        self.exit: int | None = None
        self._complaints: Complaints | None = None
        self._roll = roll
        self._place: int | None = None
        self._pipe = 0
        self._has_writers = True  # as far as ``read`` knows
        try:
            self._pid = self._open(invocation, loop)
        except (OSError, MemoryError) as error:
            raise _as_problem(error, invocation.argv[0]) from error
        try:
            if roll:
                self._place = roll.enter(self._pid, self._pipe, self._place)
            self.exit = end_of(self._pid)
        except ProcessLookupError:  # it has ended, and the host process has its children reaped by the kernel
            pass
        except (OSError, MemoryError) as error:
            self._give_up()
            raise _as_lack(error, invocation.argv[0]) from error

    def _open(self, invocation: Invocation, loop: Loop) -> int:
        """Start the process; raises OSError or MemoryError, and then nothing of ours is open."""
        self.output, stdout = os.pipe()
        stderr = invocation.stderr
        try:
            os.set_blocking(self.output, False)
            if stderr is None:
                self._complaints = Complaints(invocation.router, loop)
                stderr = self._complaints.writer
            else:
                # not so what leads to a router: it may lend its output to a process that has to stay
                self._pipe = os.fstat(self.output).st_ino
                self._place = self._roll.expect(self._pipe) if self._roll else None
            return spawn(invocation.argv, stdout, stderr)
        except BaseException:
            os.close(self.output)
            if self._roll:
                self._roll.leave(self._place)
            if self._complaints:
                self._complaints.close()
            raise
        finally:  # the child has its own
            os.close(stdout)
            if self._complaints:
                os.close(self._complaints.writer)

    def read(self) -> bytes | None:
        """Return output, b"" at its end, None when there is none now."""
        try:
            data = os.read(self.output, CHUNK)
        except BlockingIOError:
            return None
        self._has_writers = bool(data)
        return data

    def terminate(self) -> None:
        """Ask the whole process group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole process group."""
        self._signal(signal.SIGKILL)

    def close_output(self) -> None:
        """Read no more, and log what it complained of; what still writes gets an error."""
        if self._roll and self._pipe and self._has_writers and not _is_left(self.output):
            self._roll.tell(self._pipe)
        os.close(self.output)
        if self._complaints:
            self._complaints.close()

    def has_ended(self) -> bool:
        """Look without reaping: until then the number of the group is not given to another one."""
        try:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self._pid, flags) is not None
        except ChildProcessError:
            return True

    def reap(self) -> int | None:
        """Return the exit status of a process that has ended; None: the kernel has told nobody.

        A process that died by a signal has minus the signal's number.
        """
        if self.exit is not None:
            os.close(self.exit)
        if self._roll:
            self._roll.leave(self._place)
        try:
            ended = os.waitid(os.P_PID, self._pid, os.WEXITED)
        except ChildProcessError:
            ended = None
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or became another user
            os.killpg(self._pid, number)

    def _give_up(self) -> None:
        """End at once what cannot be waited for, and wait for it nevertheless (at most GRACE)."""
        self.kill()
        self.close_output()
        end = time.monotonic() + GRACE
        while not self.has_ended() and time.monotonic() < end:
            time.sleep(GRACE / 100)
        if self.has_ended():
            self.reap()
        else:  # it has become root
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(self.reap, ())


def _is_left(pipe: int) -> bool:
    """Tell whether nobody can write to a pipe any more, as far as there is memory for asking."""
    try:
        poll = select.poll()
        poll.register(pipe, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))
    except (OSError, MemoryError):
        return True


def _as_problem(error: OSError | MemoryError, program: str) -> Problem:
    """Say what a visitor may know of a program that cannot be started; the log has the rest."""
    log.error("cannot run %r: %s", program, error)
    if isinstance(error, MemoryError) or error.errno in NO_RESOURCES:
        return Busy("This machine cannot run more commands now.")
    return RouterFailure("The router has no program for this command.")


def _as_lack(error: OSError | MemoryError, program: str) -> Problem:
    """Say what a visitor may know of a program whose end cannot be waited for."""
    if isinstance(error, MemoryError) or error.errno in NO_RESOURCES:
        return _as_problem(error, program)
    log.error("cannot run %r: %s; %s", program, *cures.of_ends(error))
    return Busy("This looking glass lacks something for running commands; its log says what.")
