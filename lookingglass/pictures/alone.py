"""Pictures that stand alone: SVG documents with their own styles, light and dark."""

from __future__ import annotations

import base64
import functools
import hashlib
import re

from lookingglass.pictures import graph, paths, ping
from lookingglass.pictures.markup import escape
from lookingglass.resources import resource

EDGE = 12  # pixels
HEAD = 28  # pixels, for the title
LARGEST = 960  # pixels that slots share, if they have more than the least
# The page's styles have what a picture needs between such comments.
PART = re.compile(r"/\* (colours|shapes) \*/(.*?)/\* end of \1 \*/", re.DOTALL)


@functools.cache
def style() -> str:
    """Return the styles of a document."""
    parts = "".join(match[2] for match in PART.finditer(resource("style.css").decode()))
    return re.sub(r"\s+", " ", parts).strip()


@functools.cache
def style_source() -> str:
    """Return what a Content-Security-Policy names in style-src to allow these styles."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()}'"


def probes(echoes: ping.Echoes, top: float | None, title: str) -> str | None:
    """Return the strip of a ping."""
    if not echoes.slots:
        return None
    count, left = len(echoes.slots), ping.axis_width(top)
    inner = count * max(ping.NARROW, min(ping.WIDE, LARGEST // count))
    height = ping.ABOVE + ping.HEIGHT + ping.BELOW
    shapes = ping.shapes(echoes.slots, top)
    strip = (
        f'<svg x="0" y="{HEAD}" width="{left}" height="{height}">{ping.axis(top)}</svg>'
        f'<svg x="{left}" y="{HEAD}" width="{inner}" height="{height}">{shapes}</svg>'
    )
    words = ping.words_of(echoes)
    below = f'<text class="minor" x="0" y="{HEAD + height + 12}">{escape(words)}</text>'
    return _document(max(left + inner, 6 * len(words)), HEAD + height + 18, title, words, strip + below)


def graphs(known: list[paths.Path], own: str, title: str) -> str | None:
    """Return the graph of each prefix, one below the other."""
    drawn, below, wide = "", HEAD, 0
    routes = paths.routes_of(known)
    for prefix, group in routes[: paths.MOST_GRAPHS]:
        shapes = graph.draw(group, own)
        if shapes is None:
            continue
        if len(routes) > 1:
            drawn += f'<text class="minor" x="2" y="{below + 10}">{escape(prefix)}</text>'
            below += 16
        drawn += f'<svg y="{below}" width="{shapes.width}" height="{shapes.height}">{shapes.markup}</svg>'
        below += shapes.height + EDGE
        wide = max(wide, shapes.width)
    return _document(wide, below - EDGE, title, paths.words_of(known), drawn) if drawn else None


def _document(width: int, height: int, title: str, words: str, content: str) -> str:
    wide, tall = max(width, 7 * len(title)) + 2 * EDGE, height + 2 * EDGE
    told = escape(words.replace("\n", "; "))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}" viewBox="0 0 {wide} {tall}" '
        f'role="img"><title>{escape(title)}</title><desc>{told}</desc><style>{style()}</style>'
        f'<rect class="paper" width="{wide}" height="{tall}"/><svg x="{EDGE}" y="{EDGE}">'
        f'<text class="strong head" y="14">{escape(title)}</text>{content}</svg></svg>'
    )
