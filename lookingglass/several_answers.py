"""The answers of several routers as JSON, as text, or as server-sent events: bytes as they come."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping

from commands import EVENTS, JSON, TEXT
from lookingglass.answers import HEARTBEAT, HTML, LEFT, News, Pieces, Start, Teller, event, note_of
from lookingglass.problems import SOON, Busy
from lookingglass.several import RouterAnswer, Several
from lookingglass.views import CROWD, Overview, Watching, common_scale
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
    scale = functools.partial(common_scale, several.parts)
    watching = {part: Watching(part, scale) for part in several.parts} if several.is_watched else {}
    untold = {part: _events_of(part, watching.get(part)) for part in several.parts}
    is_crowded = several.is_watched and len(several.parts) >= CROWD
    overview = Overview(several.parts) if is_crowded else None
    spoken = time.monotonic()  # when something was sent last
    while untold and not several.has_left:
        several.follow()
        now = time.monotonic()
        is_silent = True
        for part, events in list(untold.items()):
            told = next(events, None)
            if told is None:
                part.close()
                del untold[part]
            elif told:
                is_silent, spoken, several.record = False, now, part.record
                yield told
        yield from _redrawn({part: watching[part] for part in watching if part not in untold})
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


def _redrawn(ended: Mapping[RouterAnswer, Watching]) -> Iterator[bytes]:
    """Yield the last views again of those routers whose axis others have changed since."""
    for part, watching in ended.items():
        if view := watching.last(*part.outcome()):
            yield event("view", view, router=part.router.name)


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


def _events_of(part: RouterAnswer, watching: Watching | None) -> Iterator[bytes]:
    """Yield the events of one router that there are since the last time, b"" for none, until it is over."""
    stop = {"stop": part.name} if watching else {}  # is told once, with the first event
    for news in _news_to_the_end(part, watching):
        told = b""
        for name, data in news.events():
            told += event(name, data, router=part.router.name, **stop)
            stop = {}
        yield told


def _news_to_the_end(part: RouterAnswer, watching: Watching | None) -> Iterator[News]:
    """Yield what there is to tell of one router; its envelope comes with the last of it."""
    going_on = (part.read() for _ in iter(lambda: part.is_over, True))
    yield from map(Teller(part, watching), going_on)
    status, envelope = part.outcome()
    view = watching.last(status, envelope) if watching else ""
    own = {key: value for key, value in envelope.items() if key != "router"}  # which the event names
    yield News(part.read(), view=view, result=json.dumps(own))


# By media type, as those of one router.
TOGETHER: dict[str, Callable[[Several, Start], Pieces]] = {
    JSON: as_json,
    TEXT: as_text,
    EVENTS: as_events,
    HTML: as_json,
}
