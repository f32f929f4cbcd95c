"""How often one client may ask for what costs little, and how many downloads there may be at once.

Counted in memory, by each process for itself. Runs are ``guard``'s matter.
"""

from __future__ import annotations

import collections
import math
import threading
import time
from collections.abc import Callable

from lookingglass.guard import Lease, Limits, network_of
from lookingglass.problems import ROUNDING, Refusal, counted
from lookingglass.tallies import tally

OWNERS = 131072  # clients and networks that are remembered; when all ask too much, new ones are denied
OF_NETWORK = 4  # times what one client may ask for, of all clients in a network
DOWNLOADS = 16  # at once, of all clients, or as many as one client may have
BURST = 5.0  # seconds whose requests may come at once: a browser opens all its tabs together
CHEAP = 0.0025  # seconds of a processor that a request may take; one that takes more counts as several
DOWNLOAD_WAIT = 10  # seconds after which a download may have ended


class Turnstile:
    """Admit or refuse a client, named by ``visitors.client_key``."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Admit what some limits say; of ``requests``, those of BURST may come at once."""
        self.adjust(limits)
        self._clock = clock
        self._lock = threading.Lock()
        # Until when what a client or a network has asked for is paid; in order of last use.
        self._paid: dict[str, float] = {}
        self._held: collections.Counter[str] = collections.Counter()  # downloads by client
        self._held_by_network: collections.Counter[str] = collections.Counter()

    def adjust(self, limits: Limits) -> None:
        """Admit more or less from now on; what was asked for counts."""
        self._rate = limits.requests
        self._gap = self._rate.period / self._rate.runs  # seconds that a request is worth
        self._network_gap = self._gap / (OF_NETWORK if limits.keeps_some else math.inf)
        self._burst = max(self._rate.runs, round(BURST / self._gap))
        self._downloads = limits.downloads
        self._places = max(DOWNLOADS, limits.downloads)
        self._share = limits.share_of(self._places, limits.downloads)

    def request(self, client: str) -> None:
        """Count a request; raises Refusal 429 when the client, or its network, asks too often."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            paid: dict[str, float] = {}
            for owner, gap in self._gaps(client).items():
                if owner not in self._paid and len(self._paid) + len(paid) >= OWNERS:
                    raise Refusal(503, 1, "Too many clients ask too often to count them all.")
                paid[owner] = max(now, self._paid.get(owner, now)) + gap
                seconds = paid[owner] - now - self._burst * self._gap
                if seconds > ROUNDING:
                    raise Refusal(429, seconds, self._words(owner == client))
            for owner in paid:
                self._paid.pop(owner, None)
            self._paid.update(paid)

    def charge(self, client: str, seconds: float) -> None:
        """Count what a request has taken of a processor beyond CHEAP."""
        more = seconds / CHEAP - 1
        if more > 0:
            with self._lock:
                for owner, gap in self._gaps(client).items():
                    if owner in self._paid:
                        self._paid[owner] += more * gap

    def download(self, client: str) -> Lease:
        """Admit a download; raises Refusal: 503 when all places are taken, 429 when the client has its."""
        network = network_of(client)
        with self._lock:
            if self._held[client] >= self._downloads:
                words = f"The limit is {counted(self._downloads, 'download')} at once from your address."
                raise Refusal(429, DOWNLOAD_WAIT, words)
            if self._held.total() >= self._places:
                raise Refusal(503, DOWNLOAD_WAIT, f"All {self._places} places for downloads are taken.")
            if self._held_by_network[network] >= self._share:
                words = f"The limit is {counted(self._share, 'download')} at once from your network."
                raise Refusal(429, DOWNLOAD_WAIT, words)
            tally(self._held, client, 1)
            tally(self._held_by_network, network, 1)
        return Lease(lambda refund: self._leave(client, network))

    def _gaps(self, client: str) -> dict[str, float]:
        """Return the seconds that a request is worth, for each whom it is counted for."""
        return {network_of(client): self._network_gap, client: self._gap}  # who has no network is its own

    def _words(self, is_client: bool) -> str:
        times, whose = (1, "address") if is_client else (OF_NETWORK, "network")
        requests = counted(times * self._rate.runs, "request")
        limit = f"{requests} in {self._rate.period:g} s, {times * self._burst} at once"
        return f"The limit is {limit}, from your {whose}; long answers count as several."

    def _forget(self, now: float) -> None:
        """Forget those four that have not asked for longest, if all they asked for is paid."""
        for _ in range(4):
            oldest = next(iter(self._paid), None)
            if oldest is None or self._paid[oldest] > now:
                return
            del self._paid[oldest]

    def _leave(self, client: str, network: str) -> None:
        with self._lock:
            tally(self._held, client, -1)
            tally(self._held_by_network, network, -1)
