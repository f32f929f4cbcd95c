"""Requests as bytes: a waitress parser that refuses whatever two programs could read in two ways.

A proxy before this server and the server itself have to agree where a request ends and whom it is for, else
one visitor's bytes become another visitor's request (RFC 9112 section 11).
"""

from __future__ import annotations

import functools
import re
from typing import Any

from waitress import buffers, parser, utilities

# RFC 9110 section 5.5, in possessive steps: the one of waitress takes seconds for 16 KiB of blanks.
HEADER_FIELD = re.compile(
    rb"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+"
    rb"(?P<value>(?:[\x21-\x7e\x80-\xff]++(?:[ \t]++[\x21-\x7e\x80-\xff]++)*+)?+)[ \t]*+\Z"
)
# RFC 9112 section 3, for the same reason: that of waitress takes a minute for 16 KiB of digits.
FIRST_LINE = re.compile(
    rb"(?P<method>[!#$%&'*+\-.^_`|~0-9A-Za-z]++) (?P<uri>[^ ]++)(?: HTTP/(?P<version>[0-9]\.[0-9]))?"
)
VERSIONS = {b"1.0", b"1.1"}
# RFC 9112 section 3.2: a path, a URL of http, or * for OPTIONS
TARGET = re.compile(rb"(?:/|(?i:https?)://(?P<authority>[^/?#]++)|\*\Z)[\x21-\x7e\x80-\xff]*+")
# RFC 9110 section 7.2, without user names and commas
HOST_FIELD = re.compile(r"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]{1,270}")
BLANK_LINES = re.compile(rb"(?:\r\n)*+")
HEAD_END = b"\r\n\r\n"
# Fields that may be there once.
SINGLE_FIELDS = re.compile(rb"\r\n(host|content-length|transfer-encoding):", re.IGNORECASE)
# RFC 9112 section 7.1: a size, and extensions that mean nothing here
CHUNK_LINE = re.compile(rb"(?P<size>[0-9A-Fa-f]{1,8}+)(?:;[\t\x20-\x7e\x80-\xff]*+)?+\r\n")
KEPT_HEADS = 128  # headers that came lately: whoever asks again sends the same
LONGEST_KEPT = 1024  # bytes


class RequestParser(parser.HTTPRequestParser):
    """Refuse what cannot be read as HTTP/1.0 or 1.1 in one way only, whatever waitress makes of it."""

    path = ""  # for the log, also of what has none
    completed: bool
    empty: bool

    def received(self, data: bytes) -> int:
        """Take some bytes and return how many were part of this request."""
        if self.body_rcv is None and not self.completed and self._is_hopeless(data):
            self.error: utilities.Error | None = utilities.BadRequest("not HTTP")
            self.completed = True
            return len(data)
        taken: int = super().received(data)
        if self.error:
            self.expect_continue = False  # whatever more would come, it is refused
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        """Read the request line and the header; raises ParsingError, which is answered with 400."""
        known = _known(self.adj, header_plus) if len(header_plus) <= LONGEST_KEPT else None
        if known is None:
            self._read(header_plus)
        else:
            self.__dict__.update(known, headers=known["headers"].copy())

    def _read(self, header_plus: bytes) -> None:
        authority = _judge(header_plus).decode("latin-1")
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise parser.ParsingError("not HTTP") from error
        host = self.headers.get("HOST")
        if host is not None and not HOST_FIELD.fullmatch(host):
            raise parser.ParsingError("no host")
        if authority and host and authority.lower() != host.lower():
            raise parser.ParsingError("two hosts")
        if self.chunked:
            self.body_rcv = Chunks()
        elif not self.content_length:
            self.expect_continue = False  # there is nothing to go on with (RFC 9110 section 10.1.1)

    def _is_hopeless(self, data: bytes) -> bool:
        """Tell whether the header that begins like this can never be one: it need not be waited for."""
        known = len(self.header_plus)
        text = self.header_plus + data
        end = text.find(HEAD_END, max(0, known - 3))
        head = text if end < 0 else text[:end]
        if head.count(b"\n") > head.count(b"\r\n"):  # a bare line feed
            return True
        begun = BLANK_LINES.match(text)
        rest = text[begun.end() :] if begun else text
        return bool(rest != b"\r" and rest[:1].isspace())


