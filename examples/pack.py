"""Pack a folder into one program, the same bytes each time: `python3 examples/pack.py FOLDER FILE`.

Docstrings and comments are left out, and lines keep their numbers. Where a licence asks that changes be told,
nothing is changed.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
import zipfile
from pathlib import Path

AS_THEY_ARE = ("waitress", "cgi.py")
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


def packed(folder: Path, path: Path) -> bytes:
    """Return what of a file goes into the program."""
    is_code = path.suffix == ".py" and path.relative_to(folder).parts[0] not in AS_THEY_ARE
    return code_of(path.read_text()).encode() if is_code else path.read_bytes()


def main() -> None:
    folder, target = map(Path, sys.argv[1:])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with open(target, "wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in files:
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
                entry.external_attr, entry.compress_type = MODE, zipfile.ZIP_DEFLATED
                archive.writestr(entry, packed(folder, path), compresslevel=9)
    target.chmod(0o755)


if __name__ == "__main__":
    main()
