"""An answer as JSON, as text, or as server-sent events: bytes as they come."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from http.client import responses
from typing import Any, NamedTuple

import rfc8522
from commands import EVENTS, JSON, SVG, TEXT
from lookingglass.facts.common import Facts
from lookingglass.glass import Answer
from lookingglass.headers import ALONE, FRESH, LIVE, SECURITY
from lookingglass.loop import Loop
from lookingglass.pictures import draw_alone
from lookingglass.pictures.alone import style_source
from lookingglass.problems import SOON, Busy
from lookingglass.several import Several
from lookingglass.views import Watched, Watching, heading_of
from lookingglass.waiting import Wait
from rfc8522 import Envelope, Problem

HEARTBEAT = 15.0  # seconds between signs of life in server-sent events
HTML = "text/html"
LEFT = "The visitor has left."

Pieces = Generator[bytes, None, None]  # b"": nothing now
Start = Callable[[int, str, Mapping[str, str]], None]  # status, media type, more headers
WSGIStart = Callable[[str, list[tuple[str, str]]], Any]
Environ = dict[str, Any]


class Reply:
    """Hold a whole answer; it is a WSGI application."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        """Hold it; ``body`` None: only HEAD is answered, and nobody knows how long the body would be."""
        length = {} if status == 204 or body is None else {"Content-Length": str(len(body))}
        self._status = status_line(status)
        self._headers = [*{**headers, **length}.items()]
        self._body = body or b""

    def __call__(self, environ: Environ, start_response: WSGIStart) -> list[bytes]:
        """Send it; HEAD gets no body."""
        body = self.send(start_response)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def send(self, start_response: WSGIStart) -> list[bytes]:
        """Send all of it."""
        start_response(self._status, self._headers[:])
        return [self._body]


class Body:
    """Iterate over the bytes of an answer in progress, which calls ``start_response`` with the first of them.

    Any WSGI host can iterate: that blocks its thread, and ends when ``connection`` tells that the client has
    gone. Our own server calls ``pull`` instead, which never waits, whenever ``on_news`` was notified.
    """

    def __init__(self, answer: Answer | Several, pieces: Pieces, loop: Loop, connection: int | None) -> None:
        self._answer = answer
        self._pieces = pieces
        self._loop = loop
        self._connection = connection
        if connection is not None:
            with contextlib.suppress(OSError, ValueError):  # then a silent client is noticed later
                loop.watch(connection, select.EPOLLRDHUP, self._on_hangup)

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        while not (piece := self._counted(next(self._pieces))):
            self._answer.wait(HEARTBEAT)
        return piece

    @property
    def is_waiting(self) -> bool:
        """Tell whether ``pull`` has returned all that there was, so that the rest comes with news."""
        return self._answer.is_waiting

    def pull(self) -> bytes | None:
        """Return what there is now, b"" for nothing, None at the end."""
        piece = next(self._pieces, None)
        return None if piece is None else self._counted(piece)

    def on_news(self, notify: Callable[[], None]) -> None:
        """Have ``notify`` called, in any thread, when ``pull`` may have something."""
        self._answer.notify = notify

    def close(self) -> None:
        """End the answer, at its end or before; a WSGI server calls this also when it never began."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._loop.forget(connection)
            os.close(connection)
        self._answer.close()
        with contextlib.suppress(ValueError):  # another thread is in it: then it ends there
            self._pieces.close()

    def _on_hangup(self, events: int) -> None:
        """Let the answer end, if it is this client: its number may have been another's."""
        poll = select.poll()
        if self._connection is not None:
            poll.register(self._connection, select.POLLRDHUP)
            if poll.poll(0):
                self._loop.forget(self._connection)  # else it is told again at once, and again
                self._answer.leave()

    def _counted(self, piece: bytes) -> bytes:
        self._answer.record.size += len(piece)
        return piece


def status_line(status: int) -> str:
    """Return what WSGI wants: the status and its reason phrase."""
    return f"{status} {responses.get(status, 'Unknown')}"


