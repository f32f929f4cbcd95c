"""An answer on the page: heading, verdict, figures, picture, text. Live, streamed and kept ones are alike."""

from __future__ import annotations

import functools
import html
from typing import NamedTuple

from commands import Router
from lookingglass.pictures import Drawing
from lookingglass.pictures.markup import escape, name, timestamp
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


class Moment(NamedTuple):
    """Say when an answer was made that has ended."""

    performed_at: str  # as in the envelope
    runtime: float | None = None  # seconds
    age: int | None = None  # seconds since it was run for another visitor


def bar(heading: Heading, verdict: Verdict, moment: Moment | None = None, actions: str = "") -> str:
    """Return the part of a view that belongs to one viewer; ``actions`` is markup.

    ``moment``: None while it runs.
    """
    offered = f'<p class="actions">{actions}</p>' if actions else ""
    return (
        f'<header class="bar">{_asked(heading)} '
        f'<strong class="verdict {verdict.kind}" data-spoken="{escape(verdict.spoken)}">'
        f'<span aria-hidden="true">{escape(verdict.mark)}</span> {escape(verdict.words)}</strong>'
        f"{_when(moment)}{offered}</header>"
    )


def view(head: str, drawing: Drawing) -> str:
    """Return all but the text: what a ``view`` event replaces; ``head`` is a ``bar``."""
    return head + drawing.figures + drawing.picture


def panel(heading: Heading, shown: str, text: str) -> str:
    """Return the whole article of an answer; ``shown``, a view, is markup, text is not."""
    told = f"{OPEN_TEXT}{html.escape(text)}{CLOSE_TEXT}" if text else ""
    return f"{_begin(heading)}{_shown(shown)}{told}</article>"


def begin_streamed(heading: Heading) -> str:
    """Return the beginning of an article whose text comes first, bit by bit, with its HTML escaped.

    What was asked is told at once; with the view, which tells it too, styles hide it.
    """
    asked = f'<p class="asked"><strong>{escape(heading.title)}</strong> {name(heading.where)}</p>'
    return _begin(heading) + asked + OPEN_TEXT


def end_streamed(shown: str) -> str:
    """Return the end of an article whose text came first."""
    return f"{CLOSE_TEXT}{_shown(shown)}</article>"


@functools.lru_cache(1024)  # a live answer needs it several times a second
def _asked(heading: Heading) -> str:
    return f'<h2>{escape(heading.title)}</h2> <span class="place">{escape(heading.where)}</span>'


def _begin(heading: Heading) -> str:
    return f'<article class="answer" data-router="{escape(heading.router)}">'


def _shown(shown: str) -> str:
    return f'<div class="view">{shown}</div>'


def _when(moment: Moment | None) -> str:
    if not moment:
        return ""
    performed_at, runtime, age = moment
    took = "" if runtime is None else f", {runtime:.1f} s"
    took += "" if age is None else f", run {age} s ago"
    return f' <span class="when">{timestamp(performed_at)}{took}</span>'
