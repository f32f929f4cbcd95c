"""The HTML document around the page, and around frozen answers, comparisons and what is wrong with a link."""

from __future__ import annotations

import functools
import string

from commands import Router
from lookingglass.answers import HTML
from lookingglass.configuration import Configuration
from lookingglass.pictures.markup import escape
from lookingglass.resources import resource

HTML_UTF8 = f"{HTML}; charset=utf-8"  # the media type of a document
# Arguments of commands that take what an answer names.
TAKES = {"address": ("host", "addr", "address"), "prefix": ("addr",), "asn": ("asn",)}


def template_of(body: str) -> str:
    """Return the template of a document whose body is a file of the page."""
    return resource("frame.html").decode().replace("$body\n", resource(body).decode())


@functools.cache
def _template() -> string.Template:
    return string.Template(template_of("result.html"))


def frame(configuration: Configuration, heading: str, main: str, up: str, asks: str = "") -> bytes:
    """Return a document.

    ``heading`` is text, ``main`` is markup below it; ``up`` leads from the document's URL to the page: "../".
    ``asks`` is what ``next_questions`` returns.
    """
    values = {
        **dress(configuration, up),
        "title": f"{escape(heading)} · {escape(configuration.title)}",
        "robots": '\n<meta name="robots" content="noindex, nofollow">',
        "heading": escape(heading),
        "main": main,
        "asks": asks,
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


def next_questions(router: Router | None, command: str) -> str:
    """Return attributes: the commands to which addresses, prefixes and AS numbers of a router's answer lead.

    The one that was asked is preferred.
    """
    if router is None:  # it is not configured any more
        return ""
    offered = sorted(router.commands.values(), key=lambda each: each.name != command)
    takers = {
        kind: next((each.name for each in offered if each.argument in taken), "")
        for kind, taken in TAKES.items()
    }
    asked = {"router": router.name, **{kind: name for kind, name in takers.items() if name}}
    return "".join(f' data-{key}="{escape(value)}"' for key, value in asked.items())
