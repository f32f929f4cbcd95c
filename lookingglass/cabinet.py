"""Where frozen answers lie: bounded in time, number and bytes, and fair between the networks that asked.

When a cabinet is full, the oldest entry of the owner that has most goes, which may be the new one itself. So
nobody pushes out what belongs to somebody who has less. Redis does it by the same rule, in a script.
"""

from __future__ import annotations

import collections
import secrets
import threading
from typing import NamedTuple, Protocol

ENTRY_OVERHEAD = 512  # bytes that an entry takes beside its body


class Keeping(NamedTuple):
    """Say how much is kept; the configuration's ``results``."""

    seconds: float
    entries: int
    size: int  # bytes


class Cabinet(Protocol):
    """Keep bodies by name. Whatever a store raises passes through, as it is."""

    def secret(self) -> bytes:
        """Return the key that makes an owner of a network; the same for all that share the cabinet."""

    def put(self, name: str, owner: str, body: bytes, now: float, expires: float) -> bool:
        """Keep a body, and tell whether there was room; times are seconds since the epoch."""

    def get(self, name: str, now: float) -> bytes | None:
        """Return a body, None when there is none of this name or when it has expired."""

    def close(self) -> None:
        """Let go of the store."""


class Entry(NamedTuple):
    """Hold what memory knows of a body."""

    owner: str
    body: bytes
    expires: float


class MemoryCabinet:
    """Keep everything in this process, under one lock."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._secret = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}  # the oldest first
        # Names, the oldest first.
        self._owned: collections.defaultdict[str, collections.deque[str]] = collections.defaultdict(
            collections.deque
        )
        self._sizes: collections.Counter[str] = collections.Counter()  # bytes by owner
        self._used = 0  # bytes

    def secret(self) -> bytes:
        """Return the key that makes an owner of a network: another one in each process."""
        return self._secret

    def put(self, name: str, owner: str, body: bytes, now: float, expires: float) -> bool:
        """Keep a body, and tell whether there was room."""
        with self._lock:
            while self._entries and (oldest := next(iter(self._entries.values()))).expires <= now:
                self._drop(oldest.owner)
            self._entries[name] = Entry(owner, body, expires)
            self._owned[owner].append(name)
            self._count(owner, len(body) + ENTRY_OVERHEAD)
            while self._used > self._keeping.size:
                self._drop(max(self._owned, key=self._sizes.__getitem__))
            if len(self._entries) > self._keeping.entries:
                self._drop(max(self._owned, key=lambda each: len(self._owned[each])))
            return name in self._entries

    def get(self, name: str, now: float) -> bytes | None:
        """Return a body, None when there is none of this name or when it has expired."""
        entry = self._entries.get(name)
        return entry.body if entry and entry.expires > now else None

    def close(self) -> None:
        """Do nothing: what is kept ends with the process."""

    def _drop(self, owner: str) -> None:
        """Forget the oldest entry of an owner."""
        names = self._owned[owner]
        entry = self._entries.pop(names.popleft())
        self._count(owner, -len(entry.body) - ENTRY_OVERHEAD)
        if not names:
            del self._owned[owner], self._sizes[owner]

    def _count(self, owner: str, change: int) -> None:
        self._sizes[owner] += change
        self._used += change
