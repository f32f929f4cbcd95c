"""An answer as JSON, as text, or as server-sent events: bytes as they come."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from http.client import responses
from typing import Any

import rfc8522
from commands import EVENTS, JSON, TEXT
from lookingglass.glass import Answer
from lookingglass.headers import FRESH, LIVE, SECURITY
from lookingglass.loop import Loop
from lookingglass.problems import SOON, Busy
from rfc8522 import Envelope, Problem

HEARTBEAT = 15.0  # seconds between signs of life in server-sent events
HTML = "text/html"

Pieces = Generator[bytes, None, None]  # b"": nothing now
Start = Callable[[int, str, Mapping[str, str]], None]  # status, media type, more headers
WSGIStart = Callable[[str, list[tuple[str, str]]], Any]
Environ = dict[str, Any]


class Reply:
    """Hold a whole answer; it is a WSGI application."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        length = {} if status == 204 else {"Content-Length": str(len(body))}
        self._status = status_line(status)
        self._headers = [*{**headers, **length}.items()]
        self._body = body

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

    def __init__(self, answer: Answer, pieces: Pieces, loop: Loop, connection: int | None) -> None:
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
    return json_reply(rfc8522.error(problem.status, str(problem)), problem.status, every)


def problem_headers(problem: Problem) -> dict[str, str]:
    """Return the headers that go with an error."""
    retry = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
    return {**problem.headers, **retry}


def starter(start_response: WSGIStart, more: Mapping[str, str]) -> Start:
    """Return what starts an answer in progress; ``more`` headers go with each."""

    def start(status: int, media: str, headers: Mapping[str, str]) -> None:
        kind = media if media == JSON else f"{media}; charset=utf-8"
        every = {"Content-Type": kind, **SECURITY, **FRESH, **LIVE, **more, **headers}
        start_response(status_line(status), [*every.items()])

    return start


def once_begun(answer: Answer, pieces: Pieces, refuse: Callable[[Problem], Iterable[bytes]]) -> Pieces:
    """Yield the pieces of an answer, or what ``refuse`` makes of the Problem that keeps it from beginning.

    Nothing is sent while a name is looked up, so that the status can say what is wrong with it.
    """
    try:
        while not answer.begin():
            if answer.has_left:
                raise Busy("The visitor has left.")
            yield b""
    except Problem as problem:
        yield from refuse(problem)
    else:
        yield from pieces


def as_json(answer: Answer, start: Start) -> Pieces:
    """Yield the envelope at the end."""
    answer.viewer.is_live = False
    try:
        while (text := answer.read()) is not None:
            if not text:
                yield b""
        status, envelope = answer.outcome()
        headers = {"Retry-After": str(SOON)} if status == 503 else {}
    except Problem as problem:
        status, envelope = problem.status, rfc8522.error(problem.status, str(problem))
        headers = problem_headers(problem)
    body = json.dumps(envelope).encode() + b"\n"
    start(status, JSON, {"Content-Length": str(len(body)), **headers})
    yield body


def as_text(answer: Answer, start: Start) -> Pieces:
    """Yield the output itself, and a last line when it was cut short."""
    answer.keep = None  # there is no place to tell where it would be kept
    start(200, TEXT, {})
    try:
        while (text := answer.read()) is not None:
            yield text.encode()
        note = "" if answer.has_left else note_of(answer.outcome()[1])
    except Problem as problem:
        note = str(problem)
    if note:
        yield f"\n--- {note}\n".encode()


def as_events(answer: Answer, start: Start) -> Pieces:
    """Yield the output and the facts as they come, and the envelope at the end."""
    start(200, EVENTS, {})
    yield b": tinytracer\n\n"
    known: dict[str, Any] = {}
    spoken = time.monotonic()  # when something was sent last
    try:
        while (text := answer.read()) is not None:
            data = _event("output", {"text": text}) if text else b""
            if (facts := answer.facts()) is not known and facts:
                known = facts
                data += _event("facts", facts)
            now = time.monotonic()
            if not data and now - spoken >= HEARTBEAT:
                data = b": still running\n\n"
            if data:
                spoken = now
            yield data
        if not answer.has_left:
            yield _event("result", answer.outcome()[1])
    except Problem as problem:
        yield _event("result", rfc8522.error(problem.status, str(problem)))


def note_of(envelope: Envelope) -> str:
    """Return why a run was stopped, "" when it was not."""
    message: str = envelope.get("message", "")
    return message


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


# How a run can be represented, the first when the Accept header prefers none.
REPRESENTATIONS: dict[str, Callable[[Answer, Start], Pieces]] = {
    JSON: as_json,
    TEXT: as_text,
    EVENTS: as_events,
}
