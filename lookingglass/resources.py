"""Files that the program comes with: read from the package, also within a zip, or from a checkout."""

from __future__ import annotations

import contextlib
import os
from typing import Any

# Names of command sets, which "commands" may say instead of a file's name.
SETS = (
    *("bird", "eos", "frr", "gobgp", "ios", "ios-xr", "junos", "linux", "nx-os", "openbgpd"),
    *("routeros6", "routeros7", "sros", "tnsr", "vrp", "vyos"),
)
SCRIPTS = ("birdlg", "gobgplg")  # programs that some of these sets need on the PATH
# Folders: in a package, in a checkout.
PAGE = ("html", "html")
ROUTERS = ("routers", os.path.join("examples", "routers"))
ROOT = ("", "")

LOADER: Any = __spec__.loader  # reads files beside this module, in a folder and in a zip alike
PACKAGE = os.path.dirname(__file__)  # as typed, for the loader knows a zip by that


def resource(name: str, folders: tuple[str, str] = PAGE) -> bytes:
    """Read a file of the page, or of other ``folders``."""
    for folder, inner in zip((PACKAGE, os.path.dirname(PACKAGE)), folders, strict=True):
        with contextlib.suppress(OSError):
            data: bytes = LOADER.get_data(os.path.join(folder, inner, name))
            return data
    raise FileNotFoundError(name)


def command_set(name: str) -> bytes:
    """Read one of the SETS."""
    return resource(f"{name}.json", ROUTERS)
