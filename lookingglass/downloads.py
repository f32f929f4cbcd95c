"""Send files, with ranges and conditions (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import errno
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from io import FileIO
from typing import Any

from webob import Request, Response

from lookingglass.guard import Lease
from lookingglass.problems import Busy, HTTPProblem, NotFound, counted

CHUNK = 65536  # bytes that are read at once
CACHING = "no-cache, no-transform"  # a visitor measures the line, not a cache or a compressing proxy
OVERLOAD = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # failures that say nothing about the file

# RFC 9110 section 8.8.3: whether it is weak, and the opaque tag
ENTITY_TAG = re.compile(r'(W/)?+("[\x21\x23-\x7e\x80-\xff]*+")')
# RFC 9110 section 5.6.7: IMF-fixdate, and what recipients have to accept beside it
DAY, MONTH = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
YEAR = "[1-9][0-9]{3}"
TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
HTTP_DATE = re.compile(
    rf"{DAY}, [0-9]{{2}} {MONTH} {YEAR} {TIME} GMT"
    rf"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, [0-9]{{2}}-{MONTH}-[0-9]{{2}} {TIME} GMT"
    rf"|{DAY} {MONTH} [ 0-9][0-9] {TIME} {YEAR}"
)
# RFC 9110 sections 14.1 and 14.1.1
RANGES = re.compile(r"bytes=(.*)", re.IGNORECASE)
INT_RANGE = re.compile(r"([0-9]++)-([0-9]*+)")
SUFFIX_RANGE = re.compile(r"-([0-9]++)")


class Part:
    """Read a part of a file as if it were all of it; raise OSError when the file has changed.

    ``state`` tells how the file was when the part was chosen. ``close`` closes the file and ends ``place``.
    """

    def __init__(
        self, file: FileIO, state: os.stat_result, start: int, end: int, place: Lease | None = None
    ) -> None:
        self._file = file
        self._place = place
        self._version = _version(state)
        self._start = start
        self._size = end - start
        self._position = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield all bytes that have not been read."""
        while data := self.read(CHUNK):
            yield data

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, b"" at the end only."""
        left = self._size - self._position
        wanted = left if size < 0 else min(size, left)
        data = os.pread(self._file.fileno(), wanted, self._start + self._position)
        if wanted and (not data or _version(os.fstat(self._file.fileno())) != self._version):
            raise OSError("The file has changed while it was sent.")
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place that is counted from the part's beginning, from where it is, or from the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return how many bytes lie before the next one."""
        return self._position

    def close(self) -> None:
        """Close the file, and give its place back; more than once does no harm."""
        self._file.close()
        if self._place:
            self._place.end()


