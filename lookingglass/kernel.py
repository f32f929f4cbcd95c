"""Two calls of the kernel that some builds of Python have left out, for they were made on an old system."""

from __future__ import annotations

import ctypes
import errno
import os

PIDFD_OPEN = 434  # its number
CLOSE_ON_EXEC = 1  # MFD_CLOEXEC


def end_of(process: int) -> int:
    """Return a descriptor that is readable when a process has ended; raises OSError (pidfd_open(2))."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(process)
    return _call("syscall", PIDFD_OPEN, process, 0)


def file_in_memory(name: str) -> int:
    """Return a descriptor of a new file that has no place on a disk; raises OSError (memfd_create(2))."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    return _call("memfd_create", name.encode(), CLOSE_ON_EXEC)


def _call(function: str, *arguments: int | bytes) -> int:
    """Return what a function of the C library returns; raises OSError, also where there is none."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, function):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    found: int = getattr(library, function)(*arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found
