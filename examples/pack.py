"""Pack a folder into one program, the same bytes each time: `python3 examples/pack.py FOLDER FILE`.

Docstrings and comments are left out, and lines keep their numbers.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
import zipfile
from pathlib import Path

# Licences that ask for changes to be told, docstrings that --help shows, and a program that ps shows.
AS_THEY_ARE = ("waitress/", "cgi.py", "tinytracer.py", "lookingglass/watcher.py")
SHEBANG = b"#!/usr/bin/env python3\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can tell
MODE = 0o100644 << 16


def code_of(text: str) -> str:
    """Return Python text without docstrings and comments, in as many lines."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            docstring = node.body[0]
            end = docstring.end_lineno or docstring.lineno
            lines[docstring.lineno - 1] = " " * docstring.col_offset + ('""' if len(node.body) == 1 else "")
            lines[docstring.lineno : end] = [""] * (end - docstring.lineno)
    return "\n".join(each.rstrip() for each in lines) + "\n"


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
