"""Who may run how much: slots, rates, and the refusal that names the limit."""

from __future__ import annotations

import ipaddress
import itertools
import math
import re
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from lookingglass import targets
from lookingglass.problems import ROUNDING, Refusal

TABLE_SIZE = 65536  # keys a rate table remembers; when all of them are in use, new ones are denied
WITH_PORT = re.compile(r"(?:([0-9.]{7,15})|\[([0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?")
SLOT_RETRY = 5  # seconds after which a slot may be free again; a guess, runs are short


class Rate(NamedTuple):
    """Allow ``runs`` in ``period`` seconds."""

    runs: int
    period: float


class Limits(NamedTuple):
    """Hold what the configuration's ``limits`` say."""

    runtime: float = 30.0  # seconds, RFC 8522's default
    max_runtime: float = 60.0  # seconds, the ceiling
    concurrent: int = 16  # processes at once
    viewers: int = 64  # answers in progress
    per_client: int = 2  # answers in progress for one client
    output_kib: int = 256
    rate: Rate = Rate(10, 60.0)  # answers for one client
    burst: int = 5
    target_rate: Rate = Rate(20, 60.0)  # runs towards one target network, for all clients together


class Buckets:
    """Count tokens for each key: ``burst`` at first, refilled by ``rate``.

    Full buckets are forgotten, so that the table holds only keys of the last few moments. The order of
    the table is the order of the last use; what was not used for a whole refill is at its beginning.
    """

    def __init__(self, rate: Rate, burst: int, size: int = TABLE_SIZE) -> None:
        self._per_second = rate.runs / rate.period
        self.burst = burst
        self._size = size
        self._table: dict[str, tuple[float, float]] = {}  # key -> tokens, and when they were counted

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until a token for ``key`` is there: 0.0 now, infinity when the table is full."""
        self._forget(now)
        if key not in self._table and len(self._table) >= self._size:
            return math.inf
        lacking = 1.0 - self._tokens(key, now)
        return lacking / self._per_second if lacking > ROUNDING else 0.0

    def take(self, key: str, now: float) -> None:
        """Take the token that ``wait`` has found."""
        tokens = self._tokens(key, now) - 1.0
        self._table.pop(key, None)
        self._table[key] = (tokens, now)

    def give(self, key: str) -> None:
        """Give back a token that was taken for nothing."""
        if key in self._table:
            tokens, then = self._table[key]
            self._table[key] = (tokens + 1.0, then)

    def _tokens(self, key: str, now: float) -> float:
        tokens, then = self._table.get(key, (float(self.burst), now))
        return min(float(self.burst), tokens + max(0.0, now - then) * self._per_second)

    def _forget(self, now: float) -> None:
        refill = self.burst / self._per_second
        for key in list(itertools.islice(self._table, 2)):
            if now - self._table[key][1] >= refill:
                del self._table[key]


class Guard:
    """Admit or refuse, by the limits of one configuration; every number is kept under one lock."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._slots = 0
        self._viewers: dict[str, int] = {}
        self._clients = Buckets(limits.rate, limits.burst)
        self._targets = Buckets(limits.target_rate, limits.target_rate.runs)

    def viewer(self, client: str) -> Callable[..., None]:
        """Admit one answer for ``client``; return what gives its place back, with ``refund`` its token too.

        Raises Refusal: 503 when all places are taken, 429 when the client has its share or is too fast.
        """
        key = client_key(client)
        limits = self._limits
        with self._lock:
            if sum(self._viewers.values()) >= limits.viewers:
                raise Refusal(503, SLOT_RETRY, f"All {limits.viewers} viewers' places are taken.")
            if self._viewers.get(key, 0) >= limits.per_client:
                raise Refusal(429, SLOT_RETRY, f"You have {limits.per_client} answers in progress already.")
            self._spend(self._clients, key, limits.rate, "from your address")
            self._viewers[key] = self._viewers.get(key, 0) + 1
        return _once(lambda refund=False: self._leave(key, refund))

    def slot(self, network: targets.Network | None) -> Callable[[], None]:
        """Admit one process that sends packets to ``network``, and return what gives its slot back.

        Raises Refusal: 503 when all slots are taken, 429 when the network was asked for too often.
        """
        with self._lock:
            if self._slots >= self._limits.concurrent:
                raise Refusal(503, SLOT_RETRY, f"All {self._limits.concurrent} slots are taken.")
            if network is not None:
                self._spend(self._targets, str(network), self._limits.target_rate, "to this target's network")
            self._slots += 1
        return _once(self._free)

    def _spend(self, buckets: Buckets, key: str, rate: Rate, whose: str) -> None:
        now = self._clock()
        wait = buckets.wait(key, now)
        if wait == math.inf:
            raise Refusal(503, SLOT_RETRY, f"There is no room for counting what comes {whose}.")
        if wait > 0:
            limit = f"{rate.runs} runs in {rate.period:g} s, {buckets.burst} at once"
            raise Refusal(429, wait, f"The limit is {limit}, {whose}.")
        buckets.take(key, now)

    def _leave(self, key: str, refund: bool) -> None:
        with self._lock:
            if refund:
                self._clients.give(key)
            self._viewers[key] -= 1
            if not self._viewers[key]:
                del self._viewers[key]

    def _free(self) -> None:
        with self._lock:
            self._slots -= 1


def client_key(client: str) -> str:
    """Return what a client is counted by: its IPv4 address, its IPv6 /64, or one key for all unknown."""
    address = read_client(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address or "unknown")


def read_client(text: str) -> targets.Address | None:
    """Read the address of a client or a proxy, an IPv4-mapped one as IPv4; None: it is none.

    Some proxies add a port: 192.0.2.1:80 and [2001:db8::1]:80.
    """
    match = WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    if getattr(address, "scope_id", None):
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _once(give_back: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls ``give_back`` at its first call only."""
    first = threading.Lock()

    def release(**options: bool) -> None:
        if first.acquire(blocking=False):
            give_back(**options)

    return release
