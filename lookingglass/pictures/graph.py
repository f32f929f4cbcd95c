"""AS paths to a prefix in, a tree of their common endings out: our AS at the left, the origin at the right.

Every line from the left to the right is one of the paths: two paths share a box only where all that follows
is the same, prepends too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lookingglass.pictures.markup import escape, plain

MOST_ROWS = 24
MOST_COLUMNS = 24
MOST_MEMBERS = 8  # of a set
BOX, GAP = 72, 34  # pixels: three boxes fit on a phone
TALL, ROW = 36, 46  # pixels: of a box, and from one row to the next
EDGE = 2  # pixels around the picture, for lines are as wide
BEND = 13  # pixels before a box, where lines turn to it: twice with a radius of 6
TIMES = "\N{MULTIPLICATION SIGN}"
ROOM = 11  # characters of the second line of a box

As = int | tuple[int, ...]  # a number or a set
Ases = tuple[As, ...]


class Route(NamedTuple):
    """Hold an AS path, and whether it is the best."""

    ases: Ases
    is_best: bool


class Shapes(NamedTuple):
    """Hold a drawn graph."""

    markup: str
    width: int
    height: int
    words: str
    more: int  # routes that found no place


class Node:
    """Hold an AS of the tree, or ours (None) at the beginning of one path, and what leads to it."""

    def __init__(self, asn: As | None, times: int = 1) -> None:
        self.asn = asn
        self.times = times  # how often the AS to its right stands behind it
        self.row = 0
        self.is_best = False
        self.sources: list[Node] = []

    def source(self, asn: As, times: int) -> Node:
        """Return the AS to its left, which paths share that have the same one there."""
        for node in self.sources:
            if (node.asn, node.times) == (asn, times):
                return node
        self.sources.append(Node(asn, times))
        return self.sources[-1]

    def depth(self) -> int:
        """Return how many ASes there are to its left, ours too."""
        return 1 + max(node.depth() for node in self.sources) if self.sources else 0

    def place(self, rows: Iterator[int]) -> int:
        """Give each path a row of its own, in their order; an AS stands in the first of its rows."""
        placed = [node.place(rows) for node in self.sources]
        self.row = placed[0] if placed else next(rows)
        return self.row


def label(asn: As) -> str:
    """Return an AS number or a set as routers print it."""
    if isinstance(asn, int):
        return str(asn)
    more = f",… {len(asn) - MOST_MEMBERS} more" if len(asn) > MOST_MEMBERS else ""
    return f"{{{','.join(map(str, asn[:MOST_MEMBERS]))}{more}}}"


def draw(given: list[Route], own: str) -> Shapes | None:
    """Return the picture; None: no path leaves our AS."""
    routes = [route for route in given if route.ases and len(_runs(route.ases)) <= MOST_COLUMNS][:MOST_ROWS]
    if not routes:
        return None
    end = _grow(routes)
    columns = end.depth() - 1
    layers: dict[str, list[str]] = {"line": [], "line best": [], "box": [], "pill": []}
    height = 2 * EDGE + (len(routes) - 1) * ROW + TALL
    layers["box"].append(_box((EDGE, EDGE, height - 2 * EDGE), (own, ""), own, "ours"))
    for origin in end.sources:
        _draw_node(origin, columns, layers)
    return Shapes(
        # The best line stands above the others, boxes above all. Text browsers show the words of all, so that
        # boxes come from the left to the right.
        " ".join(itertools.chain(*layers.values())),
        2 * EDGE + BOX + columns * (BOX + GAP),
        height,
        words(routes, own),
        len(given) - len(routes),
    )


def words(routes: list[Route], own: str) -> str:
    """Return what a graph shows."""
    told = (
        f"{' '.join(map(label, route.ases))}{' is the best' if route.is_best else ''}" for route in routes[:4]
    )
    more = f", and {len(routes) - 4} more" if len(routes) > 4 else ""
    return f"{len(routes)} path{'s' if len(routes) > 1 else ''} from {own}: {', '.join(told)}{more}"


def _runs(ases: Ases) -> list[tuple[As, int]]:
    """Return each AS with how often it stands in a row."""
    return [(asn, len(list(group))) for asn, group in itertools.groupby(ases)]


def _grow(routes: Iterable[Route]) -> Node:
    """Return what the origins lead to, with all rows."""
    end = Node(None)
    for route in routes:
        node, times = end, 1
        for asn, count in reversed(_runs(route.ases)):
            node, times = node.source(asn, times), count
            node.is_best |= route.is_best
        ours = Node(None, times)
        ours.is_best = route.is_best
        node.sources.append(ours)
    end.place(itertools.count())
    return end


def _draw_node(node: Node, column: int, layers: Mapping[str, list[str]]) -> None:
    """Draw all to the left of an AS, what leads from there, and the AS."""
    if node.asn is None:
        return
    x = EDGE + column * (BOX + GAP)
    for source in node.sources:
        start = EDGE + BOX if source.asn is None else x - GAP
        line = "line best" if source.is_best else "line"
        layers[line].append(f'<path class="{line}" d="{_course(start, source.row, x, node.row)}"/>')
        if source.times > 1:
            layers["pill"].append(_pill(start + 4, EDGE + source.row * ROW + TALL // 2, source.times))
        _draw_node(source, column - 1, layers)
    kind = "as best" if node.is_best else "as"
    lines = _lines(node.asn)
    told = lines[0] if isinstance(node.asn, int) else label(node.asn)
    layers["box"].append(_box((x, EDGE + node.row * ROW, TALL), lines, told, kind))


def _course(start: int, row: int, end: int, end_row: int) -> str:
    """Return the course of a line: along its own row, and up to the box's row just before the box."""
    y, end_y = (EDGE + each * ROW + TALL // 2 for each in (row, end_row))
    if y == end_y:
        return f"M{start} {y}H{end}"
    return f"M{start} {y}H{end - BEND}q6 0 6-6V{end_y + 6}q0-6 6-6H{end}"


def _pill(x: int, y: int, times: int) -> str:
    words = f"{TIMES}{times}"
    width = 6 + 7 * len(words)
    return (
        f'<rect class="pill" x="{x}" y="{y - 9}" width="{width}" height="18" rx="9"/>'
        f'<text class="mid strong" x="{x + width / 2:g}" y="{y + 4}">{words}</text>'
    )


def _lines(asn: As) -> tuple[str, str]:
    """Return the two lines of a box."""
    if isinstance(asn, int):
        return f"AS{asn}", ""
    return f"set of {len(asn)}", f"{asn[0]}, …" if len(asn) > 1 else label(asn)


def _box(place: tuple[int, int, int], lines: tuple[str, str], told: str, kind: str) -> str:
    """Return a box with lines of text, and what a pointer tells; ``place``: x, y and height."""
    first, second = lines
    x, y, height = place
    middle = x + BOX // 2
    top = y + height // 2 + (-2 if second else 4)
    size = " long" if len(first) > 10 else ""
    words = f'<text class="mid{size}" x="{middle}" y="{top}">{escape(_cut(first, 14))}</text>'
    if second:
        words += f' <text class="mid minor" x="{middle}" y="{top + 13}">{escape(_cut(second))}</text>'
    return (
        f"<g><title>{escape(told)}</title>"
        f'<rect class="{kind}" x="{x}" y="{y}" width="{BOX}" height="{height}" rx="5"/>{words}</g>'
    )


def _cut(words: str, room: int = ROOM) -> str:
    shown = plain(words)
    return shown if len(shown) <= room else f"{shown[: room - 1]}…"
