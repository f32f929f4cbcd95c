"""The header of an answer: what it says of the body's length, and whether the connection stays open."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lookingglass.connections import Channel
from lookingglass.serving import Server, Settings
from tests.support import read_until

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


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
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

    def note(channel: Channel, data: bytes, do_close: bool = True) -> Any:
        sent.append(data)
        return send(channel, data, do_close=do_close)

    monkeypatch.setattr(Channel, "send", note)
    ask(address, "GET", "/whole", "1.1", "Connection: close")
    assert [data.endswith(b"\r\n\r\nbody") for data in sent] == [True]
    del sent[:]
    ask(address, "HEAD", "/whole", "1.1", "Connection: close")
    assert [data.endswith(b"\r\n\r\n") for data in sent] == [True]
