"""Live viewers: how late each line comes, what they cost, and what is left for everybody else."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.bench.servers import HERE, MANY_VIEWERS, V1, Server, both, eight
from tests.bench.table import Case, Goal, Pair, Rounds, Row, alone, percentile

SETTLED = 1.5  # seconds from the last viewer's request to the window
PAUSE = 0.02  # seconds between two requests for the page, which must not be what keeps the server busy
MANY = 1000  # viewers for whom all goals are meant
WARM = 20  # requests that make what is made once
TEXT, EVENTS = "text/plain", "text/event-stream"


class Kind(NamedTuple):
    """Say what viewers ask for."""

    name: str
    accept: str
    path: str = "tick/192.0.2.{}"


PLAIN = Kind("text", TEXT)
LIVE = Kind("events", EVENTS)
FACTS = Kind("events with facts", EVENTS, "pinged/192.0.2.{}")
VIEWS = Kind("events with facts and views", EVENTS, "pinged/192.0.2.{}?view=1")
IN_TIME = Goal("ours", "≤", 50.0)
COMPLETE = Goal("ours", "≤", 0, max)
PAGE = Goal("ours", "≤", 20.0)
MEMORY = Goal("ours", "≤", 16.0)
CORES = Goal("ours", "≤", 0.35)
THREADS = Goal("ours", "≤", 149)


class Viewers:
    """So many viewers of so many Runs, in a process of their own."""

    def __init__(self, port: int, count: int, runs: int, kind: Kind) -> None:
        paths = [f"{V1}/{kind.path.format(1 + number % runs)}" for number in range(count)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.viewers"],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._tell({"port": port, "paths": paths, "accept": kind.accept})
        self._hear()

    def __enter__(self) -> Viewers:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def seen(self, begin: float, end: float) -> dict[str, Any]:
        """Return what they have seen of the lines printed between two times."""
        self._tell([begin, end])
        seen: dict[str, Any] = json.loads(self._hear())
        return seen

    def _tell(self, value: object) -> None:
        print(json.dumps(value), file=self._process.stdin)

    def _hear(self) -> str:
        assert self._process.stdout
        heard = self._process.stdout.readline()
        if not heard:
            raise SystemExit("The viewers have failed.")
        return heard


def watch(count: int, runs: int, kind: Kind, seconds: float) -> Rounds:
    """Let viewers watch Runs that print four lines a second; each round has servers of its own."""
    title = f"{count:,} viewers of {runs} Run{'s'[: runs - 1]}, {kind.name}"
    many = count >= MANY
    while True:
        with both(eight(**MANY_VIEWERS)) as servers:
            ours = servers[1]
            page_times(servers, WARM)
            memory = ours.pss()
            with Viewers(ours.port, count, runs, kind) as viewers:
                time.sleep(SETTLED)
                begin, used = time.time(), ours.cpu()
                times = page_times(servers, seconds / PAUSE)
                end, used = time.time(), ours.cpu() - used
                threads, memory = ours.threads(), ours.pss() - memory
                seen = viewers.seen(begin, end)
        median, late, latest = map(Pair, seen["pipe"], seen["viewers"])
        yield {
            Row(f"{title}: delay, median, ms"): median,
            Row(f"{title}: delay, p99, ms", IN_TIME): late,
            Row(f"{title}: delay, max, ms"): latest,
            Row(f"{title}: lines lost", COMPLETE): alone(seen["wrong"]),
            Row(f"{title}: / meanwhile, p99, ms", PAGE): times,
            Row(f"{title}: CPU, cores", CORES if many else None): alone(used / (end - begin)),
            Row(f"{title}: memory (PSS) of each, KiB", MEMORY if many else None): alone(memory / count),
            Row(f"{title}: threads", THREADS if many else None): alone(threads),
        }


def page_times(servers: Sequence[Server], count: float) -> Pair:
    """Ask all for the page in turns, so many times, and return the 99th percentiles in milliseconds."""
    times: list[list[float]] = [[] for _ in servers]
    for _ in range(round(count)):
        for server, column in zip(servers, times, strict=True):
            column.append(1000 * server.seconds("/"))
        time.sleep(PAUSE)
    return Pair(*(percentile(column, 99) for column in times))


CASES: list[Case] = [
    functools.partial(watch, count, runs, kind)
    for count, runs, kind in (
        (10, 1, LIVE),
        (100, 1, LIVE),
        (1000, 1, LIVE),
        (100, 16, LIVE),
        (1000, 16, LIVE),
        (1000, 1, PLAIN),
        (1000, 16, PLAIN),
        (1000, 1, FACTS),
        (1000, 1, VIEWS),
        (1000, 16, VIEWS),
    )
]
