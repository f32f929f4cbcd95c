"""Requests that run nothing: how many a second, and how long the slowest of a hundred take."""

from __future__ import annotations

import functools
import itertools
import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.bench.servers import V1, Server, both, eight, routers
from tests.bench.table import Case, Goal, Pair, Rounds, Row, Sample, ratio

CLIENTS = 8
AS_FAST = Goal("ratio", "≥", 0.85)
AS_SOON = Goal("ratio", "≤", 1.18)
SAME = Goal("ratio", "≥", 0.9)  # the same, but for noise
PATHS = {"/": "/", "/cmd": f"{V1}/cmd", "/routers": f"{V1}/routers", "/healthz": "/healthz"}
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
COUNT = re.compile(r"^ +([0-9]+) requests in", re.MULTILINE)
RATE = re.compile(r"^Requests/sec: +([0-9.]+)", re.MULTILINE)
SLOWEST = re.compile(r"^ +99% +([0-9.]+)(us|ms|s)\b", re.MULTILINE)
TROUBLE = re.compile(r"^ +(?:Non-2xx|Socket errors).*", re.MULTILINE)


class Load(NamedTuple):
    """Hold what clients saw that asked as fast as they could."""

    rate: float  # answers a second
    slowest: float  # the 99th percentile in milliseconds
    cpu: float  # of the server, in microseconds an answer


def load(server: Server, seconds: float, *options: str, path: str = "/") -> Load:
    """Let eight clients ask for ``seconds``; every answer has to be a success."""
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: sudo apt-get install wrk")
    url = f"http://127.0.0.1:{server.port}{path}"
    length = f"{max(1, round(seconds))}s"  # wrk knows whole seconds only
    argv = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{length}", "--latency", *options, url]
    used = server.cpu()
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    used = server.cpu() - used
    count, rate, slowest = (pattern.search(told) for pattern in (COUNT, RATE, SLOWEST))
    if TROUBLE.search(told) or not count or not rate or not slowest:
        raise SystemExit(f"{url}: {told}")
    return Load(float(rate[1]), float(slowest[1]) * MILLISECONDS[slowest[2]], 1e6 * used / int(count[1]))


def in_turns(servers: Sequence[Server], seconds: float, *options: str, path: str) -> Iterator[list[Load]]:
    """Yield what each of the servers can do, round by round; each round begins with another one."""
    for first in itertools.count():
        order = [(first + number) % len(servers) for number in range(len(servers))]
        found = {number: load(servers[number], seconds, *options, path=path) for number in order}
        yield [found[number] for number in range(len(servers))]


def rows(title: str, pair: Sequence[Load]) -> Sample:
    """Return the figures of the bare application's load and of ours."""
    rates, slowest, cpu = zip(*pair, strict=True)
    return {
        Row(f"{title}: a second", AS_FAST): Pair(*rates),
        Row(f"{title}: p99, ms", AS_SOON): Pair(*slowest),
        Row(f"{title}: CPU of an answer, µs"): Pair(*cpu),
    }


def requests(name: str, seconds: float) -> Rounds:
    """Ask a configuration of eight commands."""
    path = PATHS[name]
    with both(eight(), path) as servers:
        for pair in in_turns(servers, seconds, path=path):
            yield rows(name, pair)


def not_modified(name: str, seconds: float) -> Rounds:
    """Ask with the ETag that has come before; NaN when none has come."""
    path, title = PATHS[name], f"{name} with its ETag"
    with both(eight(), path) as servers:
        etag = servers[1].get(path).etag
        if etag is None or servers[1].get(path, etag).status != 304:
            yield from itertools.repeat(rows(title, [Load(math.nan, math.nan, math.nan)] * 2))
        for pair in in_turns(servers, seconds, "-H", f"If-None-Match: {etag}", path=path):
            yield rows(title, pair)


def growth(name: str, seconds: float) -> Rounds:
    """Ask configurations of 1 and of 40 routers with twelve commands each."""
    path = PATHS[name]
    with both(routers(1), path) as few, both(routers(40), path) as many:
        for loads in in_turns((*few, *many), seconds, path=path):
            rates = [each.rate for each in loads]
            shares = [ratio(Pair(*rates[:2])), ratio(Pair(*rates[2:]))]
            yield {
                **rows(f"{name}, 1 router", loads[:2]),
                **rows(f"{name}, 40 routers", loads[2:]),
                Row(f"{name}: share of bare, 1 router | 40 routers", SAME): Pair(*shares),
            }


CASES: list[Case] = [
    *(functools.partial(requests, name) for name in PATHS),
    *(functools.partial(not_modified, name) for name in ("/", "/cmd")),
    *(functools.partial(growth, name) for name in ("/", "/cmd")),
]
