"""Frozen answers: each finished one is kept for a while, under a name that nobody can guess.

Nothing of the asker is in them. How much a network has is counted under a keyed digest of it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import secrets
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lookingglass.cabinet import Cabinet, Keeping
from lookingglass.limits import Limits
from lookingglass.problems import SOON, Busy
from lookingglass.stores import open_cabinet
from lookingglass.visitors import Visitor
from rfc8522 import Envelope, Subject, utc

RESULTS_PATH = "/results"  # below which results are read
RESULT_NAME = "[0-9a-f]{32}"  # 128 random bits
LEVEL = 3  # of zlib: text shrinks nearly as much as by more, in a third of the time
LITTLE = 512  # bytes that are not compressed: what that saves is less than what an entry takes besides
KEPT_OWNERS = 512  # networks whose digests need not be made again
# Bytes that an answer may have in JSON: for each byte of output (6 tell one that is not UTF-8, and the facts
# of the worst samples have 4), and besides. What has more comes from elsewhere: zlib makes a thousand of one.
MOST_OF_OUTPUT, MOST_BESIDES = 16, 65536
RETRY = 5.0  # seconds for which a store that has failed is left alone

log = logging.getLogger("tinytracer")


class Frozen(NamedTuple):
    """Hold an answer as it was."""

    title: str  # "ping lossy.example": command and target as asked
    router: str
    place: str  # "Berlin DE"; "" for none
    status: int  # of HTTP
    envelope: Envelope
    kept_until: str  # UTC, ISO 8601

    @property
    def data(self) -> dict[str, Any]:
        """Return what the envelope says of the run."""
        data: dict[str, Any] = self.envelope["data"]
        return data


class Results:
    """Keep answers in a cabinet; one that fails never harms an answer."""

    def __init__(self, keeping: Keeping, cabinet: Cabinet, clock: Callable[[], float] = time.time) -> None:
        self.keeping = keeping
        self.output_limit = Limits().output_kib * 1024  # bytes, of a Run
        self._cabinet = cabinet
        self._clock = clock
        self._owner = functools.lru_cache(KEPT_OWNERS)(self._owner_of)
        self._secret = b""
        self._resting_until: float | None = None  # by the monotonic clock: the store has failed
        self._last: tuple[Frozen, bytes] | None = None  # viewers of one Run have the same answer: packed once

    def keep(self, visitor: Visitor, subject: Subject, status: int, envelope: Envelope) -> Envelope:
        """Keep a visitor's answer; return its envelope with ``result``, where it is kept."""
        data = envelope.get("data")
        if not data or not (status == 200 or data.get("output")) or self._is_resting():
            return envelope
        now = self._clock()
        frozen = Frozen(
            title_of(subject.command.name, subject.target),
            subject.router.name,
            place_of(subject.router.details),
            status,
            envelope,
            utc(now + self.keeping.seconds),
        )
        name = secrets.token_hex(16)
        try:
            owner = self._owner(visitor.network)
            packed = self._packed(frozen)
            is_kept = bool(packed) and self._cabinet.put(name, owner, packed, now, now + self.keeping.seconds)
        except Exception as error:  # whatever a store has: the answer goes on
            self._rest(error)
            return envelope
        self._wake()
        return with_result(envelope, visitor.base, name) if is_kept else envelope

    def find(self, name: str) -> Frozen | None:
        """Return what is kept under a name, None when there is nothing, or nothing any more; raises Busy."""
        try:
            body = self._cabinet.get(name, self._clock())
        except Exception as error:
            self._rest(error)
            raise Busy(f"Results cannot be read now. Try again in {SOON} s.") from error
        try:
            return Frozen(**json.loads(_unpack(body, self._most))) if body else None
        except (RecursionError, TypeError, ValueError, zlib.error):  # another version or program wrote it
            return None

    @property
    def _most(self) -> int:
        """Return the bytes that an answer may have in JSON."""
        return MOST_OF_OUTPUT * self.output_limit + MOST_BESIDES

    def close(self) -> None:
        """Let go of the store."""
        self._cabinet.close()

    def _owner_of(self, network: str) -> str:
        self._secret = self._secret or self._cabinet.secret()
        if not self._secret:
            raise LookupError("the store has lost the key of owners")
        return hashlib.blake2b(network.encode(), digest_size=8, key=self._secret).hexdigest()

    def _packed(self, frozen: Frozen) -> bytes:
        """Return an answer as it is kept; b"": it has more than could be read again."""
        last = self._last
        if last and last[0] == frozen:
            return last[1]
        body = json.dumps(frozen._asdict()).encode()
        packed = _pack(body) if len(body) <= self._most else b""
        self._last = frozen, packed
        return packed

    def _is_resting(self) -> bool:
        return self._resting_until is not None and time.monotonic() < self._resting_until

    def _rest(self, error: Exception) -> None:
        """Leave a store alone that has failed; the log says it once."""
        if self._resting_until is None:
            log.error("Results cannot be kept now, so answers have none: %s", error)
        self._resting_until = time.monotonic() + RETRY

    def _wake(self) -> None:
        if self._resting_until is not None:
            log.warning("Results are kept again.")
            self._resting_until = None


def open_results(store: str, keeping: Keeping | None) -> Results | None:
    """Return what keeps answers in a configured store; None: nothing does."""
    return Results(keeping, open_cabinet(store, keeping)) if keeping else None


def _pack(body: bytes) -> bytes:
    """Compress an object in JSON with no more memory than it needs, unless it is LITTLE.

    To clear all of zlib's memory takes longer than most bodies.
    """
    if len(body) <= LITTLE:
        return body
    bits = min(15, len(body).bit_length())  # of the window; zlib's own are 15 and 8
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, bits, bits - 7)
    return packer.compress(body) + packer.flush()


def _unpack(packed: bytes, most: int) -> bytes:
    """Return an object in JSON; raises ValueError when it has more than so many bytes, or zlib.error."""
    is_packed = not packed.startswith(b"{")  # as the data of zlib never begin
    body = zlib.decompressobj().decompress(packed, most + 1) if is_packed else packed
    if len(body) > most:
        raise ValueError("it is too long for an answer")
    return body


def with_result(envelope: Envelope, base: str, name: str) -> Envelope:
    """Return an envelope that tells where the answer is kept."""
    return {**envelope, "data": {**envelope["data"], "result": f"{base}{RESULTS_PATH}/{name}"}}


def title_of(command: str, target: str | None) -> str:
    """Return the heading of an answer."""
    return f"{command} {target}" if target else command


def place_of(details: Mapping[str, Any]) -> str:
    """Return where a router is: its city, and its country in capitals."""
    return " ".join(filter(None, (str(details.get("city", "")), str(details.get("country", "")).upper())))