def json_reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return JSON that is made for this request."""
    body = json.dumps(value).encode() + b"\n"
    return Reply(status, {"Content-Type": JSON, **SECURITY, **FRESH, **(headers or {})}, body)


def problem_reply(problem: Problem, headers: Mapping[str, str]) -> Reply:
    """Return the envelope of an error (RFC 8522 section 2.3.3), with the headers of its resource."""
    every = {**headers, **problem_headers(problem)}
    return json_reply(rfc8522.envelope_of(problem), problem.status, every)


def problem_headers(problem: Problem) -> dict[str, str]:
    """Return the headers that go with an error."""
    retry = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
    return {**problem.headers, **retry}


def starter(start_response: WSGIStart, answer: Answer | Several, more: Mapping[str, str]) -> Start:
    """Return what starts an answer in progress; ``more`` headers go with it."""

    def start(status: int, media: str, headers: Mapping[str, str]) -> None:
        kind = media if media == JSON else f"{media}; charset=utf-8"
        age = {} if answer.age is None else {"Age": str(answer.age)}
        every = {"Content-Type": kind, **SECURITY, **FRESH, **LIVE, **more, **age, **headers}
        start_response(status_line(status), [*every.items()])

    return start


def once_begun(
    answer: Answer | Several,
    pieces: Pieces,
    refuse: Callable[[Problem], Iterable[bytes]],
    tells_place: bool = False,
) -> Pieces:
    """Yield the pieces of an answer, or what ``refuse`` makes of the Problem that keeps it from beginning.

    Nothing is sent while a name is looked up, so that the status can say what is wrong with it; nor while it
    waits in the queue, unless the pieces tell its place there.
    """
    try:
        while not (answer.begin() or (tells_place and answer.queued.place)):
            if answer.has_left:
                raise Busy(LEFT)
            yield b""
    except Problem as problem:
        yield from refuse(problem)
    else:
        yield from pieces


class Following:
    """Iterate over the new text of an answer that has begun, "" for nothing now; then it has ended."""

    status: int
    envelope: Envelope
    headers: Mapping[str, str]

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[str]:
        answer = self._answer
        try:
            while (text := answer.read()) is not None:
                yield text
            if answer.seen is None:  # it has waited in the queue
                raise Busy(LEFT)
            self.status, self.envelope = answer.outcome()
            self.headers = {"Retry-After": str(SOON)} if self.status == 503 else {}
        except Problem as problem:
            self.status, self.envelope = problem.status, rfc8522.envelope_of(problem)
            self.headers = problem_headers(problem)


def as_json(answer: Answer, start: Start) -> Pieces:
    """Yield the envelope at the end."""
    end = yield from _awaited(answer)
    yield from _whole(start, end.status, JSON, end.envelope, end.headers)


def as_text(answer: Answer, start: Start) -> Pieces:
    """Yield the output itself, and a last line when it was cut short or is told again."""
    answer.keep = None  # there is no place to tell where it would be kept
    start(200, TEXT, {})
    following = Following(answer)
    for text in following:
        yield text.encode()
    if not answer.has_left and (note := note_of(following.envelope, answer.age)):
        yield f"\n--- {note}\n".encode()


def as_events(answer: Answer, start: Start) -> Pieces:
    """Yield the events of an answer, and signs of life where there are none."""
    start(200, EVENTS, {})
    yield b": tinytracer\n\n"
    make = functools.partial(answer.once, _events, answer.router.name)
    yield from map(Pulse(), map(make, _news_to_the_end(answer)))  # nothing is kept here until there is more


class Pulse:
    """Pass events on, and give signs of life where there have been none for some time."""

    def __init__(self) -> None:
        self._spoken = time.monotonic()  # when something was sent last

    def __call__(self, data: bytes) -> bytes:
        """Return what is to be sent."""
        now = time.monotonic()
        if not data and now - self._spoken >= HEARTBEAT:
            data = b": still running\n\n"
        if data:
            self._spoken = now
        return data


class News(NamedTuple):
    """Hold what there is to tell at once, by the names of its events: text, and objects in JSON."""

    output: str = ""
    waiting: str = ""
    facts: str = ""
    view: str = ""
    result: str = ""

    def events(self) -> Iterator[tuple[str, str]]:
        """Yield names and data of the events that tell it."""
        told = self._replace(output=json.dumps({"text": self.output})) if self.output else self
        return ((name, data) for name, data in zip(self._fields, told, strict=True) if data)


class Teller:
    """Find what there is to tell of an answer since the last time, but its end.

    A viewer who watches gets views as well: one at once. Viewers of a Run who have seen the same so far get
    the same strings.
    """

    __slots__ = ("_answer", "_known", "_queued", "_watching")  # there is one for each viewer

    def __init__(self, answer: Watched, watching: Watching | None) -> None:
        self._answer = answer
        self._watching = watching
        self._known: Facts = {}
        self._queued = Wait()

    def __call__(self, text: str) -> News:
        """Return the news, with new text."""
        answer = self._answer
        waiting = quoted = ""
        if answer.queued != self._queued:
            self._queued = answer.queued
            waiting = json.dumps(self._queued.document()) if self._queued.place else ""
        if (facts := answer.facts()) is not self._known and facts and answer.seen:
            self._known, quoted = facts, answer.seen.run.quoted_facts()
        return News(text, waiting, quoted, self._watching.news() if self._watching else "")


def _news_to_the_end(answer: Answer) -> Iterator[News]:
    """Yield what there is to tell of an answer; the last view and the envelope are the last of it."""
    watching = Watching(answer) if answer.is_watched else None
    following = Following(answer)
    yield from map(Teller(answer, watching), following)
    if not answer.has_left:
        last = watching.last(following.status, following.envelope) if watching else ""
        yield News(view=last, result=json.dumps(following.envelope))


def _events(router: str, news: News) -> bytes:
    """Return News of the only router as server-sent events: only what waits names it."""
    named = {"waiting": {"router": router}}
    return b"".join(event(name, data, **named.get(name, {})) for name, data in news.events())


def event(name: str, data: str, **first: str) -> bytes:
    """Return a server-sent event; ``first`` are strings that come before all else in its data."""
    content = f"{json.dumps(first)[:-1]}, {data[1:]}" if first else data
    return f"event: {name}\ndata: {content}\n\n".encode()


def as_picture(answer: Answer, start: Start) -> Pieces:
    """Yield the picture of the finished answer, which any page may show; its styles are the only ones."""
    answer.keep = None  # as of text
    end = yield from _awaited(answer)
    heading = heading_of(answer)
    own_as = answer.viewer.run.invocation.autonomous_system
    picture = draw_alone(answer.facts(), f"{heading.title}, {heading.where}", own_as)
    if picture is not None:
        yield from _whole(start, 200, SVG, picture, ALONE | {"Content-Security-Policy": picture_policy()})
    elif end.status == 200:
        none = rfc8522.error(406, "There is no picture of this answer.", "visitor", end.envelope["data"])
        yield from _whole(start, 406, JSON, none, {})
    else:
        yield from _whole(start, end.status, JSON, end.envelope, end.headers)


def picture_policy() -> str:
    """Return the Content-Security-Policy of a picture that stands alone."""
    return f"default-src 'none'; style-src {style_source()}; base-uri 'none'; frame-ancestors 'none'"


def note_of(envelope: Envelope, age: int | None) -> str:
    """Return why a run was stopped, or how old it is; "" when it has just ended by itself."""
    message: str = envelope.get("message", "")
    return message if age is None else f"This was run {age} s ago."


def _awaited(answer: Answer) -> Generator[bytes, None, Following]:
    """Yield nothing until an answer has ended."""
    answer.viewer.is_live = False
    following = Following(answer)
    for text in following:
        if not text:
            yield b""
    return following


def _whole(
    start: Start, status: int, media: str, content: str | Envelope, headers: Mapping[str, str]
) -> Pieces:
    body = (content if isinstance(content, str) else json.dumps(content)).encode() + b"\n"
    start(status, media, {"Content-Length": str(len(body)), **headers})
    yield body


# How a run can be represented, the first when the Accept header prefers none. A browser that goes there
# prefers HTML, for which RFC 8522 has JSON, and some name SVG as well.
REPRESENTATIONS: dict[str, Callable[[Answer, Start], Pieces]] = {
    JSON: as_json,
    TEXT: as_text,
    EVENTS: as_events,
    HTML: as_json,
    SVG: as_picture,
}
