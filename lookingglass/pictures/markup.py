"""Text in, markup out: the one function that escapes, and the tables of all pictures."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import NamedTuple

from lookingglass.neutral import NEUTRAL

UNKNOWN = "\N{EN DASH}"  # in a cell
LONGEST = 320  # characters of a text; a host name has 253 at most
# A dot of a host name. Addresses and AS numbers are not cut off, for the script makes links of them.
DOT = re.compile(r"\.(?=[a-z])(?!as[0-9])", re.IGNORECASE)
# A line's end does no harm in a tool's text, but in a name; XML does not allow the last two.
INERT = {
    **NEUTRAL,
    0x09: 0x2409,
    0x0A: 0x240A,
    **dict.fromkeys([0xFFFE, 0xFFFF], 0xFFFD),
}


def plain(value: str, most: int = LONGEST) -> str:
    """Return a text that a terminal and a browser only show, cut where it is too long."""
    return (value if len(value) <= most else f"{value[: most - 1]}…").translate(INERT)


def escape(value: str, most: int = LONGEST) -> str:
    """Return a text for HTML and XML, for elements and attributes, inert and not too long."""
    return html.escape(plain(value, most))


def name(value: str) -> str:
    """Return a name that somebody else chose, and that may be written from right to left."""
    return f"<bdi>{escape(value)}</bdi>"


def host_name(value: str) -> str:
    """Return a host name, which breaks behind its dots where it is too long for a line."""
    return DOT.sub(".<wbr/>", name(value))


def when(moment: str) -> str:
    """Return a moment of ISO 8601 in UTC for people."""
    return f"{moment.replace('T', ' ').removesuffix('Z')} UTC"


def timestamp(moment: str) -> str:
    """Return the element of a moment."""
    return f'<time datetime="{escape(moment)}">{escape(when(moment))}</time>'


def unseen(words: str) -> str:
    """Return words for those who listen only."""
    return f'<span class="unseen">{escape(words)}</span>'


def figures(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values as a list in a line; what has no value is left out."""
    shown = "".join(
        f"<div><dt>{escape(key)}</dt> <dd>{escape(value)}</dd></div>" for key, value in pairs if value
    )
    return f'<dl class="figures">{shown}</dl>' if shown else ""


class Cell(NamedTuple):
    """Hold a cell: its markup, the kind that styles know, and what a phone writes before it."""

    markup: str
    kind: str = ""
    label: str = ""


def table(kind: str, label: str, heads: Iterable[Cell], rows: Iterable[Iterable[Cell] | str]) -> str:
    """Return a table whose rows begin with a header; a row that is a text spans them all.

    Roles are written out, for a phone lays rows out as blocks, and some browsers see no table then.
    """
    titles = list(heads)
    head = "".join(
        f'<th role="columnheader" scope="col"{_class(each.kind)}>{each.markup}</th>' for each in titles
    )
    body = "".join(_row(row, len(titles)) for row in rows)
    return (
        f'<div class="sheet"><table class="{kind}" role="table" aria-label="{escape(label)}">'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table></div>'
    )


def _row(row: Iterable[Cell] | str, width: int) -> str:
    if isinstance(row, str):
        return f'<tr role="row" class="folded"><td role="cell" colspan="{width}">{row}</td></tr>'
    first, *others = row
    label = f' data-label="{first.label}"' if first.label else ""
    cells = f'<th role="rowheader" scope="row"{_class(first.kind)}{label}>{first.markup}</th>'
    for each in others:
        label = f' data-label="{each.label}"' if each.label else ""
        cells += f'<td role="cell"{_class(each.kind)}{label}>{each.markup}</td>'
    return f'<tr role="row">{cells}</tr>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