def send(
    request: Request, folder: str | None, path: str, admit: Callable[[], Lease] | None = None
) -> Response:
    """Answer GET or HEAD with a file below ``folder``, None when there is no folder to send from.

    Several ranges are answered with the whole, which RFC 9110 section 14.2 permits. Raises NotFound for all
    but regular files in the folder that can be read, HTTPProblem for ranges and conditions that fail, and
    what ``admit`` raises, which gives a download its place.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open(folder, path))
        state = os.fstat(file.fileno())
        etag = f'"{state.st_mtime_ns:x}-{state.st_size:x}"'
        modified = min(max(0, int(state.st_mtime)), int(time.time()))  # RFC 9110 section 8.8.2.1
        status, start, end = _judge(request.environ, etag, modified), 0, state.st_size
        if status == 200 and request.method == "GET":
            status, start, end = _choose_part(request.environ, etag, modified, state.st_size)
        response = Response(status=status)
        response.headers["Accept-Ranges"] = "bytes"
        response.headers["Cache-Control"] = CACHING
        response.headers["ETag"] = etag
        response.headers["Last-Modified"] = email.utils.formatdate(modified, usegmt=True)
        if status == 304:
            return response
        response.content_type = "application/octet-stream"
        if status == 206:
            response.content_range = (start, end, state.st_size)
        if request.method == "GET":
            response.app_iter = _as_body(request.environ, Part(file, state, start, end, admit and admit()))
            stack.pop_all()  # the body closes it
        response.content_length = end - start  # after the body, with which WebOb forgets it
        return response


def is_fresh(if_none_match: str | None, etag: str) -> bool:
    """Tell whether a client has what ``etag`` names, by its If-None-Match (RFC 9110 section 13.1.2)."""
    if if_none_match is None:
        return False
    if if_none_match == etag:  # which is what nearly all clients send
        return True
    opaque = etag.removeprefix("W/")
    return if_none_match.strip(" \t") == "*" or any(
        tag == opaque for _, tag in ENTITY_TAG.findall(if_none_match)
    )


def _open(folder: str | None, path: str) -> FileIO:
    """Open a regular file that is in the folder, wherever links to it may lie."""
    if folder is None:
        raise NotFound("No test files are offered.")
    missing = NotFound("There is no such test file.")
    parts = path.split("/")
    if any(not part or part.startswith(".") for part in parts):
        raise missing
    root = os.path.realpath(folder)
    try:
        where = os.path.realpath(os.path.join(root, *parts))
        # A pipe is not even opened: that would wake up a process that waits to write into it.
        if os.path.commonpath((root, where)) != root or not stat.S_ISREG(os.lstat(where).st_mode):
            raise missing
        file = FileIO(where, opener=_open_at_once)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in OVERLOAD:
            raise Busy("No more files can be opened now.") from error
        raise missing from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise missing
    return file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _judge(environ: Mapping[str, Any], etag: str, modified: int) -> int:
    """Return 304 when the client has the file, else 200, by RFC 9110 section 13.2.2 up to its step 4.

    Raises HTTPProblem 412 when the client does not want a file like this.
    """
    if_match = environ.get("HTTP_IF_MATCH")
    if if_match is not None:
        strong = [tag for weak, tag in ENTITY_TAG.findall(if_match) if not weak]
        is_wanted = if_match.strip(" \t") == "*" or etag in strong
    else:
        is_wanted = modified <= _seconds(environ.get("HTTP_IF_UNMODIFIED_SINCE"), sys.maxsize)
    if not is_wanted:
        raise HTTPProblem(412, "The file is not the one that the request's conditions allow.")
    if_none_match = environ.get("HTTP_IF_NONE_MATCH")
    if if_none_match is not None:
        has_it = is_fresh(if_none_match, etag)
    else:
        has_it = modified <= _seconds(environ.get("HTTP_IF_MODIFIED_SINCE"), -1)
    return 304 if has_it else 200


def _choose_part(environ: Mapping[str, Any], etag: str, modified: int, size: int) -> tuple[int, int, int]:
    """Return the status, and beginning and end of what is sent, by Range and If-Range.

    Raises HTTPProblem 416 when the file has no byte of the range.
    """
    if_range = environ.get("HTTP_IF_RANGE", etag).strip(" \t")
    is_same = if_range == etag or _seconds(if_range, -1) == modified
    wanted = _read_range(environ.get("HTTP_RANGE", ""), size) if is_same else None
    if wanted is None:
        return 200, 0, size
    start, end = wanted
    if start >= end:
        raise HTTPProblem(416, f"The file has {counted(size, 'byte')}.", {"Content-Range": f"bytes */{size}"})
    return 206, start, end


def _read_range(text: str, size: int) -> tuple[int, int] | None:
    """Return beginning and end of the one range that is wanted, None for the whole.

    The whole is sent for what cannot be read and for several ranges as well.
    """
    match = RANGES.fullmatch(text.strip(" \t"))
    specs = [spec.strip(" \t") for spec in match[1].split(",")] if match else []
    specs = [spec for spec in specs if spec]  # RFC 9110 section 5.6.1.2
    if len(specs) != 1:
        return None
    if suffix := SUFFIX_RANGE.fullmatch(specs[0]):
        length = _number(suffix[1])
        return (max(0, size - length), size) if size or not length else None
    if not (span := INT_RANGE.fullmatch(specs[0])):
        return None
    first, last = _number(span[1]), _number(span[2]) if span[2] else sys.maxsize
    return (first, min(last + 1, size)) if first <= last else None


def _number(digits: str) -> int:
    """Read a number; one beyond all files becomes sys.maxsize, for int() refuses very long ones."""
    digits = digits.lstrip("0")
    return int(digits or 0) if len(digits) < 19 else sys.maxsize


def _seconds(date: str | None, otherwise: int) -> int:
    """Return an HTTP-date as seconds since 1970, ``otherwise`` when there is none that can be read."""
    match = HTTP_DATE.fullmatch(date.strip(" \t")) if date else None
    parsed = email.utils.parsedate(match[0]) if match else None
    try:
        return int(datetime.datetime(*parsed[:6], tzinfo=datetime.UTC).timestamp()) if parsed else otherwise
    except ValueError:  # the 30th of February
        return otherwise


def _version(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


def _as_body(environ: Mapping[str, Any], part: Part) -> Any:
    """Return an iterable that closes the file; no thread waits for a slow reader where waitress sends it."""
    return environ["wsgi.file_wrapper"](part) if "waitress.client_disconnected" in environ else part
