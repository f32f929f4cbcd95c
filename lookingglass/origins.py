"""Whose pages make a browser ask: what other sites may run, and what they may read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from lookingglass.headers import BY_ORIGIN, EXPOSED
from lookingglass.problems import HTTPProblem

ANY = "*"  # among allowed origins: all of them
PORTS = {"http": ":80", "https": ":443"}  # which an origin leaves out
# RFC 6454 section 6.2, and what of a Referer says the same
ORIGIN = re.compile(r"(https?)://([A-Za-z0-9._\[\]:-]{1,270}+)")
REFERER = re.compile(rf"({ORIGIN.pattern})(?:[/?#].*+)?+", re.DOTALL)
# Sec-Fetch-Site of this page's own requests, and of typed and kept links.
OWN_REQUESTS = {"same-origin", "none"}
REFUSAL = "Commands are not run for pages, links and images of other sites; open this page itself."


def read_origin(text: str) -> str | None:
    """Return an origin as browsers write it: small letters, without the usual port. None: it is none."""
    match = ORIGIN.fullmatch(text)
    return match and f"{match[1]}://{match[2].removesuffix(PORTS[match[1]])}".lower()


def is_allowed(origin: str | None, allowed: Collection[str]) -> bool:
    """Tell whether the pages of an origin may run commands by fetch()."""
    return ANY in allowed or bool(origin and read_origin(origin) in allowed)


def refuse_forged(environ: Mapping[str, Any], host: str | None, allowed: Collection[str]) -> None:
    """Refuse what another site's page makes a browser ask; raises HTTPProblem.

    ``host`` is the configured URL of this looking glass. Another origin of the same site counts as another
    site: its pages may be somebody else's. A program that does not tell where it comes from may ask.
    """
    if "prefetch" in environ.get("HTTP_SEC_PURPOSE", "").lower():
        raise HTTPProblem(400, "Commands are not run before somebody asks for them.")
    site = _word(environ, "SITE")
    if site in OWN_REQUESTS:
        return
    if site:
        # The browser tells: what fetch() reads needs our permission, images and the like do not ask for it.
        is_fetch = (_word(environ, "MODE"), _word(environ, "DEST")) == ("cors", "empty")
        is_admitted = is_fetch and is_allowed(environ.get("HTTP_ORIGIN"), allowed)
    else:
        is_admitted = not _is_foreign(environ, host, allowed)
    if not is_admitted:
        raise HTTPProblem(400, REFUSAL)


def refuse_embedded(environ: Mapping[str, Any]) -> None:
    """Refuse to send a file into a page of another site, which only uses up the line; links may lead to it.

    Raises HTTPProblem.
    """
    is_link = _word(environ, "MODE") == "navigate" and _word(environ, "DEST") in {"document", "empty"}
    if _word(environ, "SITE") == "cross-site" and not is_link:
        raise HTTPProblem(400, "Files are not sent into pages of other sites.")


def sharing(environ: Mapping[str, Any], allowed: Collection[str]) -> dict[str, str]:
    """Return the headers that let a page on another site read a run, none where it may not."""
    origin = environ.get("HTTP_ORIGIN")
    if ANY in allowed:
        return {"Access-Control-Allow-Origin": ANY, **EXPOSED}
    if is_allowed(origin, allowed):
        return {"Access-Control-Allow-Origin": str(origin), **EXPOSED, **BY_ORIGIN}
    return BY_ORIGIN if allowed else {}


def _word(environ: Mapping[str, Any], name: str) -> str:
    """Return a Sec-Fetch header (Fetch Metadata Request Headers, section 2)."""
    word: str = environ.get(f"HTTP_SEC_FETCH_{name}", "")
    return word.strip().lower()


def _is_foreign(environ: Mapping[str, Any], host: str | None, allowed: Collection[str]) -> bool:
    """Tell by Origin and Referer whether a page of another site asks, as far as they say so."""
    origin, referer = environ.get("HTTP_ORIGIN"), environ.get("HTTP_REFERER")
    if not origin and not referer:
        return False
    here = f"{environ.get('wsgi.url_scheme')}://{environ.get('HTTP_HOST', '')}"
    own = {_origin_of(host or ""), read_origin(here)} - {None}
    claimed = [read_origin(origin)] if origin else []
    claimed += [_origin_of(referer)] if referer else []
    return any(each not in own and not is_allowed(each, allowed) for each in claimed)


def _origin_of(url: str) -> str | None:
    match = REFERER.fullmatch(url)
    return match and read_origin(match[1])
