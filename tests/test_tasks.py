"""The header of an answer, what it says of body and connection; the threads that answer."""

from __future__ import annotations

import collections
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lookingglass.connections import Channel
from lookingglass.serving import Server, Settings
from lookingglass.workers import Workers
from tests.support import PATIENT, read_until, soon

HAS = {"ETag": '"x"', "Content-Length": "4"}
# What the application answers by path: status, headers, pieces of the body.
ANSWERS: dict[str, tuple[str, dict[str, str], list[bytes]]] = {
    "/whole": ("200 OK", HAS, [b"body"]),
    "/one": ("200 OK", {}, [b"body"]),
    "/pieces": ("200 OK", {}, [b"bo", b"dy"]),
    "/unchanged": ("304 Not Modified", {"ETag": '"x"'}, []),
    "/wrong": ("204 No Content", HAS, []),
    "/nothing": ("204 No Content", {}, []),
    "/dated": ("200 OK", {**HAS, "date": "Thu, 01 Jan 1970 00:00:00 GMT"}, [b"body"]),
}
BODY = {"Content-Length": "4"}
CHUNKS = {"Transfer-Encoding": "chunked", "Connection": "close"}
KEPT, CLOSED = {"Connection": "Keep-Alive"}, {"Connection": "close"}


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    status, headers, pieces = ANSWERS[environ["PATH_INFO"]]
    start_response(status, [*headers.items()])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else pieces


@contextlib.contextmanager
def served(application: Any) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        where: tuple[str, int] = listening.getsockname()
        server = Server(application, [listening], Settings(50, 50, 50, lambda peer: True, 2))
        server.loop.open()
        thread = threading.Thread(target=server.run)
        thread.start()
        yield where
        server.stop()
        thread.join(60)
        server.close()


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with served(application) as where:
        yield where


def ask(address: tuple[str, int], method: str, path: str, version: str, *headers: str) -> tuple[str, bool]:
    """Return an answer, and whether the connection answers once more."""
    with socket.create_connection(address, timeout=60) as connection:
        text = "\r\n".join((f"{method} {path} HTTP/{version}", "Host: lg", *headers, "", ""))
        connection.sendall(text.encode())
        answer = read_until(connection, rb"\r\n\r\n(body|2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n|\Z)").string
        connection.settimeout(60)
        try:
            connection.sendall(b"GET /whole HTTP/1.1\r\nHost: lg\r\n\r\n")
            return answer.decode(), bool(connection.recv(1))
        except ConnectionError:
            return answer.decode(), False


@pytest.mark.parametrize(
    ("request_line", "header", "expected"),
    [
        ("GET /whole 1.1", "", BODY),
        ("HEAD /whole 1.1", "", BODY),
        ("GET /one 1.1", "", BODY),
        ("HEAD /one 1.1", "", {}),
        ("HEAD /pieces 1.0", "Connection: keep-alive", KEPT),
        ("GET /pieces 1.1", "", CHUNKS),
        ("GET /unchanged 1.1", "", {}),
        ("GET /nothing 1.1", "", {}),
        ("GET /whole 1.1", "Connection: close", BODY | CLOSED),
        ("GET /unchanged 1.1", "Connection: Close", CLOSED),
        ("GET /whole 1.0", "", BODY | CLOSED),
        ("GET /whole 1.0", "Connection: keep-alive", BODY | KEPT),
        ("GET /unchanged 1.0", "Connection: keep-alive", KEPT),
        ("GET /pieces 1.0", "Connection: keep-alive", CLOSED),
    ],
)
def test_header_tells_where_the_body_ends_and_whether_the_connection_stays(
    address: tuple[str, int], request_line: str, header: str, expected: dict[str, str]
) -> None:
    answer, is_open = ask(address, *request_line.split(), *([header] if header else []))
    names = "|".join(("Content-Length", "Transfer-Encoding", "Connection"))
    assert dict(re.findall(rf"(?m)^({names}): (.*)\r$", answer)) == expected
    assert is_open is (expected.get("Connection") != "close")


def test_answer_that_has_no_body_has_no_length(address: tuple[str, int]) -> None:
    assert "Length" not in ask(address, "GET", "/wrong", "1.1")[0]


