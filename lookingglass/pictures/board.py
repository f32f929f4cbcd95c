"""One row for each of many routers, on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lookingglass.facts.common import Facts
from lookingglass.pictures import scale_of
from lookingglass.pictures.axis import Span, ms, percent, range_head, range_mark, tick
from lookingglass.pictures.markup import Cell, escape, host_name, table, unseen
from lookingglass.pictures.verdicts import Summary, Verdict, beside_loss, summary

MOST = 64  # routers


class Row(NamedTuple):
    """Say what is known of one router's answer."""

    router: str
    place: str  # "Berlin DE", "" for none
    verdict: Verdict
    facts: Facts
    is_over: bool


def board(rows: Sequence[Row]) -> str:
    """Return the table; its axis is above all ranges."""
    shown = rows[:MOST]
    summaries = [summary(row.facts, row.is_over) for row in shown]
    tops = [top for row in shown if (top := scale_of(row.facts)) is not None]
    top = max(tops, default=0.0)
    heads = [Cell("Router", "router"), Cell("State", "standing")]
    if top:
        axis = f"{unseen(f'Range on an axis from 0 to {tick(top)} ms')} {range_head(top)}"
        heads += [Cell("Lost", "loss"), Cell("Avg", "avg"), Cell("Max", "worst"), Cell(axis, "axis")]
    cells = (_cells(row, found, top) for row, found in zip(shown, summaries, strict=True))
    return table("board", "Routers", heads, cells)


def _cells(row: Row, found: Summary, top: float) -> list[Cell]:
    standing = row.verdict if found.lost is None else beside_loss(row.verdict)
    mark = f'<span aria-hidden="true">{standing.mark}</span>'
    cells = [
        Cell(f"<span>{host_name(row.router)}</span> <small>{escape(row.place)}</small>", "router"),
        Cell(f"{mark} {escape(standing.words)}", f"standing verdict {standing.kind}"),
    ]
    if not top:
        return cells
    lost = "" if found.lost is None else percent(found.lost, 100)
    span = None if found.avg is None else Span(found.best or 0.0, found.worst or 0.0, (found.avg,))
    return [
        *cells,
        Cell(lost, "loss bad" if found.lost else "loss"),
        Cell("" if found.avg is None else ms(found.avg), "avg"),
        Cell("" if found.worst is None else ms(found.worst), "worst"),
        Cell(range_mark(span, top) if span else "", "axis"),
    ]
