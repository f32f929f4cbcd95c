"""Measure TinyTracer beside a bare waitress application in the same run.

Nothing here fails a build, for machines differ: compare the ratios. BENCH_CORES=0 in the environment keeps
the servers on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import browser, busy, guarding, idle, live, pages, peers, report, running
from tests.bench.servers import allow_many_files
from tests.bench.table import HEADING, Case, Pair, Row, line, machine, summary


class Group(NamedTuple):
    cases: list[Case]
    rounds: int
    seconds: float  # of a round of one server


GROUPS = {
    "page": Group(pages.CASES, 5, 1.0),  # one odd round in ten is usual, and the median leaves it out
    "run": Group(running.CASES, 9, 1.0),
    "guard": Group(guarding.CASES, 5, 1.0),
    "busy": Group(busy.CASES, 3, 2.0),
    "live": Group(live.CASES, 3, 3.0),
    "idle": Group(idle.CASES, 3, 5.0),
    "leave": Group(idle.LEAVE, 3, 0.0),
    "browser": Group(browser.CASES, 3, 10.0),
}
PEERS = {"peers": Group(peers.CASES, 3, 1.0)}


def measure(case: Case, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return the rows of a case."""
    found: dict[Row, list[Pair]] = {}
    with contextlib.closing(case(seconds)) as samples:
        for sample in itertools.islice(samples, rounds):
            for row, pair in sample.items():
                found.setdefault(row, []).append(pair)
    return [summary(row, pairs) for row, pairs in found.items()]


def groups(text: str) -> list[str]:
    """Read the names of groups, separated by commas."""
    names = text.split(",")
    if unknown := set(names) - set(GROUPS):
        raise argparse.ArgumentTypeError(f"no such group: {', '.join(sorted(unknown))}")
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("groups", nargs="?", type=groups, default=list(GROUPS), help=",".join(GROUPS))
    parser.add_argument("--rounds", type=int, help="default: as many as each group needs")
    parser.add_argument(
        "--seconds", type=float, help="of a round of one server; default: as each group needs"
    )
    parser.add_argument("--peers", action="store_true", help="measure other looking glasses as well")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all rounds there as well")
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the table there as Markdown")
    options = parser.parse_args(arguments)
    allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that no server is left
    began = time.monotonic()
    about = machine()
    print("{cores} cores, {model}, Linux {kernel}, Python {python}, load before {load}".format(**about))
    rows = []
    chosen = {name: GROUPS[name] for name in options.groups} | (PEERS if options.peers else {})
    for name, group in chosen.items():
        rounds, seconds = options.rounds or group.rounds, options.seconds or group.seconds
        print(f"\n{name}: medians and ranges of {rounds} rounds of {seconds:g} s\n{HEADING}", flush=True)
        for case in group.cases:
            for row in measure(case, rounds, seconds):
                print(line(row), flush=True)
                rows.append({"group": name, **row})
    print(
        f"\n{sum(row['holds'] is False for row in rows)} goals are missed; {time.monotonic() - began:.0f} s"
    )
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    if options.write:
        options.write.write_text(report.page(about, rows))


if __name__ == "__main__":
    main()
