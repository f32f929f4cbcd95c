"""What people paste into the page's form in, the target that they mean out; html/script.js does the same.

The API takes a target as it is. What is not understood here stays as it is, and is refused there.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))  # what copying brings along
AROUND = string.whitespace + "\"'`<>(),;"  # what stands around a target in prose, lists and output of tools
LONGEST_PASTE = 2048  # characters; nothing longer is looked at

# RFC 3986 section 3: a scheme and an authority; section 4.2: an authority alone.
PASTED_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}+:)?//([^/?#]*+).*+", re.DOTALL)
# Also one with a mistake, of which nothing is dropped: that would be another question.
PASTED_PREFIX = re.compile(r"[0-9A-Fa-f:.]++/[0-9].*+", re.DOTALL)
MASK = re.compile(r"\s*+[0-9.]+\s*+")  # what makes a prefix of an address, rather than a path
# RFC 3986 section 3.2.2: IP-literal, perhaps with a port.
BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?")
HOST_PORT = re.compile(r"([^:/\[\]]++):[0-9]{1,5}")
NUMBER = re.compile(r"[Aa][Ss][Nn]?\s*+([0-9]{1,10})")
NUMBERS_ONLY = re.compile(r"[0-9.]+")
# What IDNA 2003 and IDNA 2008 read as different names (UTS 46 section 4): nobody knows which one is meant.
AMBIGUOUS = frozenset("\u00df\u1e9e\u03c2\u200c\u200d")


def clean(text: str, argument: str) -> str:
    """Return what a command with such an argument can take, or the text without what surrounds it."""
    text = text.translate(INVISIBLE).strip()
    cleaner = CLEANERS.get(argument)
    return cleaner(_bare(text)) if cleaner and len(text) <= LONGEST_PASTE else text


def _bare(text: str) -> str:
    """Return what stands in the middle, without the colon that tools write behind an address."""
    text = text.replace("[.]", ".").strip(AROUND)
    return text.removesuffix(":") if not text.endswith("::") else text


def _host(text: str) -> str:
    if match := PASTED_URL.fullmatch(text):
        text = match[1].rpartition("@")[2]
    elif "/" in text and not (PASTED_PREFIX.fullmatch(text) or MASK.fullmatch(text.partition("/")[2])):
        text = text.partition("/")[0]
    for pattern in (BRACKETED, HOST_PORT):
        if match := pattern.fullmatch(text):
            text = match[1]
    return text if text.isascii() else _a_labels(text)


def _address(text: str) -> str:
    return _host("".join(text.split()))


def _number(text: str) -> str:
    match = NUMBER.fullmatch(text)
    return f"AS{match[1]}" if match else text


def _a_labels(text: str) -> str:
    """Return an international name as DNS has it (RFC 3490); what would become a number stays."""
    if not AMBIGUOUS.isdisjoint(text) or len(text) > 253:
        return text
    try:
        name = text.lower().encode("idna").decode()
    except UnicodeError:
        return text
    return text if NUMBERS_ONLY.fullmatch(name) else name


CLEANERS: dict[str, Callable[[str], str]] = {
    "host": _host,
    "addr": _address,
    "address": _address,
    "asn": _number,
}
