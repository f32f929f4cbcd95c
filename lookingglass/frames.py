"""The HTML document around what stands alone: frozen answers, comparisons, and what is wrong with a link."""

from __future__ import annotations

import functools
import string

from lookingglass.pictures.markup import escape
from lookingglass.resources import resource


@functools.cache
def _template() -> string.Template:
    return string.Template(resource("frame.html").decode())


def frame(site: str, heading: str, main: str, up: str) -> bytes:
    """Return a document.

    ``site`` and ``heading`` are text, ``main`` is markup below the heading; ``up`` leads from the document's
    URL to the page: "../".
    """
    values = {
        "title": escape(f"{heading} · {site}"),
        "site": escape(site),
        "heading": escape(heading),
        "main": main,
        "up": up,
    }
    return _template().substitute(values).encode()
