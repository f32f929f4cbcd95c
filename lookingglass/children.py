"""One process group: spawned, read, stopped, reaped."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import subprocess

from commands import Invocation
from lookingglass.problems import Busy, Problem, RouterFailure

CHUNK = 65536  # bytes read at once
GRACE = 1.0  # seconds from SIGTERM to SIGKILL
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
NO_RESOURCES = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}

log = logging.getLogger("tinytracer")


class Child:
    """Run one invocation in a session of its own, with an empty standard input and a minimal environment.

    ``output`` is a descriptor that is readable when there is output or at its end, ``exit`` one that is
    readable when the process has ended, None when it cannot be waited for. Raises RouterFailure when there is
    no such program, Busy when this machine has no room for it.
    """

    def __init__(self, invocation: Invocation) -> None:
        try:
            self.output, writer = os.pipe()
            try:
                self._process = _spawn(invocation, writer)
            except BaseException:
                os.close(self.output)
                raise
            finally:
                os.close(writer)
        except OSError as error:
            raise _as_problem(error, invocation.argv[0]) from error
        os.set_blocking(self.output, False)
        self.exit: int | None = None
        try:
            self.exit = os.pidfd_open(self._process.pid)
        except ProcessLookupError:  # it has ended, and the host process has its children reaped by the kernel
            pass
        except OSError as error:
            self.kill()
            self.close_output()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
            raise _as_problem(error, invocation.argv[0]) from error

    def read(self) -> bytes | None:
        """Return output, b"" at its end, None when there is none now."""
        try:
            return os.read(self.output, CHUNK)
        except BlockingIOError:
            return None

    def terminate(self) -> None:
        """Ask the whole process group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole process group."""
        self._signal(signal.SIGKILL)

    def close_output(self) -> None:
        """Read no more; what still writes gets an error."""
        os.close(self.output)

    def has_ended(self) -> bool:
        """Look without reaping: until then the number of the group is not given to another one."""
        try:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        except ChildProcessError:
            return True

    def reap(self) -> int | None:
        """Return the exit status of a process that has ended; None: the kernel has told nobody.

        A process that died by a signal has minus the signal's number.
        """
        if self.exit is not None:
            os.close(self.exit)
        try:
            ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED)
        except ChildProcessError:
            ended = None
        self._process.returncode = 0  # Popen's word for a process that is no longer its business
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or became another user
            os.killpg(self._process.pid, number)


def _spawn(invocation: Invocation, writer: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        invocation.argv,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=invocation.stderr,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
    )


def _as_problem(error: OSError, program: str) -> Problem:
    """Say what a visitor may know of a program that cannot be started; the log has the rest."""
    log.error("cannot run %r: %s", program, error)
    if error.errno in NO_RESOURCES:
        return Busy("This machine cannot run more commands now.")
    return RouterFailure("The router has no program for this command.")
