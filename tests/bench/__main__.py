"""Measure TinyTracer beside a bare waitress application in the same run.

Nothing here fails a build, for machines differ: compare the ratios.
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
from typing import Any

from tests.bench import idle, live, pages, running
from tests.bench.servers import allow_many_files
from tests.bench.table import HEADING, Case, Pair, Row, line, machine, summary

GROUPS: dict[str, list[Case]] = {
    "page": pages.CASES,
    "run": running.CASES,
    "live": live.CASES,
    "idle": idle.CASES,
    "leave": idle.LEAVE,
}


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
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one round of one server; default: 3")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all rounds there as well")
    options = parser.parse_args(arguments)
    allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that no server is left
    began = time.monotonic()
    about = {**machine(), "rounds": options.rounds, "seconds": options.seconds}
    print("{cores} cores, {model}, Linux {kernel}, Python {python}".format(**about))
    print("Medians and ranges of {rounds} rounds; a round of one server takes {seconds:g} s.".format(**about))
    rows = []
    for group in options.groups:
        print(f"\n{group}\n{HEADING}", flush=True)
        for case in GROUPS[group]:
            for row in measure(case, options.rounds, options.seconds):
                print(line(row), flush=True)
                rows.append({"group": group, **row})
    print(
        f"\n{sum(row['holds'] is False for row in rows)} goals are missed; {time.monotonic() - began:.0f} s"
    )
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
