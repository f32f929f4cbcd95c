"""What an operator adds to the page's looks: files of the configuration, served at fixed names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lookingglass.problems import NotFound

# Media types by a file name's ending.
STYLES = {".css": "text/css"}
LOGOS = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
KEYS = {"theme.css": "css", "logo": "logo"}  # of "theme" by the name in the URL


def read(theme: Mapping[str, str], name: str) -> tuple[bytes, str]:
    """Return a file of the theme by its name in the URL, and its media type.

    Raises NotFound when it is not configured, or is not there any more.
    """
    try:
        path = Path(theme[KEYS[name]])
        return path.read_bytes(), {**STYLES, **LOGOS}[path.suffix.lower()]
    except (KeyError, OSError):
        raise NotFound("This looking glass has no theme of its own.") from None
