"""Cables with delay, jitter and loss, for kernels without netem.

``cable.py FILE`` reads a JSON list of directions and forwards Ethernet frames between the interfaces of
its own network namespace until it is killed. A direction is

    {"from": "a", "to": "b", "delay": 2.5, "jitter": 0.1, "drops": [{"loss": 30, "bytes": {"12": "0800"}}]}

with milliseconds one way, and with rules that lose a percentage of the frames which have these bytes
(hexadecimal) at these offsets. Frames stay in order.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import select
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

SOL_PACKET = 263
PACKET_VNET_HDR = 15
ETH_P_ALL = 3
LARGEST = 65536 + 64  # bytes; a segmentation offload hands over 64 KiB at once
ROOM = 10_000  # frames on all cables together; more are lost, as in any queue
PRIORITY = -10  # late frames would be measured as delay


def attach(interface: str) -> socket.socket:
    """Return a socket for all frames of ``interface``.

    Every frame is preceded by its virtio_net_hdr: an unfinished checksum or segmentation travels with the
    frame and is finished, or not needed, where it arrives. So no offload has to be switched off.
    """
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    tap.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    tap.bind((interface, ETH_P_ALL))
    return tap


class Direction:
    """One direction of a cable."""

    def __init__(self, document: dict[str, Any], taps: dict[str, socket.socket]) -> None:
        self.source = taps[document["from"]]
        self.sink = taps[document["to"]]
        self._delay = document["delay"] / 1000
        self._jitter = document["jitter"] / 1000
        self._drops = [
            (rule["loss"] / 100, [(int(at), bytes.fromhex(text)) for at, text in rule["bytes"].items()])
            for rule in document["drops"]
        ]
        self._latest = 0.0

    def due(self, now: float) -> float:
        """Return when a frame that entered at ``now`` (seconds) comes out, never before an earlier one."""
        self._latest = max(self._latest, now + self._delay + random.random() * self._jitter)
        return self._latest

    def loses(self, data: bytes) -> bool:
        """Say whether this frame is lost."""
        frame = data[10:]  # behind the virtio_net_hdr
        return any(
            all(frame.startswith(value, at) for at, value in pattern) and random.random() < loss
            for loss, pattern in self._drops
        )


def forward(directions: list[Direction]) -> NoReturn:
    """Forward frames for ever."""
    by_source = {direction.source: direction for direction in directions}
    under_way: list[tuple[float, int, socket.socket, bytes]] = []
    numbers = itertools.count()
    while True:
        # select() counts in microseconds, poll() in milliseconds, which is too coarse here.
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select(by_source, [], [], wait)
        for tap in readable:
            direction = by_source[tap]
            now = time.monotonic()
            with suppress(OSError):  # nothing left to read, or the interface is down
                while True:
                    data = tap.recv(LARGEST)
                    if len(under_way) < ROOM and not direction.loses(data):
                        item = (direction.due(now), next(numbers), direction.sink, data)
                        heapq.heappush(under_way, item)
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, sink, data = heapq.heappop(under_way)
            with suppress(OSError):  # the other end is down or full: lost
                sink.send(data)


def main(path: str) -> NoReturn:
    """Read the directions from ``path`` and forward."""
    documents = json.loads(Path(path).read_text(encoding="utf-8"))
    with suppress(OSError):  # an ordinary priority is only less exact
        os.nice(PRIORITY)
        Path("/proc/self/timerslack_ns").write_text("1", encoding="ascii")
    taps = {document["from"]: attach(document["from"]) for document in documents}
    forward([Direction(document, taps) for document in documents])


if __name__ == "__main__":
    main(sys.argv[1])
