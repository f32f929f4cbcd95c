"""Start a program in a session of its own, with an empty standard input and a minimal environment.

posix_spawn(3) does it with half of the Python that ``subprocess`` needs, and lets other threads go on while
the program is loaded. Where the C library lacks a part (glibc before 2.34, musl), ``subprocess`` does it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
WORKS_IN = "/"
STANDARD = range(3)  # descriptors: all that it inherits
SETSIGDEF, SETSIGMASK, SETSID = 0x04, 0x08, 0x80  # spawn.h
STRUCTURE = 1024  # bytes; none of spawn.h takes more
KEPT_PAIRS = 64  # pairs of descriptors that programs have got; the lowest are taken again and again


def spawn(argv: Sequence[str], stdout: int, stderr: int) -> int:
    """Start a program and return its process; ``stderr`` as ``subprocess`` has it.

    Raises OSError and MemoryError. A thread of uWSGI or mod_wsgi blocks SIGTERM; the program does not.
    """
    own = _posix_spawn()
    if own is None or stdout in STANDARD or stderr in STANDARD:  # which the program's own would overwrite
        return _by_subprocess(argv, stdout, stderr)
    return own(argv, stdout, stderr)


class Actions:
    """Hold what posix_spawn(3) does with descriptors in a new process; raises OSError and AttributeError."""

    def __init__(self, library: ctypes.CDLL, stdout: int, stderr: int) -> None:
        self._library = library
        self.structure = ctypes.create_string_buffer(STRUCTURE)
        library.posix_spawn_file_actions_init(self.structure)
        null = os.fsencode(os.devnull)
        self._add("open", 0, null, os.O_RDONLY, 0)
        self._add("dup2", stdout, 1)
        if stderr == subprocess.DEVNULL:
            self._add("open", 2, null, os.O_WRONLY, 0)
        else:
            self._add("dup2", 1 if stderr == subprocess.STDOUT else stderr, 2)
        self._add("chdir_np", os.fsencode(WORKS_IN))
        self._add("closefrom_np", len(STANDARD))

    def __del__(self) -> None:
        """Give back the memory that the C library has taken."""
        self._library.posix_spawn_file_actions_destroy(self.structure)

    def _add(self, action: str, *arguments: int | bytes) -> None:
        add = getattr(self._library, f"posix_spawn_file_actions_add{action}")
        if error := add(self.structure, *arguments):
            raise OSError(error, os.strerror(error))


class PosixSpawn:
    """Call posix_spawn(3); to make one raises AttributeError where the C library lacks a part of it."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(None)
        self._spawn = ctypes.CDLL(None).posix_spawn  # without Python's lock, unlike those that take no time
        self._actions = functools.lru_cache(KEPT_PAIRS)(functools.partial(Actions, library))
        self._actions(1, 2)  # to learn now whether a part is lacking
        self._environment = _strings(map("=".join, ENVIRONMENT.items()))
        self._attributes, no_signals, all_signals = (ctypes.create_string_buffer(STRUCTURE) for _ in range(3))
        library.sigemptyset(no_signals)
        library.sigfillset(all_signals)  # Python ignores some; naming all spares a look at each
        library.posix_spawnattr_init(self._attributes)
        library.posix_spawnattr_setsigmask(self._attributes, no_signals)
        library.posix_spawnattr_setsigdefault(self._attributes, all_signals)
        flags = ctypes.c_short(SETSIGDEF | SETSIGMASK | SETSID)
        library.posix_spawnattr_setflags(self._attributes, flags)

    def __call__(self, argv: Sequence[str], stdout: int, stderr: int) -> int:
        """Start a program as ``spawn`` does."""
        path, process, actions = _path_of(argv[0]), ctypes.c_int(), self._actions(stdout, stderr)
        error = self._spawn(
            ctypes.byref(process),
            os.fsencode(path),
            actions.structure,
            self._attributes,
            _strings(argv),
            self._environment,
        )
        if error:
            raise OSError(error, os.strerror(error), argv[0])
        return process.value


@functools.cache
def _posix_spawn() -> PosixSpawn | None:
    try:
        return PosixSpawn()
    except (AttributeError, OSError):
        return None


def _by_subprocess(argv: Sequence[str], stdout: int, stderr: int) -> int:
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=WORKS_IN,
            env=ENVIRONMENT,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    process.returncode = 0  # Popen's word for a process that is no longer its business
    return process.pid


def _path_of(program: str) -> str:
    """Return the path of a program; its name where there is none, which no file of the folder / has."""
    if "/" in program:
        return program
    paths = (f"{folder}/{program}" for folder in ENVIRONMENT["PATH"].split(":"))
    return next((path for path in paths if os.access(path, os.X_OK)), program)


def _strings(texts: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
    """Return what C calls char *[], with a null pointer at its end."""
    encoded = [*map(os.fsencode, texts), None]
    return (ctypes.c_char_p * len(encoded))(*encoded)
