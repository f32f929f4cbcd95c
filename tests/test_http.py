"""Requests as bytes, good and bad: each file in tests/requests/, sent whole, in two pieces, byte by byte.

A file's name begins with the statuses of the answers. Its line breaks mean nothing; bytes that cannot be seen
are written as in Python.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lookingglass import messages
from lookingglass.connections import adjustments
from lookingglass.messages import RequestParser, mend_waitress
from tests.support import HERE, PATIENT, Server, configuration, free_port

FILES = sorted((HERE / "tests" / "requests").glob("*.http"))
SETTINGS = adjustments()
STATUS = re.compile(rb"(?:^|\r\n|\n|\})HTTP/1\.[01] ([0-9]{3}) ")


def bytes_of(file: Path) -> bytes:
    return file.read_text().replace("\n", "").encode().decode("unicode_escape").encode("latin-1")


def statuses(file: Path) -> list[int]:
    return [int(word) for word in file.stem.split("_") if re.fullmatch("[2-5][0-9]{2}", word)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server whose only command leaves a mark in the folder ``marks``."""
    folder = tmp_path_factory.mktemp("http")
    marks = folder / "marks"
    script = f"open({str(marks)!r}, 'a').write('x')"
    config = configuration(folder, commands={"mark": {"cmd": [sys.executable, "-Sc", script]}})
    port = free_port()
    argv = [sys.executable, "tinytracer.py", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    server = Server(argv, port)
    server.marks = marks  # type: ignore[attr-defined]
    server.wait_until_ready()
    yield server
    server.stop()


def answers(
    server: Server,
    pieces: list[bytes],
    patience: float = 0,
    is_all: Callable[[bytes], bool] = lambda received: True,
) -> bytes:
    """Send the pieces and return all that comes until the server closes.

    One with patience may not close: then silence is the end, as soon as that may be all.
    """
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while True:
                connection.settimeout(patience if patience and is_all(received) else PATIENT)
                if not (data := connection.recv(65536)):
                    break
                received += data
        except TimeoutError:
            assert patience
        except ConnectionError:  # it has closed before all was sent, and its answer may be lost by that
            assert received or len(pieces) > 1
        return received


def check(server: Server, file: Path, pieces: list[bytes]) -> None:
    marks: Path = server.marks  # type: ignore[attr-defined]
    marks.write_text("")
    received = answers(server, pieces)
    assert (marks.read_text() == "x") == ("_run" in file.stem)
    if not received and len(pieces) > 1 and statuses(file)[-1] >= 400:
        return
    assert list(map(int, STATUS.findall(received))) == statuses(file)
    if statuses(file)[-1] in {400, 413, 431, 501}:
        envelope = json.loads(received.rpartition(b"\r\n\r\n")[2])
        assert (envelope["status"], envelope["code"]) == ("error", statuses(file)[-1])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_request_is_answered_with_the_statuses_of_its_name(server: Server, file: Path) -> None:
    check(server, file, [bytes_of(file)])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_request_byte_by_byte_is_answered_alike(server: Server, file: Path) -> None:
    text = bytes_of(file)
    if len(text) < 1000:
        check(server, file, [text[place : place + 1] for place in range(len(text))])


def read(pieces: list[bytes], settings: Any = SETTINGS) -> list[tuple[object, ...]]:
    """Return what our parser makes of a stream, as the server uses it."""
    found: list[tuple[object, ...]] = []
    parser = RequestParser(settings)
    for each in pieces:
        rest = each
        while rest:
            rest = rest[parser.received(rest) :]
            if not parser.completed:
                continue
            if parser.error:
                return [*found, (parser.error.code,)]
            if not parser.empty:
                body = parser.get_body_stream().read()
                found.append(
                    (parser.command, parser.path, parser.query, sorted(parser.headers.items()), body)
                )
                parser.headers.clear()
            parser = RequestParser(settings)
    return [*found, (bool(parser.header_plus.strip()) or parser.headers_finished,)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_request_in_two_pieces_is_read_alike_wherever_it_is_cut(file: Path) -> None:
    mend_waitress()
    text = bytes_of(file)
    whole = read([text])
    for cut in range(1, min(len(text), 1500)):
        assert read([text[:cut], text[cut:]]) == whole, cut
    if len(text) < 5000:
        assert read([text[place : place + 1] for place in range(len(text))]) == whole


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_request_that_came_before_is_read_as_the_first_was(file: Path) -> None:
    mend_waitress()
    text, settings = bytes_of(file), adjustments()  # with which nothing was read yet
    first = read([text], settings)
    before = messages._known.cache_info().hits
    assert [read([text], settings) for _ in range(3)] == [first] * 3
    others = [
        text.replace(old, new, 1) for old, new in ((b"Host", b"X-Ha"), (b"GET", b"PUT"), (b"1.1", b"1.0"))
    ]
    for other in others:
        assert read([other], settings) == read([other], adjustments())
    is_kept = len(first[0]) > 1 and not first[0][-1] and len(text.lstrip()) <= messages.LONGEST_KEPT
    assert not is_kept or messages._known.cache_info().hits > before


@pytest.mark.parametrize("length", [0, messages.LONGEST_KEPT])
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Host: one, two\r\n", b"400"),
        (b"Host: lg\r\nContent-Length: x\r\n", b"400"),
        (b"Host: lg\r\nContent-Length: 99999\r\n", b"413"),
        (b"Host: lg\r\nTransfer-Encoding: gzip\r\n", b"501"),
    ],
)
def test_refused_request_is_answered_in_its_version_and_not_told_to_go_on(
    server: Server, lines: bytes, status: bytes, length: int
) -> None:
    text = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nX: %b\r\n%b\r\n" % (b"x" * length, lines)
    for _ in range(2):
        assert answers(server, [text]).startswith(b"HTTP/1.1 %b " % status)


def test_bad_request_is_answered_before_it_is_complete(server: Server) -> None:
    for text in (b"GET / HTTP/1.1\n", b" GET", b"\n", b"\x00GET / HTTP/1.1\r\nHost: x\r\n\n"):
        started = time.monotonic()
        assert answers(server, [text]).startswith(b"HTTP/1.0 400")
        assert time.monotonic() - started < 10


def test_head_of_a_run_runs_nothing_and_tells_no_length_of_an_answer_that_nobody_has(server: Server) -> None:
    """RFC 9110 section 8.6: a length there would be that of GET's answer."""
    server.marks.unlink(missing_ok=True)  # type: ignore[attr-defined]
    path = "/.well-known/looking-glass/v1/mark"
    head, healthy = f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\n"
    received = answers(server, [head.encode(), f"{healthy}Connection: close\r\n\r\n".encode()])
    first, second = received.split(b"\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not re.search(rb"(?i)\r\n(content-length|transfer-encoding|connection):", first)
    assert second.endswith(b"\r\n\r\nok")
    assert not server.marks.exists()  # type: ignore[attr-defined]
