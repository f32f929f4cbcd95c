"""Values of facts, which may be odd: each is taken if it is what it should be, and nothing else is."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from typing import Any

from lookingglass.facts.common import Facts

LARGEST = 10**12


def rows(value: object) -> list[Facts]:
    """Return the objects of a list."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def number(value: object) -> float | None:
    """Return a number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST:
        return None
    return float(value) if math.isfinite(value) else None


def whole(value: object) -> int | None:
    """Return a whole number that is not negative."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def wholes(value: object) -> list[int]:
    """Return the whole numbers of a list."""
    values = value if isinstance(value, list) else []
    return [found for each in values if (found := whole(each)) is not None]


def text(value: object) -> str:
    """Return a text, "" for what is none."""
    return value if isinstance(value, str) else ""


def address(value: object) -> str:
    """Return an address in its one form, "" for what is none."""
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        return ""


def texts(value: object) -> list[str]:
    """Return the texts of a list that are not empty."""
    return [each for each in value if isinstance(each, str) and each] if isinstance(value, list) else []


def table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
