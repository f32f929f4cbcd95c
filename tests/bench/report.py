"""The figures as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.bench.table import digits

INTRODUCTION = """\
# Measured

`make bench` has written this page. It asks TinyTracer and, in turns, a looking glass that is none: 34 lines
of WebOb under waitress, which run a command, or give the same bytes as TinyTracer (`tests/bench/bare.py`).
They are "bare" below. Where a figure has two names with a bar between them, the two columns are these.

The figures are medians of some rounds. The range is that of what the goal is about, else of ours. p99 is what
one in a hundred exceeds. Machines differ, so look at the ratios.
"""
MACHINE = "Measured on {cores} cores ({model}), Linux {kernel}, Python {python}; the load before was {load}."
GROUPS = {
    "page": "Requests that run nothing",
    "run": "Runs of /bin/true",
    "guard": "What limits cost a run, by the store of their counts",
    "busy": "The page while commands run",
    "live": "Live viewers of commands that print four lines a second",
    "idle": "Start, and rest",
    "leave": "From a disconnect to the end of the process",
    "browser": "The page in Chromium",
    "peers": "Other looking glasses on this machine",
}
HEADING = "| | bare | ours | ratio | range | goal | holds |\n|---|---:|---:|---:|---:|---|---|"
VERDICTS = {True: "yes", False: "**no**", None: ""}


def page(about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Return all rows, group by group."""
    parts = [INTRODUCTION, MACHINE.format(**about) + "\n"]
    for name in dict.fromkeys(row["group"] for row in rows):
        lines = (_line(row) for row in rows if row["group"] == name)
        parts.append(f"## {GROUPS[name]}\n\n{HEADING}\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _line(row: dict[str, Any]) -> str:
    name = row["name"].replace("|", r"\|")
    figures = (digits(row[column]) for column in ("bare", "ours", "ratio"))
    spread = f"{digits(row['low'])} .. {digits(row['high'])}"
    return f"| {' | '.join((name, *figures, spread, row['goal'], VERDICTS[row['holds']]))} |"
