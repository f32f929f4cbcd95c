"""How often one client may ask for what costs little, and how many downloads there may be at once.

Counted in memory, by each process for itself. Runs are ``guard``'s matter.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable

from lookingglass.guard import Lease, Limits, network_of
from lookingglass.problems import ROUNDING, Refusal

CLIENTS = 65536  # that are remembered; when all of them ask too much, new ones are denied
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
        # Until when what a client has asked for is paid; in order of last use.
        self._paid: dict[str, float] = {}
        self._held: collections.Counter[str] = collections.Counter()  # downloads by client
        self._held_by_network: collections.Counter[str] = collections.Counter()

    def adjust(self, limits: Limits) -> None:
        """Admit more or less from now on; what was asked for counts."""
        self._rate = limits.requests
        self._gap = self._rate.period / self._rate.runs  # seconds that a request is worth
        self._burst = max(self._rate.runs, round(BURST / self._gap))
        self._downloads = limits.downloads
        self._places = max(DOWNLOADS, limits.downloads)
        self._share = limits.share_of(self._places, limits.downloads)

    def request(self, client: str) -> None:
        """Count a request; raises Refusal 429 when the client asks too often."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            if client not in self._paid and len(self._paid) >= CLIENTS:
                raise Refusal(503, 1, "Too many clients ask too often to count them all.")
            paid = max(now, self._paid.get(client, now)) + self._gap
            seconds = paid - now - self._burst * self._gap
            if seconds > ROUNDING:
                limit = f"{self._rate.runs} requests in {self._rate.period:g} s, {self._burst} at once"
                words = f"The limit is {limit}, from your address; long answers count as several."
                raise Refusal(429, seconds, words)
            self._paid.pop(client, None)
            self._paid[client] = paid

    def charge(self, client: str, seconds: float) -> None:
        """Count what a request has taken of a processor beyond CHEAP."""
        more = self._gap * (seconds / CHEAP - 1)
        if more > 0:
            with self._lock:
                if client in self._paid:
                    self._paid[client] += more

    def download(self, client: str) -> Lease:
        """Admit a download; raises Refusal: 503 when all places are taken, 429 when the client has its."""
        network = network_of(client)
        with self._lock:
            if self._held[client] >= self._downloads:
                words = f"The limit is {self._downloads} downloads at once from your address."
                raise Refusal(429, DOWNLOAD_WAIT, words)
            if self._held.total() >= self._places:
                raise Refusal(503, DOWNLOAD_WAIT, f"All {self._places} places for downloads are taken.")
            if self._held_by_network[network] >= self._share:
                words = f"The limit is {self._share} downloads at once from your network."
                raise Refusal(429, DOWNLOAD_WAIT, words)
            self._held[client] += 1
            self._held_by_network[network] += 1
        return Lease(lambda refund: self._leave(client, network))

    def _forget(self, now: float) -> None:
        """Forget the two clients that have not asked for longest, if all they asked for is paid."""
        for _ in range(2):
            oldest = next(iter(self._paid), None)
            if oldest is None or self._paid[oldest] > now:
                return
            del self._paid[oldest]

    def _leave(self, client: str, network: str) -> None:
        with self._lock:
            for counter, key in ((self._held, client), (self._held_by_network, network)):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]
