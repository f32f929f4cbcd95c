"""Read many live answers at once, in a process of its own, and tell how late each line came.

It reads a plan from standard input, says ``ready`` when all viewers have asked, and on a second line, with
the window in which lines count, it tells what it has seen. A pipe to a command of the same kind, read by the
same loop, shows what the machine and this reader add.
"""

from __future__ import annotations

import bisect
import gc
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from tests.bench.servers import TICKER, allow_many_files, request
from tests.bench.table import percentile

PIPE = -1  # the viewer that is none
CHUNK = 65536
LATEST = 1.0  # seconds after the window in which a line of it may still come
LINE = re.compile(rb"#(\d+) (\d+\.\d{6});")

Piece = tuple[float, int, bytes]  # when it was received, by which viewer, what


class Line(NamedTuple):
    number: int
    printed: float
    received: float


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    allow_many_files()
    viewers = [_ask(plan["port"], path, plan["accept"]) for path in plan["paths"]]
    argv = [sys.executable, "-ISc", TICKER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as ticker:
        assert ticker.stdout
        readers = {each.fileno(): number for number, each in enumerate(viewers)}
        pieces, (begin, end) = read({**readers, ticker.stdout.fileno(): PIPE})
        ticker.kill()
    for each in viewers:
        each.close()
    seen = lines_of(pieces, len(viewers))
    print(json.dumps(judge(seen, plan["paths"], lambda line: begin <= line.printed < end)))


def _ask(port: int, path: str, accept: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(request(path, accept))
    connection.setblocking(False)
    return connection


def read(readers: dict[int, int]) -> tuple[list[Piece], tuple[float, float]]:
    """Return all that comes until LATEST after the window that standard input names, and the window."""
    gc.disable()  # its pauses would count as the server's
    epoll = select.epoll()
    for descriptor in (*readers, sys.stdin.fileno()):
        epoll.register(descriptor, select.EPOLLIN)
    print("ready", flush=True)
    pieces: list[Piece] = []
    window = (0.0, float("inf"))
    while time.time() < window[1] + LATEST:
        for descriptor, _ in epoll.poll(LATEST, len(readers) + 1):
            if descriptor not in readers:
                window = tuple(json.loads(sys.stdin.readline()))
                epoll.unregister(descriptor)
                continue
            try:
                data = os.read(descriptor, CHUNK)
            except ConnectionResetError:
                data = b""
            pieces.append((time.time(), readers[descriptor], data))
            if not data:
                epoll.unregister(descriptor)
    return pieces, window


def lines_of(pieces: Sequence[Piece], count: int) -> dict[int, list[Line]]:
    """Return the lines that each viewer has seen; a line has come when its end has come."""
    streams: dict[int, list[Piece]] = {number: [] for number in (PIPE, *range(count))}
    for piece in pieces:
        streams[piece[1]].append(piece)
    return {number: list(_lines(stream)) for number, stream in streams.items()}


def _lines(stream: Sequence[Piece]) -> Iterator[Line]:
    ends: list[int] = []
    for _, _, data in stream:
        ends.append(len(data) + (ends[-1] if ends else 0))
    for match in LINE.finditer(b"".join(data for _, _, data in stream)):
        received = stream[bisect.bisect_left(ends, match.end())][0]
        yield Line(int(match[1]), float(match[2]), received)


def judge(
    seen: dict[int, list[Line]], paths: Sequence[str], counts: Callable[[Line], bool]
) -> dict[str, Any]:
    """Return how late the lines came that count, and how many did not come exactly once.

    Which lines there are is known from all viewers of the same path together.
    """
    counted = {number: [line for line in lines if counts(line)] for number, lines in seen.items()}
    printed: dict[str, set[int]] = {path: set() for path in paths}
    for number, path in enumerate(paths):
        printed[path].update(line.number for line in counted[number])
    wrong = 0
    for number, path in enumerate(paths):
        times = Counter(line.number for line in counted[number])
        wrong += sum(times[line] != 1 for line in printed[path])
    pipe = counted.pop(PIPE)
    return {"wrong": wrong, "pipe": delays(pipe), "viewers": delays([*chain(*counted.values())])}


def delays(lines: Sequence[Line]) -> list[float]:
    """Return the median, the 99th percentile and the maximum, in milliseconds."""
    late = [1000 * (line.received - line.printed) for line in lines]
    return [percentile(late, percent) for percent in (50, 99, 100)]


if __name__ == "__main__":
    main()
