"""An answer on the page: heading, verdict, figures, picture, text. Live, streamed and kept ones are alike."""

from __future__ import annotations

import functools
import html
from typing import NamedTuple

from commands import Router
from lookingglass.pictures import Drawing
from lookingglass.pictures.markup import escape
from lookingglass.pictures.verdicts import Verdict
from lookingglass.results import place_of, title_of

OPEN_TEXT = '<details class="text" open><summary>Text</summary><pre tabindex="0">'
CLOSE_TEXT = "</pre></details>"


class Heading(NamedTuple):
    """Say what was asked, and where."""

    title: str  # command and target, as asked
    router: str
    place: str = ""  # "Berlin DE"

    @classmethod
    def of(cls, router: Router, command: str, target: str | None) -> Heading:
        """Return what was asked of a router, whose place its details may tell."""
        return cls(title_of(command, target), router.name, place_of(router.details))

    @property
    def where(self) -> str:
        """Return router and place."""
        return ", ".join(filter(None, (self.router, self.place)))


def view(
    heading: Heading,
    verdict: Verdict,
    drawing: Drawing,
    performed_at: str | None = None,
    runtime: float | None = None,
) -> str:
    """Return all but the text and the actions: what a ``view`` event replaces.

    ``performed_at`` and ``runtime`` (seconds) are those of the envelope, None while it runs.
    """
    return bar(heading, verdict, performed_at, runtime) + drawing.figures + drawing.picture


def bar(
    heading: Heading,
    verdict: Verdict,
    performed_at: str | None = None,
    runtime: float | None = None,
    age: int | None = None,
) -> str:
    """Return the part of a view that belongs to one viewer; ``age``: seconds since it was run for another."""
    return (
        f'<header class="bar">{_asked(heading)} '
        f'<strong class="verdict {verdict.kind}" data-spoken="{escape(verdict.spoken)}">'
        f'<span aria-hidden="true">{escape(verdict.mark)}</span> {escape(verdict.words)}</strong>'
        f"{_when(performed_at, runtime, age)}</header>"
    )


def panel(heading: Heading, shown: str, text: str, actions: str = "") -> str:
    """Return the whole article of an answer; ``shown``, a view, and ``actions`` are markup, text is not."""
    return f"{_begin(heading)}{_shown(shown, actions)}{OPEN_TEXT}{html.escape(text)}{CLOSE_TEXT}</article>"


def begin_streamed(heading: Heading) -> str:
    """Return the beginning of an article whose text comes first, bit by bit, with its HTML escaped."""
    return _begin(heading) + OPEN_TEXT


def end_streamed(shown: str, actions: str = "") -> str:
    """Return the end of an article whose text came first."""
    return f"{CLOSE_TEXT}{_shown(shown, actions)}</article>"


@functools.lru_cache(1024)  # a live answer needs it several times a second
def _asked(heading: Heading) -> str:
    return f'<h2>{escape(heading.title)}</h2> <span class="place">{escape(heading.where)}</span>'


def _begin(heading: Heading) -> str:
    return f'<article class="answer" data-router="{escape(heading.router)}">'


def _shown(shown: str, actions: str) -> str:
    return f'<div class="view">{shown}</div><p class="actions">{actions}</p>'


def _when(performed_at: str | None, runtime: float | None, age: int | None) -> str:
    if not performed_at:
        return ""
    shown = performed_at.replace("T", " ").replace("Z", " UTC")
    took = "" if runtime is None else f", {runtime:.1f} s"
    took += "" if age is None else f", run {age} s ago"
    return f' <span class="when"><time datetime="{escape(performed_at)}">{escape(shown)}</time>{took}</span>'