def test_names_stay_as_they_are_spelled_and_a_date_is_added_once(address: tuple[str, int]) -> None:
    answer, _ = ask(address, "GET", "/whole", "1.1")
    assert answer.startswith("HTTP/1.1 200 OK\r\nETag: ")
    assert len(re.findall(r"(?m)^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r$", answer)) == 1
    answer, _ = ask(address, "GET", "/dated", "1.1")
    assert re.findall(r"(?im)^date: (.*)\r$", answer) == ["Thu, 01 Jan 1970 00:00:00 GMT"]


def test_header_and_body_are_sent_together(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    send = Channel.send

    def note(channel: Channel, data: bytes) -> int:
        sent.append(data)
        return send(channel, data)

    monkeypatch.setattr(Channel, "send", note)
    ask(address, "GET", "/whole", "1.1", "Connection: close")
    assert [data.endswith(b"\r\n\r\nbody") for data in sent] == [True]
    del sent[:]
    ask(address, "HEAD", "/whole", "1.1", "Connection: close")
    assert [data.endswith(b"\r\n\r\n") for data in sent] == [True]


@pytest.mark.parametrize("place", ["status", "name", "value"])
@pytest.mark.parametrize("line_break", ["\r\n", "\n", "\r"])
def test_live_answer_with_a_line_break_in_its_header_is_never_sent(place: str, line_break: str) -> None:
    """The application refuses what is not plain; here nothing that it has missed becomes a header."""
    forged = f"a{line_break}Set-Cookie: b"
    status = forged if place == "status" else "200 OK"
    header = (forged, "x") if place == "name" else ("X", forged if place == "value" else "x")

    class Forged:
        is_waiting = False

        def __init__(self, begin: Callable[[str, list[tuple[str, str]]], None]) -> None:
            self._begin = begin

        def pull(self) -> bytes:
            self._begin(status, [header])
            return b"body"

        def on_news(self, notify: Callable[[], None]) -> None: ...

        def close(self) -> None: ...

    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        task = environ["lookingglass.task"]
        taken: list[bytes] = task.take_over(Forged(task.begin))
        return taken

    with served(answer) as address, socket.create_connection(address, timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: lg\r\n\r\n")
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert said.startswith(b"HTTP/1.1 500 ")
    assert b"Set-Cookie" not in said


# --- threads that answer


class Job:
    """Count how often it was done, and by which thread."""

    def __init__(self, latch: threading.Event | None = None) -> None:
        self.latch = latch
        self.done_by: list[str] = []

    def service(self) -> None:
        if self.latch:
            self.latch.wait(PATIENT)
        self.done_by.append(threading.current_thread().name)


def test_each_task_is_done_once_whoever_adds_it() -> None:
    workers = Workers(4)
    jobs = [Job() for _ in range(4000)]
    adders = [
        threading.Thread(target=collections.deque, args=(map(workers.add, part), 0))
        for part in (jobs[::2], jobs[1::2])
    ]
    for each in adders:
        each.start()
    assert soon(lambda: all(job.done_by for job in jobs))
    workers.end()
    assert all(len(job.done_by) == 1 for job in jobs)


def test_one_task_after_the_other_is_done_by_the_thread_that_became_free_last() -> None:
    workers = Workers(8)
    assert soon(lambda: len(workers._free) == 8)
    jobs = [Job() for _ in range(50)]
    for job in jobs:
        workers.add(job)
        assert soon(job.done_by.copy)
        assert soon(lambda: len(workers._free) == 8)
    workers.end()
    assert len({job.done_by[0] for job in jobs}) == 1


def test_task_waits_for_the_first_thread_that_becomes_free() -> None:
    workers, latch = Workers(2), threading.Event()
    slow, late = [Job(latch) for _ in range(2)], Job()
    for job in (*slow, late):
        workers.add(job)
    time.sleep(0.1)
    assert not late.done_by
    latch.set()
    assert soon(lambda: bool(late.done_by))
    workers.end()


def test_free_threads_end_at_the_end() -> None:
    before = {*threading.enumerate()}
    workers = Workers(8)
    assert soon(lambda: len(workers._free) == 8)
    started = {*threading.enumerate()} - before
    workers.end()
    assert len(started) == 8
    assert soon(lambda: not any(each.is_alive() for each in started))
