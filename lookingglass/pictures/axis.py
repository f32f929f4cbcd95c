"""The axis of delays that the pictures of one answer share, and ranges drawn on it."""

from __future__ import annotations

import math
from typing import NamedTuple

MOST_DOTS = 32  # traceroute has 10 probes a hop at most
ROUND = (1, 2, 3, 4, 5, 6, 8, 10)


class Span(NamedTuple):
    """Hold delays in ms: the ends of a whisker (equal for none), and dots."""

    low: float
    high: float
    dots: tuple[float, ...]


def round_above(value: float) -> float:
    """Return the round number that is at least as large; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = math.floor(math.log10(value))
    # Powers below 1 are divided by, for 3 * 0.1 is no round number.
    found = next((each for each in ROUND if _scaled(each, power) >= value), 10)
    return _scaled(found, power)


def _scaled(digit: int, power: int) -> float:
    return float(digit * 10**power) if power >= 0 else digit / 10**-power


def ms(value: float) -> str:
    """Return a delay in ms as people write it: the better the smaller it is."""
    if value >= 999.5:
        return f"{value:.0f}"
    if value >= 0.995:
        return f"{value:.1f}"
    return f"{value:.3f}" if 0 < value < 0.0095 else f"{value:.2f}"  # as on loopback and within a rack


def tick(value: float) -> str:
    """Return a label of an axis, which is a round number."""
    return f"{value:.12g}"


def percent(part: float, whole: float) -> str:
    """Return a share in whole percent; more than nothing is never 0, and less than all never 100."""
    share = 100 * part / whole
    return exact_percent(share) if 0 < share < 1 or 99 < share < 100 else f"{share:.0f} %"


def exact_percent(share: float) -> str:
    """Return percents with one decimal that says something; the ends are kept for none and for all."""
    if 0 < share < 100:
        share = min(max(share, 0.1), 99.9)
    return f"{share:.1f} %".replace(".0 %", " %")


def range_head(top: float) -> str:
    """Return the labels of an axis, for the head of its column."""
    labels = " ".join(
        f'<text x="{place}%" y="12" class="{kind}">{words}</text>'
        for place, kind, words in (
            (0, "from", "0 ms"),
            (50, "mid", tick(top / 2)),
            (100, "to", tick(top)),
        )
    )
    return f'<svg class="range" width="100%" height="16" aria-hidden="true">{labels}</svg>'


def range_mark(span: Span | None, top: float) -> str:
    """Return a range on the axis: a whisker and dots, in percent of the width that there will be."""
    grid = "".join(f'<line class="grid" x1="{place}%" x2="{place}%" y2="16"/>' for place in (0, 50, 100))
    return f'<svg class="range" width="100%" height="16" aria-hidden="true">{grid}{_marks(span, top)}</svg>'


def _marks(span: Span | None, top: float) -> str:
    if span is None:
        return ""
    marks = ""
    if span.high > span.low and span.low <= top:
        low, high = _place(span.low, top), _place(span.high, top)
        marks = f'<line class="whisker" x1="{low}%" x2="{high}%" y1="8" y2="8"/>'
        ends = (low, high) if span.high <= top else (low,)
        marks += "".join(f'<line class="whisker" x1="{x}%" x2="{x}%" y1="3" y2="13"/>' for x in ends)
    places = dict.fromkeys(_place(dot, top) for dot in span.dots if dot <= top)
    marks += "".join(f'<circle class="dot" cx="{x}%" cy="8" r="4"/>' for x in list(places)[:MOST_DOTS])
    if max(span.high, *span.dots, 0) > top:
        marks += '<svg x="100%" y="8" class="over"><path class="beyond" d="M-5-5l6 5-6 5"/></svg>'
    return marks


def _place(value: float, top: float) -> str:
    return f"{min(100.0, 100 * value / top):.4g}"
