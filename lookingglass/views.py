"""Views: what the page shows of an answer but its text, for whoever watches it."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from commands import Router
from lookingglass import panels
from lookingglass.facts.common import Facts
from lookingglass.journal import Record
from lookingglass.output import NOT_DRAWN, Drawn
from lookingglass.panels import Heading
from lookingglass.pictures import verdicts
from lookingglass.pictures.board import Row, board
from lookingglass.pictures.markup import escape
from lookingglass.runs import Viewer
from lookingglass.waiting import Wait
from rfc8522 import Envelope

CROWD = 5  # routers, from which on there is a view of all of them together
OVERVIEW = 0.125  # seconds between two views of all routers, at least


class Watched(Protocol):
    """An answer, or what one of several routers answers."""

    @property
    def router(self) -> Router: ...
    @property
    def record(self) -> Record: ...
    @property
    def queued(self) -> Wait: ...
    @property
    def age(self) -> int | None: ...
    @property
    def seen(self) -> Viewer | None: ...
    def facts(self) -> Facts: ...


class OneOfMany(Watched, Protocol):
    """What one of several routers answers."""

    @property
    def is_over(self) -> bool: ...
    def outcome(self) -> tuple[int, Envelope]: ...


class Watching:
    """Make the views of an answer as the data of events: objects in JSON.

    Figures and picture are the Run's, and quoted once for all. Heading and verdict are the viewer's; viewers
    who have the same in both get the same string, which is made once.
    """

    def __init__(self, watched: Watched, scale: Callable[[], float | None] = lambda: None) -> None:
        """Watch an answer; ``scale`` returns the top of the axis (ms) that it shares with others."""
        self._watched = watched
        self._scale = scale
        self._queued = Wait()
        self._drawn: Drawn | None = None  # while it runs
        self._last: Drawn | None = None  # at its end

    def news(self) -> str:
        """Return a view if there is anything to see that was not there before, else ""; not of the end."""
        queued, viewer = self._watched.queued, self._watched.seen
        if queued.place:
            return self._waiting(queued)
        if viewer is None or viewer.is_over:
            return ""
        drawn = viewer.run.drawn(False, self._scale())
        if drawn is self._drawn:
            return ""
        self._queued, self._drawn = queued, drawn
        seconds, ceiling = viewer.times()
        return viewer.run.once(_going_on, self._heading, drawn, round(seconds, 1), round(ceiling))

    def last(self, status: int, envelope: Envelope) -> str:
        """Return the view of an answer that has ended, "" if it was there before."""
        drawn = _last_drawn(self._watched, self._scale())
        if drawn is self._last:
            return ""
        self._last = drawn
        data = {name: value for name, value in envelope.get("data", {}).items() if name != "result"}
        common = {**envelope, "data": data}  # all but the link, which is each viewer's own
        of = self._heading, status, common, self._watched.age, drawn
        seen = self._watched.seen
        return seen.run.once(_ended, *of) if seen else _ended(*of)

    def _waiting(self, queued: Wait) -> str:
        if queued == self._queued:
            return ""
        self._queued, self._drawn = queued, None
        verdict = verdicts.waiting(queued.place, queued.seconds)
        return _in_json(panels.bar(self._heading, verdict) + _why(queued), NOT_DRAWN)

    @functools.cached_property
    def _heading(self) -> Heading:
        return heading_of(self._watched)


class Overview:
    """Make the views of all routers' answers together: a board with one row each, as the data of events."""

    def __init__(self, parts: Sequence[OneOfMany]) -> None:
        self._parts = parts
        self._known: list[tuple[Wait, bool, Facts]] = []
        self.next = 0.0  # when there may be another one, by the monotonic clock

    def news(self) -> str:
        """Return a view if there is anything to see that was not there before, else ""."""
        found = [(part.queued, part.is_over, part.facts()) for part in self._parts]
        if found == self._known:
            return ""
        self._known, self.next = found, time.monotonic() + OVERVIEW
        return json.dumps({"html": overview(self._parts)})


def overview(parts: Sequence[OneOfMany]) -> str:
    """Return the board of all routers as markup."""
    first = next((part.queued for part in parts if part.queued.place and not part.is_over), Wait())
    return board(list(map(_row, parts))) + _why(first)


def common_scale(parts: Sequence[OneOfMany]) -> float | None:
    """Return the top of the axis (ms) that some answers share; None: each has its own, or none."""
    if len(parts) >= CROWD:
        return None
    tops = (part.seen.run.top() for part in parts if part.seen)
    return max((top for top in tops if top is not None), default=None)


def heading_of(watched: Watched) -> Heading:
    """Return what was asked, as far as it was understood."""
    record = watched.record
    return Heading.of(watched.router, record.command or record.asked, record.target)


def last_bar(heading: Heading, status: int, envelope: Envelope, age: int | None, actions: str = "") -> str:
    """Return the bar of an answer that has ended; ``age``: see Watched."""
    data = envelope.get("data", {})
    verdict = verdicts.of_outcome(status, envelope)
    has_run = not {"output", "answers"}.isdisjoint(data)
    moment = panels.Moment(data["performed_at"], data["runtime"], age) if has_run else None
    return panels.bar(heading, verdict, moment, actions)


def last_view(
    watched: Watched, status: int, envelope: Envelope, actions: str = "", scale: float | None = None
) -> str:
    """Return the view of an answer that has ended, as markup."""
    drawing = _last_drawn(watched, scale).drawing
    bar = last_bar(heading_of(watched), status, envelope, watched.age, actions)
    return panels.view(bar, drawing)


def _row(part: OneOfMany) -> Row:
    if part.is_over:
        standing = verdicts.of_outcome(*part.outcome())
    elif part.queued.place:
        standing = verdicts.waiting(part.queued.place, part.queued.seconds)
    elif part.seen:
        standing = verdicts.running(part.facts(), *part.seen.times())
    else:
        standing = verdicts.verdict("waiting", "looks up the name")
    heading = heading_of(part)
    return Row(heading.router, heading.place, standing, part.facts(), part.is_over)


def _why(queued: Wait) -> str:
    return f'<p class="why">{escape(queued.why)}</p>' if queued.why else ""


def _last_drawn(watched: Watched, scale: float | None) -> Drawn:
    return watched.seen.run.drawn(True, scale) if watched.seen else NOT_DRAWN


def _going_on(heading: Heading, drawn: Drawn, seconds: float, ceiling: float) -> str:
    return _in_json(panels.bar(heading, verdicts.going_on(drawn.lost, seconds, ceiling)), drawn)


def _ended(heading: Heading, status: int, envelope: Envelope, age: int | None, drawn: Drawn) -> str:
    return _in_json(last_bar(heading, status, envelope, age), drawn)


def _in_json(bar: str, drawn: Drawn) -> str:
    return f'{{"html": "{json.dumps(bar)[1:-1]}{drawn.quoted}"}}'
