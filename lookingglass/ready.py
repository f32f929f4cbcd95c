"""Answers that do not change: made once, with an ETag, and compressed for clients that take it."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Hashable, Mapping

from commands import JSON
from lookingglass.answers import Environ, WSGIStart
from lookingglass.downloads import is_fresh
from lookingglass.headers import OPEN, SECURITY
from lookingglass.negotiation import takes_gzip

SIZE = 8 << 20  # bytes of all answers that are kept
OVERHEAD = 2048  # bytes that an answer takes beside its body: headers and key
WORTH_PACKING = 256  # bytes; what is smaller is not compressed


class Ready:
    """Hold an answer in the two forms in which it is sent; it is a WSGI application."""

    def __init__(self, body: bytes, media: str, headers: Mapping[str, str], level: int = 9) -> None:
        """Make it; clients have to ask each time whether it has changed, unless ``headers`` say otherwise.

        ``level`` is gzip's: the best for what is made once.
        """
        digest = hashlib.sha256(body).hexdigest()[:20]
        common = {
            "Content-Type": media,
            "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding",
            **SECURITY,
            **headers,
        }
        packed = gzip.compress(body, level, mtime=0) if len(body) >= WORTH_PACKING else b""
        self.size = OVERHEAD + len(body) + len(packed)
        self._plain = _form(body, f'"{digest}"', common)
        self._packed = self._plain
        if packed:
            self._packed = _form(packed, f'"{digest}-gz"', {**common, "Content-Encoding": "gzip"})

    def __call__(self, environ: Environ, start_response: WSGIStart) -> list[bytes]:
        """Send it, or 304 where the client has it already (RFC 9110 section 13.1.2)."""
        accepted = environ.get("HTTP_ACCEPT_ENCODING")
        body, etag, headers = self._packed if accepted and takes_gzip(accepted) else self._plain
        known = environ.get("HTTP_IF_NONE_MATCH")
        if known and is_fresh(known, etag):
            kept = [each for each in headers if not each[0].startswith("Content-")]
            start_response("304 Not Modified", kept)
            return []
        start_response("200 OK", headers[:])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class Shelf:
    """Keep answers by a key that says what they depend on; the oldest go when it is full."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: dict[Hashable, Ready] = {}
        self._used = 0  # bytes

    def get(self, key: Hashable, make: Callable[[], Ready]) -> Ready:
        """Return the answer of ``key``, made anew when it is not there."""
        found = self._kept.get(key)
        if found is None:
            found = make()
            with self._lock:
                if key not in self._kept:
                    self._kept[key] = found
                    self._used += found.size
                while self._used > self._size:
                    oldest = next(iter(self._kept))
                    self._used -= self._kept.pop(oldest).size
        return found


def ready_json(value: object) -> Ready:
    """Make an answer that programs on other sites may read."""
    return Ready(json.dumps(value).encode() + b"\n", JSON, OPEN)


def _form(body: bytes, etag: str, common: Mapping[str, str]) -> tuple[bytes, str, list[tuple[str, str]]]:
    return body, etag, [*{**common, "ETag": etag, "Content-Length": str(len(body))}.items()]
