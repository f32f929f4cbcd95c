"""The URL that was asked: its path, its query, and the base below which visitors see the application."""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from webob import Request

from lookingglass.problems import HTTPProblem

# RFC 9110 section 7.2: a name or an address, perhaps a port
AUTHORITY = re.compile(r"[A-Za-z0-9._:\[\]-]{1,270}")
# What the base depends on when it is not configured (PEP 3333, URL reconstruction).
BASE = ("wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME")
KEPT_BASES = 64  # of all that Host can say; nearly all clients say one of few


def path_of(environ: dict[str, Any]) -> str:
    """Return the path; what is not UTF-8 in it stands as surrogates."""
    raw: str = environ.get("PATH_INFO", "")
    return raw.encode("latin-1").decode(errors="surrogateescape")


def query_of(environ: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the parameters of the URL's query; raises HTTPProblem."""
    query: str = environ.get("QUERY_STRING", "")
    # WebOb would also split at ";", as nobody else does: what stands behind it would be silently ignored
    pairs = [part.partition(b"=") for part in query.encode("latin-1").split(b"&") if part]
    try:
        return tuple((_decoded(name), _decoded(value)) for name, _, value in pairs)
    except UnicodeDecodeError:
        raise HTTPProblem(400, "The URL is not UTF-8.") from None


def base_of(environ: dict[str, Any], configured: str | None) -> str:
    """Return the URL under which visitors see the application, without a slash at its end."""
    return configured or _base_of(*map(environ.get, BASE))


def _decoded(part: bytes) -> str:
    return unquote_to_bytes(part.replace(b"+", b" ")).decode()


@functools.lru_cache(KEPT_BASES)
def _base_of(*told: str | None) -> str:
    environ = {name: text for name, text in zip(BASE, told, strict=True) if text is not None}
    if not AUTHORITY.fullmatch(environ.get("HTTP_HOST", "localhost")):
        raise HTTPProblem(400, "The header Host is not a host, with or without a port.")
    return str(Request(environ).application_url).rstrip("/")
