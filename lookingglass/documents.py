"""A JSON document in, its value out, or what is wrong with it: line, column, and the usual reason."""

from __future__ import annotations

import codecs
import collections
import errno
import json
import os
import re
import stat
from typing import Any

StrPath = str | os.PathLike[str]

BLANKS = " \t\r\n"
# What stands where JSON could not be read, and what was meant; the first that matches counts.
USUALLY = (
    (re.compile(r"//|/\*|#"), 'JSON has no comments; delete it, or write "$comment": "…" instead'),
    (re.compile(r"[\u2018-\u201e\u00ab\u00bb]"), 'these are typographic quotes; write " instead'),
    (re.compile(r"[']"), "strings stand in double quotes; write \" instead of '"),
    (re.compile(r"True\b|False\b|None\b"), "write true, false or null, in small letters"),
    (re.compile(r"[A-Za-z_$]"), 'names and strings stand in double quotes; write "…" around it'),
)
MESSAGES = {  # by how the messages of Python's json begin
    "Expecting ',' delimiter": "a comma is missing before this, or a bracket that closes",
    "Expecting ':' delimiter": "a colon is missing between a name and its value",
    "Invalid control character": "a string cannot go on in the next line; close its quotes",
    "Unterminated string": "a string is not closed; write the quotes at its end",
    "Invalid \\escape": "a backslash in a string is written twice",
    "Extra data": "the document has ended before this; delete what follows, or a bracket too many before it",
}
TRAILING = "the comma before a closing bracket is one too many; delete it"
MARK = "the file begins with a byte order mark (BOM); save it in UTF-8 without one"
WIDE = "the file is in UTF-16; save it in UTF-8"
TOO_SHORT = "the file ends too early: a bracket is not closed"
# What may never end, or do something when it is opened, by stat.S_IFMT.
OTHERS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
EMPTY_FILE = 'the file is empty; write at least {"commands": {…}}, or have `tinytracer init` write one'


class Members(dict[str, Any]):
    """A JSON object that remembers the keys it was given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: set[str] = set()
        if len(self) < len(pairs):
            counted = collections.Counter(key for key, _ in pairs)
            self.repeated = {key for key, count in counted.items() if count > 1}


def contents_of(path: StrPath, most: int = -1, *, or_pipe: bool = False) -> bytes:
    """Read a regular file; raises OSError, also for anything else.

    ``most``: the bytes that are read at most; -1: all. ``or_pipe``: a pipe of a shell is read as well.
    """
    takes_pipe = or_pipe and is_pipe_of_shell(path)
    # A named pipe is not even opened: that would wake up a process that waits to write into it.
    _refuse_others(os.stat(path), takes_pipe)
    with open(path, "rb", opener=_open_at_once) as file:
        _refuse_others(os.fstat(file.fileno()), takes_pipe)
        os.set_blocking(file.fileno(), True)
        return file.read(most)


def is_pipe_of_shell(path: StrPath) -> bool:
    """Tell whether a path leads to a pipe that has no name, as /dev/stdin or <(…) may: it is read once."""
    try:
        is_pipe = stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
    return is_pipe and not os.path.exists(os.path.realpath(path))


def load_json(path: StrPath, mistakes: list[str], *, or_pipe: bool = False) -> Any:
    """Return what a JSON file holds; else note what is wrong with it, without its name, and return None.

    ``or_pipe``: as ``contents_of`` has it.
    """
    try:
        data = contents_of(path, or_pipe=or_pipe)
    except (OSError, ValueError) as error:
        mistakes.append(f"cannot be read: {getattr(error, 'strerror', error)}")
        return None
    return parse_json(data, mistakes)


def parse_json(data: bytes, mistakes: list[str]) -> Any:
    """Return what a JSON document holds; else note what is wrong with it and return None."""
    if data.startswith(codecs.BOM_UTF8):
        mistakes.append(f"line 1 column 1: {MARK}")
        return None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        mistakes.append(f"expected JSON in UTF-8: {WIDE}")
        return None
    try:
        return json.loads(data.decode(), object_pairs_hook=Members, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        mistakes.append(_explained(error))
    except (ValueError, RecursionError) as error:
        mistakes.append(f"expected JSON in UTF-8: {error}")
    return None


def _refuse_others(status: os.stat_result, takes_pipe: bool) -> None:
    """Raise OSError for what is no regular file."""
    kind = OTHERS.get(stat.S_IFMT(status.st_mode))
    if kind and not (takes_pipe and stat.S_ISFIFO(status.st_mode)):
        raise OSError(errno.EINVAL, f"it is {kind}; expected a regular file")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _explained(error: json.JSONDecodeError) -> str:
    """Return where a document is wrong, and why it is so as a rule."""
    text, position = error.doc, error.pos
    before = text[:position].rstrip(BLANKS)
    if text.startswith(",", position):  # where Python 3.13 sees it
        before = text[: position + 1]
    after = text[len(before) :].lstrip(BLANKS)
    told = next((reason for start, reason in MESSAGES.items() if error.msg.startswith(start)), error.msg)
    if before.endswith(",") and after[:1] in {"}", "]"}:
        position, told = len(before) - 1, TRAILING
    elif not text.strip(BLANKS):
        told = EMPTY_FILE
    elif not after:
        told = TOO_SHORT
    elif error.msg.startswith("Expecting"):
        told = next((reason for pattern, reason in USUALLY if pattern.match(after)), told)
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"line {line} column {column}: {told}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
