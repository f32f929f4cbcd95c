"""Files, with ranges and conditions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from webob import Request, Response
from webob.byterange import Range

from lookingglass.children import CHUNK
from lookingglass.problems import HTTPProblem, NotFound


def is_fresh(if_none_match: str, etag: str) -> bool:
    return if_none_match == "*" or etag in if_none_match


def send(request: Request, folder: str, path: str) -> Response:
    parts = path.split("/")
    where = os.path.join(folder, *parts)
    if any(not part or part.startswith(".") for part in parts) or not os.path.isfile(where):
        raise NotFound("There is no such test file.")
    return _download(request, open(where, "rb"))


class Body:
    def __init__(self, pieces: Iterator[bytes], close: Any) -> None:
        self._pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


def _forget_broken_conditions(request: Request) -> None:
    """Leave out conditions and ranges that cannot be read (RFC 9110 section 13.1); WebOb raises on them."""
    for name in ("if_modified_since", "if_unmodified_since", "if_range", "range"):
        try:
            getattr(request, name)
        except (OverflowError, ValueError):
            del request.environ[f"HTTP_{name.upper()}"]


def _download(request: Request, file: BinaryIO) -> Response:
    """Send a file, or the part of it that Range asks for (RFC 9110 section 14).

    Nobody waits for a slow reader where waitress sends it, which heeds Content-Length.
    """
    _forget_broken_conditions(request)
    state = os.fstat(file.fileno())
    response = Response(content_type="application/octet-stream", conditional_response=True)
    response.etag = f"{state.st_mtime_ns:x}-{state.st_size:x}"
    response.last_modified = int(state.st_mtime)
    response.accept_ranges = "bytes"
    start, end = 0, state.st_size
    wanted = _range(request, response)
    if wanted:
        start, end = _part(wanted, state.st_size)
        if start >= end:
            file.close()
            size = f"bytes */{state.st_size}"
            raise HTTPProblem(416, f"The file has {state.st_size} bytes.", {"Content-Range": size})
        response.status, response.content_range = 206, (start, end, state.st_size)
    request.range = None  # WebOb would read the file up to there
    file.seek(start)
    if "waitress.client_disconnected" in request.environ:
        response.app_iter = request.environ["wsgi.file_wrapper"](file)
    else:
        response.app_iter = Body(_read(file, end - start), file.close)
    response.content_length = end - start
    return response


def _range(request: Request, response: Response) -> Range | None:
    """Return a Range that counts: of GET, and behind all other conditions (RFC 9110 section 13.2.2)."""
    conditions = {"HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE"} & set(request.environ)
    counts = request.method == "GET" and not conditions and response in request.if_range
    return request.range if counts else None


def _part(wanted: Range, size: int) -> tuple[int, int]:
    """Return the beginning and the end of a range in a file; a negative one counts from the file's end."""
    start = wanted.start or 0
    start = start if start >= 0 else max(0, size + start)
    return start, size if wanted.end is None else min(wanted.end, size)


def _read(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (data := file.read(min(length, CHUNK))):
        length -= len(data)
        yield data
