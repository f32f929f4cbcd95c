"""Rows of figures, the goals that they should reach, and the table that shows both."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HEADING = f"{'':60}{'bare':>9}{'ours':>9}{'ratio':>7}{'range':>16}  {'goal':17}holds"


class Pair(NamedTuple):
    """Hold what one round has measured; ``bare`` is NaN where there is nothing to compare with."""

    bare: float
    ours: float


class Goal(NamedTuple):
    """Bound one of three numbers: ``ours``, its ``ratio`` to the bare one, or what it is ``above`` it."""

    number: str
    sign: str  # "≤" or "≥"
    bound: float
    over: Callable[[Sequence[float]], float] = statistics.median  # of the rounds

    def __str__(self) -> str:
        return f"{self.number} {self.sign} {self.bound:g}"

    def is_reached(self, rounds: Sequence[Pair]) -> bool:
        """Tell whether the rounds reach the goal; NaN never does."""
        value = self.over([NUMBERS[self.number](pair) for pair in rounds])
        return value <= self.bound if self.sign == "≤" else value >= self.bound


class Row(NamedTuple):
    """Name a figure, with its unit, and say what it should be."""

    name: str
    goal: Goal | None = None


Sample = dict[Row, Pair]  # what one round yields
Rounds = Generator[Sample, None, None]  # without end
Case = Callable[[float], Rounds]  # takes the seconds of a round


def ratio(pair: Pair) -> float:
    """Return ours as a multiple of the bare figure; NaN where there is none."""
    return pair.ours / pair.bare if pair.bare else math.nan


NUMBERS: dict[str, Callable[[Pair], float]] = {
    "ours": lambda pair: pair.ours,
    "ratio": ratio,
    "above": lambda pair: pair.ours - pair.bare,
}


def alone(value: float) -> Pair:
    """Return a figure that no bare application has."""
    return Pair(math.nan, value)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of the values do not exceed; NaN when there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def summary(row: Row, rounds: Sequence[Pair]) -> dict[str, Any]:
    """Return a row's medians, the range of what its goal is about (else ours), and whether it holds."""
    bare, ours = (statistics.median(column) for column in zip(*rounds, strict=True))
    times = statistics.median(map(ratio, rounds))
    values = [NUMBERS[row.goal.number if row.goal else "ours"](pair) for pair in rounds]
    return {
        "name": row.name,
        "bare": _finite(bare),
        "ours": _finite(ours),
        "ratio": _finite(times),
        "low": _finite(min(values)),
        "high": _finite(max(values)),
        "goal": str(row.goal or ""),
        "holds": row.goal.is_reached(rounds) if row.goal else None,
        "rounds": [[_finite(pair.bare), _finite(pair.ours)] for pair in rounds],
    }


def line(row: dict[str, Any]) -> str:
    """Return a row of the table as text."""
    verdict = {True: "yes", False: "NO", None: ""}[row["holds"]]
    spread = f"{digits(row['low'])} .. {digits(row['high'])}"
    return (
        f"{row['name']:60}{digits(row['bare']):>9}{digits(row['ours']):>9}{digits(row['ratio']):>7}"
        f"{spread:>16}  {row['goal']:17}{verdict}"
    ).rstrip()


def digits(value: float | None) -> str:
    """Return a number with three digits that count, or all before the point."""
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:,.{0 if size >= 100 or value == 0 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def machine() -> dict[str, Any]:
    """Describe what the figures are measured on, and how busy it is before."""
    models = (
        text.partition(":")[2].strip()
        for text in Path("/proc/cpuinfo").read_text().splitlines()
        if text.startswith("model name")
    )
    return {
        "cores": len(os.sched_getaffinity(0)),
        "model": next(models, platform.machine()),
        "python": platform.python_version(),
        "kernel": platform.release().partition("-")[0],  # the rest is the distribution's
        "load": round(os.getloadavg()[0], 2),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
