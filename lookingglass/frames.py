"""The HTML document around what stands alone: frozen answers, comparisons, and what is wrong with a link."""

from __future__ import annotations

import functools
import string

from lookingglass.configuration import Configuration
from lookingglass.pictures.markup import escape
from lookingglass.resources import resource


@functools.cache
def _template() -> string.Template:
    return string.Template(resource("frame.html").decode())


def frame(configuration: Configuration, heading: str, main: str, up: str) -> bytes:
    """Return a document.

    ``heading`` is text, ``main`` is markup below it; ``up`` leads from the document's URL to the page: "../".
    """
    values = {
        **dress(configuration, up),
        "title": f"{escape(heading)} · {escape(configuration.title)}",
        "heading": escape(heading),
        "main": main,
        "up": up,
    }
    return _template().substitute(values).encode()


def dress(configuration: Configuration, up: str) -> dict[str, str]:
    """Return what the theme puts into each document: icon, style sheet, and the title with the logo."""
    site, theme = escape(configuration.title), configuration.theme
    return {
        "icon": f"{up}{'icon' if 'icon' in theme else 'icon.svg'}",
        "site": f'<img src="{up}logo" alt=""> {site}' if "logo" in theme else site,
        "theme": f'\n<link rel="stylesheet" href="{up}theme.css">' if "css" in theme else "",
    }
