"""Pack a folder into one program, the same bytes each time: `python3 examples/pack.py FOLDER FILE`.

Docstrings, comments, annotations and most of the indentation are left out, and lines keep their numbers.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path

# A licence that asks for each change's date, docstrings that --help shows, and a program that ps shows.
AS_THEY_ARE = ("waitress/", "tinytracer.py", "lookingglass/watcher.py")
# What stands in the place of a first line, where a licence asks for a summary of changes.
NOTICES = {"cgi.py": "# Shortened: docstrings, comments and indentation are left out of legacy-cgi's file."}
SETS = "lookingglass/routers/"  # of commands, which nobody reads in here
SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can tell
MODE = 0o100644 << 16
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def code_of(text: str) -> str:
    """Return Python text without docstrings, comments and annotations, in as many lines."""
    lines = [line.encode() for line in text.splitlines()]
    tree = ast.parse(text)
    for row, begin, end in sorted(annotated(tree, lines), reverse=True):
        lines[row] = lines[row][:begin].rstrip() + lines[row][end:]
    bare = b"\n".join(lines).decode()
    left = bare.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(bare).readline):
        if token.type == tokenize.COMMENT:
            left[token.start[0] - 1] = left[token.start[0] - 1][: token.start[1]]
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            first, last = docstring.lineno - 1, docstring.end_lineno or docstring.lineno
            left[first] = " " * docstring.col_offset + ('""' if len(node.body) == 1 else "")
            left[first + 1 : last] = [""] * (last - first - 1)
    return narrow("\n".join(each.rstrip() for each in left) + "\n")


def narrow(text: str) -> str:
    """Return Python text with a space for each level of indentation; strings stay as they are."""
    level = 0
    levels: dict[int, int] = {}  # by the number of a line
    inside: set[int] = set()  # numbers of lines that begin within a string
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.INDENT, tokenize.DEDENT}:
            level += 1 if token.type == tokenize.INDENT else -1
        else:
            levels.setdefault(token.start[0], level)
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
    narrowed = [
        line if n in inside or not line else " " * levels[n] + line.lstrip(" ")
        for n, line in enumerate(text.splitlines(), 1)
    ]
    return "\n".join(narrowed) + "\n"


def annotated(tree: ast.Module, lines: list[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield the row and the bytes of annotations that stand in one line, and that nothing reads.

    Those of a class's own names may be read: they make the fields of a NamedTuple.
    """
    read = {each for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for each in node.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and node not in read:
            if node.value and node.lineno == node.annotation.end_lineno:
                yield node.lineno - 1, node.target.end_col_offset or 0, node.annotation.end_col_offset or 0
        elif isinstance(node, ast.arg) and node.annotation and node.lineno == node.annotation.end_lineno:
            name = node.col_offset + len(node.arg.encode())
            yield node.lineno - 1, name, node.annotation.end_col_offset or 0
        elif isinstance(node, ast.FunctionDef) and node.returns:
            row, end = node.returns.lineno - 1, node.returns.end_col_offset or 0
            arrow = lines[row].rfind(b"->", 0, node.returns.col_offset)
            if arrow > 0 and node.returns.end_lineno == node.returns.lineno:
                yield row, arrow, end


def packed(name: str, content: bytes) -> bytes:
    """Return what of a file goes into the program."""
    if name.startswith(SETS) and name.endswith(".json"):
        return json.dumps(json.loads(content), ensure_ascii=False, separators=(",", ":")).encode()
    if not name.endswith(".py") or name.startswith(AS_THEY_ARE):
        return content
    return (NOTICES.get(name, "") + code_of(content.decode())).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("file", type=Path, metavar="FILE")
    options = parser.parse_args()
    folder, target = options.folder, options.file
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with open(target, "wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in files:
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
                entry.external_attr, entry.compress_type = MODE, zipfile.ZIP_DEFLATED
                archive.writestr(entry, packed(entry.filename, path.read_bytes()), compresslevel=9)
    target.chmod(0o755)


if __name__ == "__main__":
    main()
