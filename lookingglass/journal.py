"""One record of each request for a run, however it ended: for now one log line."""

from __future__ import annotations

import functools
import json
import logging
import re
import time
from typing import Any, NamedTuple

from lookingglass.visitors import Visitor, network_key

LONGEST = 200  # characters of what was asked that are told when it was not understood
PLAIN = re.compile(r"[A-Za-z0-9._:/,+-]+")  # a value that logfmt needs no quotes for

log = logging.getLogger("tinytracer.journal")


class Outcome(NamedTuple):
    """Say how an answer ended."""

    word: str  # success, fail, timeout, cut, left, stopped, refused, unreachable or failed
    status: int  # of HTTP
    message: str = ""


class Record:
    """Gather what is to be told of one request for a run; ``Journal.close`` ends it."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        self.began = time.monotonic()
        self.visitor = visitor
        self.path = path  # as it was asked
        self.router = ""
        self.command = ""
        self.target = ""
        self.size = 0  # bytes of the answer
        self.shared = 0  # viewers that its Run has had at once, at most


class Journal:
    """Write a record of each request for a run, in a form that nobody outside can forge.

    ``form`` is logfmt or json; ``clients`` says how much of an address is told: full, network or none.
    """

    def __init__(self, form: str = "logfmt", clients: str = "network") -> None:
        self._write = json.dumps if form == "json" else _logfmt
        self._clients = clients

    def close(self, record: Record, outcome: Outcome) -> None:
        """Write how a request has ended."""
        if not log.isEnabledFor(logging.INFO):
            return
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "client": _shown(record.visitor.address, self._clients),
            "router": record.router,
            "command": record.command,
            "target": record.target,
            "asked": "" if record.target or not outcome.message else record.path[:LONGEST],
            "outcome": outcome.word,
            "status": outcome.status,
            "seconds": round(time.monotonic() - record.began, 3),
            "bytes": record.size,
            "shared": record.shared,
            "message": outcome.message,
        }
        log.info(self._write({name: value for name, value in fields.items() if value != ""}))


@functools.lru_cache(1024)
def _shown(address: str, clients: str) -> str:
    if clients == "full" or not address:
        return address
    if clients == "none":
        return ""
    return network_key(address)


def _logfmt(fields: dict[str, Any]) -> str:
    """Return name=value pairs; what is not plain becomes a JSON string of ASCII, which has no line break."""
    texts = ((name, str(value)) for name, value in fields.items())
    return " ".join(f"{name}={text if PLAIN.fullmatch(text) else json.dumps(text)}" for name, text in texts)
