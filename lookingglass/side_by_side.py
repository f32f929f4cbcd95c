"""A comparison as markup and as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lookingglass.alignment import ONLY_A, ONLY_B, SAME, Differences, SideCell, SideRow
from lookingglass.comparisons import Comparison
from lookingglass.pictures.markup import escape, host_name, name, plain, timestamp, when

WIDEST = 48  # characters of a column of text
LONGEST_SENTENCE = 2000  # characters; its parts are bounded
SIDES = {ONLY_A: "only-a", ONLY_B: "only-b", SAME: "same"}  # classes of rows, whose tints support the words


class Head(NamedTuple):
    """Say whose answer a side is."""

    letter: str  # A or B
    href: str
    title: str
    where: str  # router and place
    performed_at: str


def in_common(a: Head, b: Head) -> tuple[str, str]:
    """Return the title and the router of both, "" for what differs."""
    return (a.title if a.title == b.title else ""), (a.where if a.where == b.where else "")


# --- markup


def as_html(heads: tuple[Head, Head], comparison: Comparison, actions: str) -> str:
    """Return the sentence and a table; ``actions`` is markup.

    Roles are written out, for a phone lays rows out as blocks, and some browsers see no table then.
    """
    kind, found = comparison
    title, where = in_common(*heads)
    mark, verdict = ("=", "good") if found.is_same else ("≠", "lossy")
    place = f'<span class="place">{name(where)}</span>' if where else ""
    labelled = any(row.label for row in found.rows)
    gap = '<td role="cell"></td>'
    corner = '<td role="cell" class="corner"></td>' if labelled else ""
    sides = [_column(head, title, where, found) for head in heads]
    labels = ["", *(row.label for row in found.rows)]  # each is said once
    rows = "".join(
        _row(row._replace(label="") if row.label == before else row, labelled)
        for row, before in zip(found.rows, labels, strict=False)
    )
    return (
        '<article class="answer comparison"><header class="bar">'
        f"<h2>{name(title or f'{heads[0].title} and {heads[1].title}')}</h2> {place} "
        f'<strong class="verdict {verdict}"><span aria-hidden="true">{mark}</span>'
        f' {escape(found.sentence, LONGEST_SENTENCE)}</strong><p class="actions">{actions}</p></header>'
        f'<table role="table" class="sides {kind}"><thead role="rowgroup"><tr role="row">'
        f"{corner}{sides[0]}{gap}{sides[1]}</tr></thead>"
        f'<tbody role="rowgroup">{rows}</tbody></table></article>'
    )


def _column(side: Head, title: str, where: str, found: Differences) -> str:
    """Return the head of a side: what both have in common stands above."""
    told = [*([] if title else [side.title]), *([] if where else [side.where])]
    words = ", ".join(map(name, told))
    values = f' <span class="values">{escape(found.figures)}</span>' if found.figures else ""
    link, moment = f'<a href="{escape(side.href)}">{side.letter}</a>', timestamp(side.performed_at)
    return f'<th role="columnheader" scope="col">{link} {words}{" " if words else ""}{moment}{values}</th>'


def _row(row: SideRow, labelled: bool) -> str:
    if row.a is None and row.b is None:
        width = 4 if labelled else 3
        return (
            f'<tr role="row" class="folded"><td role="cell" colspan="{width}">{escape(row.change)}</td></tr>'
        )
    label = f'<th role="rowheader" scope="row">{escape(row.label)}</th>' if labelled else ""
    change = escape(row.change)
    if row.matters and row.change not in SIDES:
        change = f"<b>{change}</b>"
    kind = SIDES.get(row.change, "differs")
    middle = f'<td role="cell" class="change">{change}</td>'
    return f'<tr role="row" class="{kind}">{label}{_cell(row.a)}{middle}{_cell(row.b)}</tr>'


def _cell(cell: SideCell | None) -> str:
    if cell is None:
        return '<td role="cell"></td>'
    values = f' <span class="values">{escape(cell.figures)}</span>' if cell.figures else ""
    return f'<td role="cell" class="what">{host_name(cell.text)}{values}</td>'


# --- text


def as_text(heads: tuple[Head, Head], comparison: Comparison) -> str:
    """Return the sentence, and a table whose columns are as wide as they need to be."""
    found = comparison.found
    sides = [[each.letter, each.title, each.where, when(each.performed_at), each.href] for each in heads]
    rows = [[row.label, _text(row.a), row.change, _text(row.b)] for row in found.rows]
    sentence = f"{plain(found.sentence, LONGEST_SENTENCE)}."
    return "\n".join([*_columns(sides), "", sentence, "", *_columns(rows), ""])


def _text(cell: SideCell | None) -> str:
    return "" if cell is None else " ".join(filter(None, (plain(cell.text), plain(cell.figures))))


def _columns(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yield lines; a column that is empty in all rows is left out."""
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{plain(text):{width}}" for text, width in zip(row, widths, strict=True) if width]
        yield "  ".join(cells).rstrip()
