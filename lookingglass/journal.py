"""Give one record of each request for a run, however it ended, to each sink: the log line, the figures."""

from __future__ import annotations

import json
import logging
import re
import select
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

from lookingglass.guard import network_of
from lookingglass.visitors import Visitor
from rfc8522 import utc

LONGEST_QUOTE = 200  # characters of what was asked that are told when it was not understood
PLAIN = re.compile(r"[A-Za-z0-9._:/,+-]+")  # a value that logfmt needs no quotes for

log = logging.getLogger("tinytracer.journal")


class Outcome(NamedTuple):
    """Say how an answer ended."""

    word: str  # success, fail, timeout, cut, left, stopped, refused, unreachable or failed
    status: int  # of HTTP
    message: str = ""
    reason: str = ""  # of a refusal: the limit that is reached, else who is to blame; never a visitor's text


class Record:
    """Gather what is to be told of one request for a run, from ``Journal.begin`` to ``Journal.close``."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        self.began = time.monotonic()
        self.visitor = visitor
        self.asked = path[:LONGEST_QUOTE]  # as it came, until it is understood
        self.router = ""
        self.command = ""
        self.target = ""
        self.reused: int | None = None  # seconds since the end of its Run, where that is told again
        self.size = 0  # bytes of the answer
        self.waited = 0.0  # seconds in the queue
        self.shared = 0  # viewers that its Run has had at once, at most
        self.first: float | None = None  # seconds until there was output to read; None: there was none
        self.ended: float | None = None  # by the monotonic clock, when that was before it was all told
        self.seconds = 0.0  # until the end


Sink = Callable[[Record, Outcome], None]  # takes what has ended, in any thread; it is quick and never raises


class Journal:
    """Keep a record of each request for a run, and give it to every sink when the request has ended."""

    def __init__(self, *sinks: Sink, before: Journal | None = None) -> None:
        """Go on after a journal ``before`` this one, which ends what it has begun."""
        self.open: set[Record] = before.open if before else set()  # of requests in progress
        self._sinks = sinks

    def add(self, sink: Sink) -> None:
        """Give records to one more sink."""
        self._sinks = (*self._sinks, sink)

    def begin(self, visitor: Visitor, path: str) -> Record:
        """Return the record of a new request, which ``close`` has to end."""
        record = Record(visitor, path)
        self.open.add(record)
        return record

    def close(self, record: Record, outcome: Outcome) -> None:
        """Tell every sink how a request has ended."""
        self.open.discard(record)
        record.seconds = (record.ended or time.monotonic()) - record.began
        for sink in self._sinks:
            sink(record, outcome)


class Lines:
    """Write a log line for each record, in a form that nobody outside can forge: a sink.

    ``form`` is logfmt or json; ``clients`` says how much of an address is told: full, network or none.
    """

    def __init__(self, form: str = "logfmt", clients: str = "network") -> None:
        self._write = json.dumps if form == "json" else _logfmt
        self._clients = clients

    def __call__(self, record: Record, outcome: Outcome) -> None:
        """Write how a request has ended."""
        if not log.isEnabledFor(logging.INFO):
            return
        fields = {
            "time": utc(time.time()),
            "client": _shown(record.visitor.address, self._clients),
            "router": record.router,
            "command": record.command,
            "target": record.target,
            "asked": record.asked,
            "outcome": outcome.word,
            "status": outcome.status,
            "seconds": round(record.seconds, 3),
            "waited": round(record.waited, 3) or "",
            "bytes": record.size,
            "shared": record.shared,
            "reused": "" if record.reused is None else record.reused,
            "message": outcome.message,
        }
        log.info(self._write({name: value for name, value in fields.items() if value != ""}))


class StandardError(logging.StreamHandler[TextIO]):
    """Write to standard error what it takes at once: nothing here waits for a reader of the log."""

    def __init__(self, form: str) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter(form))
        self._lost = 0  # lines
        self._poll = select.poll()
        self._poll.register(sys.stderr.fileno(), select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it; a pipe that is writable takes 4096 bytes (POSIX, PIPE_BUF)."""
        if not self._poll.poll(0):
            self._lost += 1
            return
        if self._lost:
            self.stream.write(f"{self._lost} lines were lost: nobody has read them\n")
            self._lost = 0
        super().emit(record)


def log_to_standard_error() -> None:
    """Log with the level before each message; the journal's lines are for programs and stay bare."""
    # what these formats do not show is not gathered for each line (Python's logging HOWTO, Optimization)
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[StandardError("%(levelname)s: %(message)s")])
    log.addHandler(StandardError("%(message)s"))
    log.propagate = False


def _shown(address: str, clients: str) -> str:
    if clients == "none" or not address:
        return ""
    return address if clients == "full" else network_of(address)


def _logfmt(fields: dict[str, Any]) -> str:
    """Return name=value pairs; what is not plain becomes a JSON string of ASCII, which has no line break."""
    texts = map(str, fields.values())
    values = [text if PLAIN.fullmatch(text) else json.dumps(text) for text in texts]
    return " ".join(map("=".join, zip(fields, values, strict=True)))
