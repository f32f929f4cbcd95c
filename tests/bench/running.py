"""Runs of /bin/true: what they cost above fork and exec, and how many a second there can be."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.pages import AS_FAST, in_turns
from tests.bench.servers import TARGET, V1, both, eight
from tests.bench.table import Case, Goal, Pair, Rounds, Row

PATH = f"{V1}/true"
TO = f"{V1}/true/to/{TARGET}"
RUNS_A_SECOND = 150  # in turns; fast enough for a round, and slow enough for the slowest machine
ABOVE_BARE = Goal("above", "≤", 0.15)
# A process of its own, for what a fork costs grows with the memory of the process that forks.
FORK = """\
import os, sys, time
for line in sys.stdin:
    began = time.perf_counter()
    pid = os.fork()
    if not pid:
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)
    print(time.perf_counter() - began, flush=True)
"""
# Each request has another target, for equal questions would share a Run.
TARGETS = """\
local count = 0
request = function()
    count = count % 100 + 1
    return wrk.format("GET", "PREFIX." .. (99 + count))
end
"""


@contextlib.contextmanager
def forks() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds of a fork, an exec and a wait."""
    argv = [sys.executable, "-ISc", FORK]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def seconds() -> float:
            print(file=process.stdin, flush=True)
            return float(process.stdout.readline())  # type: ignore[union-attr] # it is a pipe

        yield seconds
        process.stdin.close()  # type: ignore[union-attr]


def above_fork(seconds: float) -> Rounds:
    """Fork, ask the bare application and ask TinyTracer in turns, on connections that stay open.

    Each finds the machine as the one before has left it, so their order changes from turn to turn.
    """
    count = max(5, round(RUNS_A_SECOND * seconds))
    with both(eight(), PATH) as (bare, ours), forks() as fork:
        ways: tuple[Callable[[], float], ...] = (fork, lambda: bare.seconds(PATH), lambda: ours.seconds(PATH))
        orders = itertools.cycle(itertools.permutations(ways))
        while True:
            turns = [{way: way() for way in order} for order in itertools.islice(orders, count)]
            forked, *asked = (1000 * statistics.median(turn[way] for turn in turns) for way in ways)
            yield {
                Row("fork, exec and wait | a run, ms"): Pair(forked, asked[1]),
                Row("a run: ms above fork, exec and wait", ABOVE_BARE): Pair(*(x - forked for x in asked)),
            }


def at_once(seconds: float) -> Rounds:
    """Let several clients run as often as they can."""
    with tempfile.TemporaryDirectory() as folder, both(eight(), TO) as servers:
        script = Path(folder, "targets.lua")
        script.write_text(TARGETS.replace("PREFIX", TO.rpartition(".")[0]))
        for rates in in_turns(servers, seconds, "-s", str(script), path=TO):
            yield {Row("runs for 8 clients: a second", AS_FAST): Pair(*(each.rate for each in rates))}


CASES: list[Case] = [above_fork, at_once]
