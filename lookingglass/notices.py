"""Texts that programs look for at fixed paths: what crawlers may read, and whom to tell of a flaw."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from commands import TEXT
from lookingglass.problems import NO_PATH, NotFound
from lookingglass.ready import Ready

TEXT_UTF8 = f"{TEXT}; charset=utf-8"  # RFC 9309 section 2.3 and RFC 9116 section 3
# Below the application: what runs commands, what they have answered, and what is large.
UNCRAWLED = ("/.well-known/looking-glass/", "/results/", "/testfiles/", "/*?")
HOLDS = 90  # days; RFC 9116 section 2.5.5 wants less than a year
# RFC 9116 section 2.5.3: a contact is a URI; a plain mail address gets its scheme.
CONTACT_URI = re.compile(r"(?:https://|mailto:|tel:)[!-~]{1,500}")
MAIL = re.compile(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,253}")


def robots(base: str) -> Ready:
    """Keep crawlers from running commands and from results (RFC 9309)."""
    prefix = urlsplit(base).path
    rules = "".join(f"Disallow: {prefix}{path}\n" for path in UNCRAWLED)
    return Ready(f"User-agent: *\n{rules}".encode(), TEXT_UTF8, {})


def today() -> datetime.date:
    """Return the day in UTC."""
    return datetime.datetime.now(datetime.UTC).date()


def security(info: Mapping[str, str], base: str, day: datetime.date) -> Ready:
    """Name whom to tell of a flaw (RFC 9116), which holds for HOLDS days from a ``day`` in UTC.

    It is made anew each day, so it expires only where the looking glass does not run any more.
    Raises NotFound where no contact is configured that can be written as a URI.
    """
    contact = info.get("contact", "")
    if MAIL.fullmatch(contact):
        contact = f"mailto:{contact}"
    if not CONTACT_URI.fullmatch(contact):
        raise NotFound(NO_PATH)
    expires = day + datetime.timedelta(days=HOLDS)
    canonical = f"{base}/.well-known/security.txt"
    lines = f"Contact: {contact}\nExpires: {expires}T00:00:00Z\nCanonical: {canonical}\n"
    return Ready(lines.encode(), TEXT_UTF8, {})
