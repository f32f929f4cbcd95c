"""The answers of several routers as JSON, as text, or as server-sent events: bytes as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from commands import EVENTS, JSON, TEXT
from lookingglass.answers import HEARTBEAT, HTML, LEFT, Pieces, Start, event, note_of
from lookingglass.problems import SOON, Busy
from lookingglass.several import RouterAnswer, Several
from lookingglass.views import CROWD, Overview, Watching, common_scale
from lookingglass.waiting import Wait
from rfc8522 import envelope_of


def as_json(several: Several, start: Start) -> Pieces:
    """Yield the envelope of all envelopes at the end, or an error to nobody when the visitor has left."""
    for part in several.parts:
        part.is_live = False
    several.follow()
    while not (several.is_over or several.has_left):
        yield b""
        several.follow()
    status, envelope = several.outcome() if several.is_over else (503, envelope_of(Busy(LEFT)))
    body = json.dumps(envelope).encode() + b"\n"
    retry = {"Retry-After": str(SOON)} if status in {429, 503} else {}
    start(status, JSON, {"Content-Length": str(len(body)), **retry})
    yield body


def as_text(several: Several, start: Start) -> Pieces:
    """Yield router by router: a line with its name, its output, and a last line when that was cut short."""
    for part in several.parts:
        part.forgo_result()
    start(200, TEXT, {})
    for piece in in_turn(several):
        yield piece.encode()


def as_events(several: Several, start: Start) -> Pieces:
    """Yield what comes of each router, the envelope at its end, and that of all at the end."""
    start(200, EVENTS, {})
    yield b": tinytracer\n\n"
    watching = {part: Watching(part) for part in several.parts} if several.is_watched else {}
    untold = {part: _news_of(several, part, watching.get(part)) for part in several.parts}
    is_crowded = several.is_watched and len(several.parts) >= CROWD
    overview = Overview(several.parts) if is_crowded else None
    spoken = time.monotonic()  # when something was sent last
    while untold and not several.has_left:
        several.follow()
        now = time.monotonic()
        is_silent = True
        for part, news in list(untold.items()):
            pairs = next(news, None)
            if pairs is None:
                part.close()
                del untold[part]
            elif pairs:
                is_silent, spoken, several.record = False, now, part.record
                yield b"".join(event(name, data, part.router.name) for name, data in pairs)
        yield from _redrawn(several, {part: watching[part] for part in watching if part not in untold})
        if overview and (view := _of_all(several, overview, now, is_last=not untold)):
            is_silent, spoken = False, now
            yield event("view", view)
        if is_silent and now - spoken >= HEARTBEAT:
            spoken = now
            yield b": still running\n\n"
        elif is_silent and untold:
            yield b""
    if not several.has_left:
        yield event("result", json.dumps(several.outcome()[1]))


def _redrawn(several: Several, ended: Mapping[RouterAnswer, Watching]) -> Iterator[bytes]:
    """Yield the last views again of those routers whose axis others have changed since."""
    for part, watching in ended.items():
        if view := watching.last(*part.outcome(), common_scale(several.parts)):
            yield event("view", view, part.router.name)


def _of_all(several: Several, overview: Overview, now: float, is_last: bool) -> str:
    """Return the view of all routers if it is time for one, else ""; see to it that the next one comes."""
    if is_last or now >= overview.next:
        return overview.news()
    several.wake_at(overview.next)
    return ""


def in_turn(several: Several) -> Iterator[str]:
    """Yield the text of all routers in the order asked, each after a line with its name; "": nothing now."""
    for part in several.parts:
        yield f"== {part.router.name}\n"
        last = "\n"
        for text in text_of(several, part):
            last = text[-1:] or last
            yield text
        if note := note_of(part.envelope, part.age):
            yield f"\n--- {note}\n"
        elif last != "\n":
            yield "\n"
        part.close()


def text_of(several: Several, part: RouterAnswer) -> Iterator[str]:
    """Yield the text of one router until it is over, or the visitor has left; "": nothing now."""
    several.record = part.record
    while not several.has_left:
        several.follow()
        is_over = part.is_over
        text = part.read()
        if is_over and not text:
            return
        yield text


def _news_of(
    several: Several, part: RouterAnswer, watching: Watching | None
) -> Iterator[list[tuple[str, str]]]:
    """Yield the events of one router that there are since the last time, until it is over."""
    queued = Wait()
    known: dict[str, Any] = {}
    is_told = watching is None  # the name by which it is stopped
    is_over = False
    while not is_over:
        is_over = part.is_over
        pairs: list[tuple[str, str]] = []
        if part.queued != queued:
            queued = part.queued
            pairs += [("waiting", json.dumps(queued.document()))] if queued.place else []
        if text := part.read():
            pairs.append(("output", json.dumps({"text": text})))
        if (facts := part.facts()) is not known and facts and not is_over and part.seen:
            known = facts
            pairs.append(("facts", part.seen.run.quoted_facts()))
        if watching:
            scale = common_scale(several.parts)
            view = watching.last(*part.outcome(), scale) if is_over else watching.news(scale)
            pairs += [("view", view)] if view else []
        if is_over:
            envelope = {key: value for key, value in part.envelope.items() if key != "router"}
            pairs.append(("result", json.dumps(envelope)))  # an event names its router by itself
        if pairs and not is_told:
            is_told, (name, data) = True, pairs[0]
            pairs[0] = (name, f'{{"stop": "{part.name}", {data[1:]}')
        yield pairs


# By media type, as those of one router.
TOGETHER: dict[str, Callable[[Several, Start], Pieces]] = {
    JSON: as_json,
    TEXT: as_text,
    EVENTS: as_events,
    HTML: as_json,
}
