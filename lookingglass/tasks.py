"""One answer on its connection, which waitress calls a task: its header, its body, and what of it is live."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, Protocol

from waitress import task, utilities

import rfc8522
from lookingglass.headers import FRESH, OPEN, SECURITY

BEHIND = 65536  # bytes that wait for a client, from which on a live answer is not asked for more


class Live(Protocol):
    """An answer in progress that writes when it has news; see ``answers.Body``."""

    @property
    def is_waiting(self) -> bool: ...  # for news: the last pull has returned all that there was
    def pull(self) -> bytes | None: ...
    def on_news(self, notify: Callable[[], None]) -> None: ...
    def close(self) -> None: ...


class Task(task.WSGITask):
    """Answer a request; a live answer is kept in ``live`` and goes on in ``pump``."""

    wrote_header: bool
    live: Live | None = None

    def get_environment(self) -> dict[str, Any]:
        """Return a WSGI environment that offers to take a live answer over, as wsgi.file_wrapper does."""
        environ: dict[str, Any] = super().get_environment()
        environ["lookingglass.task"] = self
        return environ

    def service(self) -> None:
        """Answer, or begin a live answer."""
        try:
            self.start()
            self.execute()
            if self.live is None:
                self.finish()
        except OSError:
            self.close_on_finish = True
        finally:
            self.environ = None  # which leads back to here, and would be kept as long as the answer

    def begin(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Begin a live answer, as start_response begins others; the header is judged when it is written."""
        self.status, self.response_headers, self.complete = status, headers, True
        length = dict(headers).get("Content-Length")
        self.content_length = None if length is None else int(length)

    def take_over(self, live: Live) -> list[bytes]:
        """Keep a live answer, whose bytes come when there are any."""
        self.live = live
        return []

    def build_response_header(self) -> bytes:
        """Return the status line and the header, with names in the application's spelling.

        That of waitress spells and sorts all names anew for each answer, and closes the connection after each
        204 and 304, which have no length, for they never have a body (RFC 9112 section 6.3).
        """
        headers, has_body, is_old = self.response_headers, self.has_body, self.version == "1.0"
        is_endless = has_body and self.content_length is None and self.request.command != "HEAD"
        names = {*map(str.lower, dict(headers))}
        if not has_body:
            headers[:] = [each for each in headers if each[0].lower() != "content-length"]
        elif is_endless:
            self.chunked_response = not is_old
        elif self.content_length is not None and "content-length" not in names:
            headers.append(("Content-Length", str(self.content_length)))
        if self.chunked_response:
            headers.append(("Transfer-Encoding", "chunked"))
        if "date" not in names:
            headers.append(("Date", _date(int(self.start_time))))
        asked = self.request.headers.get("CONNECTION", "").lower()
        if is_endless or asked == "close" or (is_old and asked != "keep-alive"):
            self.set_close_on_finish()
        elif is_old:
            headers.append(("Connection", "Keep-Alive"))
        lines = [f"HTTP/{self.version} {self.status}", *map(": ".join, headers)]
        text = "".join(lines)
        if "\r" in text or "\n" in text:
            raise ValueError("a line break in a header")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def write(self, data: bytes) -> None:
        """Write some of the body; the header goes with the first of it, for a packet more is dear."""
        header = b"" if self.wrote_header else self.build_response_header()
        self.wrote_header = True
        if not self.has_body:
            data = b""
        elif self.chunked_response and data:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        elif self.content_length is not None:
            data = data[: self.content_length - self.content_bytes_written]
            self.content_bytes_written += len(data)
        self.channel.write_soon(header + data)
        if header:  # a live answer would keep what has been sent, and its request
            self.response_headers.clear()
            self.request.headers.clear()

    def pump(self, live: Live) -> bool:
        """Write what a live answer has now, and tell whether it goes on."""
        data: bytes | None = b""
        while self.channel.total_outbufs_len <= BEHIND and (data := live.pull()):
            self.write(data)
            if self.content_bytes_written == self.content_length:
                data = None  # nothing but its bytes is kept for a client that has not taken them yet
            if data is None or live.is_waiting:
                break
        if data is None:
            self.finish()
        return data is not None


class ErrorTask(task.ErrorTask):
    """Answer what is no HTTP in JSON, and repeat nothing of it."""

    live = None

    def execute(self) -> None:
        """Write the error."""
        error, settings = self.request.error, self.channel.adj
        expected = (
            f"expected HTTP/1.1, with a header of at most {settings.max_request_header_size} bytes"
            f" and a body of at most {settings.max_request_body_size}"
        )
        source = "glass" if error.code == utilities.InternalServerError.code else "visitor"
        envelope = rfc8522.error(error.code, f"{error.reason}: {expected}.", source)
        content = json.dumps(envelope).encode() + b"\n"
        self.status = f"{error.code} {error.reason}"
        headers = {"Content-Type": "application/json", **SECURITY, **FRESH, **OPEN}
        self.response_headers.extend(headers.items())
        self.set_close_on_finish()
        self.content_length = len(content)
        self.write(content)


@functools.lru_cache(1)
def _date(second: int) -> str:
    """Return a moment as the header Date has it (RFC 9110 section 6.6.1)."""
    return str(utilities.build_http_date(second))
