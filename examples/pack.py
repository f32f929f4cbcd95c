"""Pack a folder into one program, the same bytes each time: `python3 examples/pack.py FOLDER FILE`.

Docstrings, comments and annotations are left out, and lines keep their numbers.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path

# Licences that ask for changes to be told, docstrings that --help shows, and a program that ps shows.
AS_THEY_ARE = ("waitress/", "cgi.py", "tinytracer.py", "lookingglass/watcher.py")
SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can tell
MODE = 0o100644 << 16
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def code_of(text: str) -> str:
    """Return Python text without docstrings, comments and annotations of functions, in as many lines."""
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
    return "\n".join(each.rstrip() for each in left) + "\n"


def annotated(tree: ast.Module, lines: list[bytes]) -> Iterator[tuple[int, int, int]]:
    """Yield the row and the bytes of annotations that stand in one line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation and node.lineno == node.annotation.end_lineno:
            name = node.col_offset + len(node.arg.encode())
            yield node.lineno - 1, name, node.annotation.end_col_offset or 0
        elif isinstance(node, ast.FunctionDef) and node.returns:
            row, end = node.returns.lineno - 1, node.returns.end_col_offset or 0
            arrow = lines[row].rfind(b"->", 0, node.returns.col_offset)
            if arrow > 0 and node.returns.end_lineno == node.returns.lineno:
                yield row, arrow, end


def packed(name: str, content: bytes) -> bytes:
    """Return what of a file goes into the program."""
    is_shortened = name.endswith(".py") and not name.startswith(AS_THEY_ARE)
    return code_of(content.decode()).encode() if is_shortened else content


def main() -> None:
    folder, target = map(Path, sys.argv[1:])
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
