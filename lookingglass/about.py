"""The operator's own words as a page of its own: plain text in, a little markup out."""

from __future__ import annotations

import html
import itertools
import re

from lookingglass.configuration import Configuration
from lookingglass.frames import HTML_UTF8, frame
from lookingglass.problems import NO_PATH, NotFound
from lookingglass.ready import Ready

TITLE = "About this looking glass"
HEADING, ITEM, PARAGRAPH, GAP = "# ", "- ", "", "\n"  # what a line is, by how it begins
URL_IN_TEXT = re.compile(r"(https?://[^\s<>\"]{0,2000}[^\s<>\".,:;!?)])")


def link(configuration: Configuration) -> str:
    """Return a paragraph that leads to the page; nothing where there is none."""
    return f'<p><a href="about">{TITLE}</a></p>' if "about" in configuration.theme else ""


def page(configuration: Configuration) -> Ready:
    """Make the page; raises NotFound where there are no words."""
    if "about" not in configuration.theme:
        raise NotFound(NO_PATH)
    words = configuration.theme["about"].body.decode("utf-8-sig")
    main = f'<div id="words" dir="auto">{markup(words)}</div>'
    return Ready(frame(configuration, TITLE, main, "./"), HTML_UTF8, {})


def markup(words: str) -> str:
    """Return headings, lists and paragraphs, in which URLs are links; everything else stays text."""
    made = []
    for kind, lines in itertools.groupby(words.splitlines(), _kind):
        texts = [_linked(line.strip().removeprefix(kind)) for line in lines]
        if kind == HEADING:
            made += [f"<h2>{text}</h2>" for text in texts]
        elif kind == ITEM:
            made.append(f"<ul>{''.join(f'<li>{text}</li>' for text in texts)}</ul>")
        elif kind == PARAGRAPH:
            made.append(f"<p>{' '.join(texts)}</p>")
    return "\n".join(made)


def _kind(line: str) -> str:
    line = line.strip()
    return next((kind for kind in (HEADING, ITEM) if line.startswith(kind)), PARAGRAPH) if line else GAP


def _linked(text: str) -> str:
    parts = [*map(html.escape, URL_IN_TEXT.split(text))]
    parts[1::2] = [f'<a href="{url}">{url}</a>' for url in parts[1::2]]
    return "".join(parts)
