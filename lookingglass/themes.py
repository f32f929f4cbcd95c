"""What an operator adds to the page's looks: files of the configuration, served at fixed names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lookingglass.problems import NotFound

# Media types by a file name's ending.
STYLES = {".css": "text/css"}
ICONS = {".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon"}
LOGOS = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
PROSE = {".txt": "text/plain"}
FILE_KIB = 1024  # at most
PROSE_KIB = 64  # at most
KEYS = {"theme.css": "css", "logo": "logo", "icon": "icon"}  # of "theme" by the name in the URL


class File(NamedTuple):
    """Hold a file as it was when the configuration was read."""

    body: bytes
    media: str


def asset(theme: Mapping[str, File], name: str) -> File:
    """Return a file of the theme by its name in the URL; raises NotFound when it is not configured."""
    try:
        return theme[KEYS[name]]
    except KeyError:
        raise NotFound("This looking glass has no theme of its own.") from None
