"""An answer in progress under any WSGI host: iterated, left, never begun; and what it gives back."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from webob import Request

from lookingglass import answers
from lookingglass.store import Memory
from tests.support import (
    GENEROUS,
    MEDIA,
    PATIENT,
    V1,
    asker,
    build,
    gone_within,
    hold_up,
    open_files,
    soon,
    soon_gone,
)
from tinytracer import TinyTracer

COMMANDS = {
    "pid": {"cmd": ["sh", "-c", "echo $$; exec sleep 1000"]},
    "lines": {"cmd": ["printf", "a\\nb"]},
    "wait": {"cmd": ["sleep", "1000"]},
}


@pytest.fixture
def application() -> Iterator[TinyTracer]:
    """Yield a looking glass with one place; afterwards nothing runs, and nothing is watched."""
    application = build({"commands": COMMANDS, "limits": {**GENEROUS, "viewers": 1, "concurrent": 1}})
    yield application
    runs = application._glass.runs
    assert soon(lambda: not runs.alive)
    application.close()  # the watcher as well
    assert not runs.loop._callbacks


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the host's end of a connection and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def begin(application: TinyTracer, path: str, accept: str = "text/plain", **environ: Any) -> Any:
    given = Request.blank(f"{V1}/{path}", headers={"Accept": accept}).environ
    given.update({"REMOTE_ADDR": "198.51.100.7", **environ})
    status: list[str] = []
    return application(given, lambda line, headers: status.append(line))


def has_room(application: TinyTracer) -> bool:
    """Tell whether the one place and the one slot are free (again)."""
    return soon(lambda: asker(application)(f"{V1}/lines").status == 200)


@pytest.mark.parametrize("accept", MEDIA)
def test_silent_disconnect_is_seen_at_once(application: TinyTracer, connection: Any, accept: str) -> None:
    ours, theirs = connection
    files = len(open_files())
    body = begin(application, "wait?runtime=60", accept, **{"gunicorn.socket": ours})
    reading = threading.Thread(target=lambda: [None for _ in body])
    reading.start()
    time.sleep(0.05)
    theirs.close()
    reading.join(PATIENT)
    assert not reading.is_alive()
    body.close()
    assert soon(lambda: len(open_files()) <= files + 5)  # the loop's two, and three for the watcher
    assert has_room(application)


def test_visitor_who_leaves_the_queue_ends_the_events_without_an_error(connection: Any) -> None:
    application = build({"commands": COMMANDS, "limits": {**GENEROUS, "concurrent": 1}})
    held = begin(application, "pid")
    pid = int(next(held))
    body = begin(application, "wait?view=1", "text/event-stream", **{"gunicorn.socket": connection[0]})
    assert next(body) == b": tinytracer\n\n"
    assert b"event: waiting" in next(body)
    connection[1].close()
    assert b"".join(body) == b""
    body.close()
    assert not application._glass.queue._stands
    held.close()
    assert soon_gone(pid)
    application.close()


def test_disconnect_is_told_once_while_the_host_is_busy_with_something_else(
    application: TinyTracer, connection: Any
) -> None:
    body = begin(application, "pid", **{"gunicorn.socket": connection[0]})
    pid = int(next(body))
    watched = application._glass.runs.loop._callbacks
    others = len(watched) - 1
    connection[1].close()
    assert soon(lambda: body._answer.has_left)
    assert soon(lambda: len(watched) == others)  # else the loop would be told of it as fast as it can
    body.close()
    assert soon_gone(pid)


@pytest.mark.parametrize("accept", MEDIA)
def test_body_that_is_never_iterated_gives_everything_back(
    application: TinyTracer, connection: Any, accept: str
) -> None:
    body = begin(application, "pid", accept, **{"gunicorn.socket": connection[0]})
    assert asker(application)(f"{V1}/lines").status == 503
    body.close()
    body.close()
    assert has_room(application)


@pytest.mark.parametrize("accept", MEDIA)
def test_body_that_is_closed_by_another_thread_ends_the_one_that_iterates(
    application: TinyTracer, accept: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "HEARTBEAT", 0.3)
    caplog.set_level(logging.INFO, "tinytracer.journal")
    body = begin(application, "wait", accept)
    reading = threading.Thread(target=lambda: [None for _ in body])
    reading.start()
    time.sleep(0.1)
    body.close()
    reading.join(PATIENT)
    assert not reading.is_alive()
    body.close()
    assert len([each for each in caplog.records if each.name == "tinytracer.journal"]) == 1
    assert has_room(application)


@pytest.mark.parametrize("error", [OSError(28, "no space left"), ValueError("the loop has ended")])
def test_connection_that_cannot_be_watched_costs_only_the_watching(
    application: TinyTracer, connection: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    files = open_files()
    loop, watch = application._glass.runs.loop, application._glass.runs.loop.watch

    def refuse(descriptor: int, events: int, callback: Any) -> None:
        if events & select.EPOLLRDHUP:
            raise error
        watch(descriptor, events, callback)

    monkeypatch.setattr(loop, "watch", refuse)
    body = begin(application, "lines", **{"gunicorn.socket": connection[0]})
    assert b"".join(body) == b"a\nb"
    body.close()
    assert has_room(application)
    del body
    assert len(open_files()) <= len(files) + 5


def test_connection_is_not_taken_for_another_one_with_its_number(
    application: TinyTracer, connection: Any
) -> None:
    """The loop may hold an event of a descriptor that is closed by now, and whose number is used again."""
    body = begin(application, "pid", **{"gunicorn.socket": connection[0]})
    pid = int(next(body))
    (callback,) = (
        each
        for each in application._glass.runs.loop._callbacks.values()
        if getattr(each, "__self__", None) is body
    )
    callback(select.EPOLLRDHUP)  # of the old one: this client is still there
    assert not body._answer.has_left
    assert not gone_within(0.2, pid)
    connection[1].close()
    assert soon(lambda: body._answer.has_left)
    body.close()
    assert soon_gone(pid)


def test_descriptors_are_not_used_up_by_many_answers(application: TinyTracer, connection: Any) -> None:
    for _ in range(3):
        begin(application, "lines", **{"gunicorn.socket": connection[0]}).close()
        assert has_room(application)
    before = len(open_files())
    for number in range(60):
        body = begin(application, "lines", MEDIA[number % 3], **{"gunicorn.socket": connection[0]})
        with contextlib.closing(body):
            assert b"a" in b"".join(body)
        assert soon(lambda: not application._glass.runs.alive)
    assert len(open_files()) <= before


def test_second_visitor_is_told_why_the_first_ones_run_did_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    application = build({"commands": {"missing": {"cmd": ["/no/such/program"]}}})
    runs = application._glass.runs
    has_come, may_go = hold_up(monkeypatch, runs, "_open_source")
    bodies: list[bytes] = []

    def ask(accept: str) -> None:
        bodies.append(asker(application)(f"{V1}/missing", accept).body)

    first = threading.Thread(target=ask, args=(MEDIA[0],))
    first.start()
    assert has_come.wait(PATIENT)
    others = [threading.Thread(target=ask, args=(accept,)) for accept in MEDIA]
    for each in others:
        each.start()
    assert soon(lambda: [run.shared for run in runs.alive] == [4])
    may_go.set()
    for each in (first, *others):
        each.join()
    assert len(bodies) == 4
    for body in bodies:
        assert b"no program for this command" in body
        assert b"/no/such" not in body
    envelopes = [json.loads(body) for body in bodies if body.startswith(b"{")]
    assert [each["code"] for each in envelopes] == [502, 502]
    store = application._glass._guard._store
    assert isinstance(store, Memory)
    assert not store._held
    application.close()


def test_visitor_who_has_joined_a_run_that_got_no_slot_may_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the first one may: what was refused costs no token."""
    limits = {**GENEROUS, "concurrent": 1, "rate": "1/day", "burst": 1}
    application = build({"commands": COMMANDS, "limits": limits})
    taken = begin(application, "pid", REMOTE_ADDR="203.0.113.1")
    has_come, may_go = hold_up(monkeypatch, application._glass._guard, "slot")
    statuses: list[int] = []

    def ask(number: int) -> None:
        reply = asker(application)(f"{V1}/lines", REMOTE_ADDR=f"198.51.100.{number}")
        statuses.append(reply.status)

    threads = [threading.Thread(target=ask, args=(number,)) for number in (1, 2)]
    threads[0].start()
    assert has_come.wait(PATIENT)
    threads[1].start()
    assert soon(lambda: 2 in {run.shared for run in application._glass.runs.alive})
    may_go.set()
    for each in threads:
        each.join()
    assert statuses == [503, 503]
    taken.close()
    assert soon(lambda: not application._glass.runs.alive)
    for number in (1, 2):
        ask(number)
    assert statuses[2:] == [200, 200]
    application.close()


def test_host_that_forks_after_an_import_has_a_loop_of_its_own() -> None:
    application = build({"commands": COMMANDS})  # as a preloading gunicorn does
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        with contextlib.suppress(BaseException):
            os.write(writer, str(asker(application)(f"{V1}/lines").status).encode())
        os._exit(0)
    os.close(writer)
    assert select.select([reader], [], [], 10)[0]
    assert os.read(reader, 10) == b"200"
    os.close(reader)
    os.waitpid(pid, 0)
    application.close()
