"""The interfaces of what a Run reads, a source, and of what it holds meanwhile, a slot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from commands import Invocation


class Holding(Protocol):
    """A slot that is held until ``end``; ending it twice does no harm.

    ``refund``: what it has cost is given back as well.
    """

    def end(self, refund: bool = False) -> object: ...


class Source(Protocol):
    """What a Run reads: a child process is one, another looking glass can be one.

    ``output`` and ``exit`` are descriptors that are readable when there is output or its end, and when the
    source has ended; without ``exit`` it ends with its output. ``read`` returns output, b"" at its end, None
    when there is none now. ``reap`` frees what has ended and returns the exit status, None without one.
    """

    output: int
    exit: int | None

    def read(self) -> bytes | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def has_ended(self) -> bool: ...
    def close_output(self) -> None: ...
    def reap(self) -> int | None: ...


Opening = Callable[[Invocation], Source]