class Chunks:
    """Read a chunked body (RFC 9112 section 7.1), which waitress takes from looser writers, too."""

    def __init__(self) -> None:
        self.completed = False
        self.error: utilities.Error | None = None
        self._buffer = buffers.OverflowableBuffer(1 << 60)  # bytes: the parser ends it long before
        self._rest = b""
        self._is_last = False  # all chunks are there

    def __len__(self) -> int:
        return len(self._buffer)

    def received(self, data: bytes) -> int:
        """Take some bytes and return how many were part of the body."""
        self._rest += data
        while not self.completed and not self.error and self._go_on():
            pass
        return len(data) - (len(self._rest) if self.completed else 0)

    def getfile(self) -> Any:
        """Return what was sent, as a file."""
        return self._buffer.getfile()

    def getbuf(self) -> Any:
        """Return the buffer, for waitress to close."""
        return self._buffer

    def _go_on(self) -> bool:
        """Read the next chunk, or the trailer, and tell whether it was there as a whole."""
        if self._is_last:
            return self._read_trailer()
        head = CHUNK_LINE.match(self._rest)
        if not head:
            return self._refuse() if b"\n" in self._rest else False
        begin, size = head.end(), int(head["size"], 16)
        self._is_last = not size
        if self._is_last:
            self._rest = self._rest[begin:]
            return True
        end = self._rest[begin + size : begin + size + 2]
        if not b"\r\n".startswith(end):
            return self._refuse()
        if len(end) < 2:
            return False
        self._buffer.append(self._rest[begin : begin + size])
        self._rest = self._rest[begin + size + 2 :]
        return True

    def _read_trailer(self) -> bool:
        if self._rest.startswith(b"\r\n"):
            end = 2
        elif (end := self._rest.find(HEAD_END) + 4) < 4:
            return False
        lines = [line for line in self._rest[:end].split(b"\r\n") if line]
        if not all(map(HEADER_FIELD.match, lines)):
            return self._refuse()
        self._rest = self._rest[end:]
        self.completed = True
        return False

    def _refuse(self) -> bool:
        self.error = utilities.BadRequest("no chunk")
        return False


@functools.lru_cache(KEPT_HEADS)
def _known(settings: Any, header: bytes) -> dict[str, Any] | None:
    """Return what a header says as a parser's attributes, for all that send the same.

    None: it has a body or is wrong, and is read by each of them.
    """
    reader = RequestParser(settings)
    try:
        reader._read(header)
    except (parser.ParsingError, parser.TransferEncodingNotImplemented):
        return None
    return vars(reader) if reader.body_rcv is None else None


def mend_waitress() -> None:
    """Replace two patterns that waitress has as globals: they take seconds for 16 KiB of blanks or digits."""
    parser.HEADER_FIELD_RE = HEADER_FIELD
    parser.first_line_re = FIRST_LINE


def _judge(header: bytes) -> bytes:
    """Return the host that a request line names, b"" for none; raises ParsingError for what is ambiguous."""
    first = FIRST_LINE.fullmatch(header.partition(b"\r\n")[0])
    version = first["version"] if first else None
    target = TARGET.fullmatch(first["uri"]) if first else None
    if version not in VERSIONS or target is None:
        raise parser.ParsingError("no request line of HTTP/1.0 or 1.1")
    if b"\r\n " in header or b"\r\n\t" in header:  # RFC 9112 section 5.2
        raise parser.ParsingError("folded")
    names = [name.lower() for name in SINGLE_FIELDS.findall(header)]
    if len(set(names)) < len(names):
        raise parser.ParsingError("given twice")
    if b"transfer-encoding" in names and (b"content-length" in names or version == b"1.0"):
        raise parser.ParsingError("two lengths")  # RFC 9112 section 6.1
    if b"host" not in names and version == b"1.1":
        raise parser.ParsingError("no host")  # RFC 9112 section 3.2
    authority: bytes = target["authority"] or b""
    return authority
