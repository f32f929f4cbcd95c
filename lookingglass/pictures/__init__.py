"""Facts in, pictures out: figures, tables and SVG, the same for the live page, frozen answers and print."""

from __future__ import annotations

from typing import NamedTuple

from lookingglass.facts.common import Facts
from lookingglass.pictures import alone, hops, neighbors, paths, ping
from lookingglass.pictures.kinds import kind_of

OURS = "this router"


class Drawing(NamedTuple):
    """Hold markup, "" for none, in which everything is escaped; and the same as plain text, which is not."""

    figures: str = ""
    picture: str = ""
    words: str = ""


def draw(
    facts: Facts,
    is_over: bool,
    scale: float | None = None,
    planned: int | None = None,
    own_as: int | None = None,
) -> Drawing:
    """Draw facts; their keys tell what they are of.

    ``scale`` is the top of the axis (ms) that several answers share; ``planned``: probes that ping will send.
    ``own_as``: the router's.
    """
    kind = kind_of(facts)
    if kind == "ping" or (not kind and planned):
        echoes = ping.read(facts, is_over, planned)
        top = scale or ping.scale_of(facts)
        return Drawing(ping.figures_of(echoes), ping.picture(echoes, top), ping.words_of(echoes))
    if kind == "hops":
        found = hops.read(facts)
        top = scale or hops.scale_of(facts)
        return Drawing("", hops.picture(found, is_over, top), hops.words_of(found, is_over))
    if kind == "paths":
        known = paths.read(facts)
        return Drawing("", paths.picture(known, _own(own_as)), paths.words_of(known))
    if kind == "neighbors":
        peers = neighbors.read(facts)
        return Drawing("", neighbors.picture(peers), neighbors.words_of(peers))
    return Drawing()


def scale_of(facts: Facts) -> float | None:
    """Return the top of the axis (ms) that facts would have alone; None: they have none."""
    kind = kind_of(facts)
    return ping.scale_of(facts) if kind == "ping" else hops.scale_of(facts) if kind == "hops" else None


def draw_alone(facts: Facts, title: str, own_as: int | None = None) -> str | None:
    """Draw facts as an SVG document with its own styles, of ping and BGP paths; None: there is no picture."""
    kind = kind_of(facts)
    if kind == "ping":
        return alone.probes(ping.read(facts, True, None), ping.scale_of(facts), title)
    return alone.graphs(paths.read(facts), _own(own_as), title) if kind == "paths" else None


def _own(own_as: int | None) -> str:
    return f"AS{own_as}" if own_as else OURS
