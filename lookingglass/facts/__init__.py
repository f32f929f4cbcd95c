"""Text of tools in, facts (numbers, hops, paths) out: one table of all parsers.

What is not known is left out or None, never guessed; text that is not understood gives no facts. Facts are
wanted while a command runs as well: then nothing is said that more output could contradict. Addresses and
names are as printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from lookingglass.facts import bird, frr, mtr, mtr_raw, ping, schemas, traceroute
from lookingglass.facts.common import Facts


class Raw(Protocol):
    """What lines for programs have told so far, and the report of it that people are shown."""

    @property
    def is_empty(self) -> bool: ...
    def feed(self, text: str) -> None: ...
    def facts(self, complete: bool) -> Facts: ...
    def report(self, host: str, began: float, complete: bool) -> str: ...


class Parser(NamedTuple):
    """Describe a parser: all that other modules need to know of it."""

    read: Callable[[str, bool], Facts]  # takes the text, and whether it is complete
    probes: bool  # its command sends packets to its target
    schema: Mapping[str, Any]  # of its facts, in JSON Schema
    unit: str = "\n"  # what ends a part of the output that can be read while the rest is not there yet
    raw: Callable[[], Raw] | None = None  # what reads lines that are for programs,
    raw_line: re.Pattern[str] | None = None  # which match this
    has_picture: bool = False  # its facts make a picture that can stand alone
    planned: Callable[[Iterable[str]], int | None] = lambda argv: None  # how many probes an argv sends


PARSERS: Mapping[str, Parser] = {
    "ping": Parser(ping.read, True, schemas.PING, has_picture=True, planned=ping.planned),
    "traceroute": Parser(traceroute.read, True, schemas.TRACEROUTE, unit=" "),
    "mtr": Parser(mtr.read, True, schemas.MTR, raw=mtr_raw.Rounds, raw_line=mtr_raw.LINE),
    "bird": Parser(bird.read, False, schemas.ROUTES, has_picture=True),
    "frr": Parser(frr.read, False, schemas.ROUTES, has_picture=True),
}


def facts(parser: str, text: str, complete: bool = True) -> Facts:
    """Return what a parser, one of PARSERS, knows from a command's output; never raises.

    ``complete``: the command has ended by itself, so that the last line and all before it are whole.
    """
    reader = PARSERS[parser]
    if not complete:
        text = text[: max(text.rfind(reader.unit), text.rfind("\n")) + 1]
    try:
        return reader.read(text.replace("\r\n", "\n"), complete)  # as a terminal of a router prints
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return {}
