"""The files that the program comes with."""

from __future__ import annotations

import contextlib
import os
from typing import Any

LOADER: Any = __spec__.loader  # reads files beside this module, in a folder and in a zip alike


def resource(name: str) -> bytes:
    """Read a file that the program comes with: from the package, also within a zip, or from a checkout."""
    package = os.path.dirname(__file__)  # as typed, for the loader knows a zip by that
    for folder in (package, os.path.dirname(package)):
        with contextlib.suppress(OSError):
            data: bytes = LOADER.get_data(os.path.join(folder, "html", name))
            return data
    raise FileNotFoundError(name)
