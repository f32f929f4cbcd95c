"""Text of ping, traceroute, mtr, BIRD and FRR in, facts out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# iputils: "rtt min/avg/max/mdev = 0.030/0.041/0.050/0.006 ms"; busybox: "round-trip min/avg/max = …".
NUMBER = r"([0-9.]{1,12})"
RTT = re.compile(
    rf"^(?:rtt|round-trip) min/avg/max(?:/\w+)? = {NUMBER}/{NUMBER}/{NUMBER}(?:/{NUMBER})?", re.MULTILINE
)
COUNT = re.compile(r"^(\d{1,9}) packets transmitted, (\d{1,9}) (?:packets )?received", re.MULTILINE)


def facts(parser: str, text: str) -> dict[str, Any]:
    """Return what is known from a command's output; nothing when it is not understood."""
    try:
        return PARSERS[parser](text)
    except (ValueError, KeyError):
        return {}


def _ping(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if match := RTT.search(text):
        found = {
            name: float(value)
            for name, value in zip(("min", "avg", "max", "mdev"), match.groups(), strict=True)
            if value
        }
    if match := COUNT.search(text):
        sent, received = int(match[1]), int(match[2])
        found.update(sent=sent, received=received)
        if sent:
            found["rate"] = round(100 * received / sent, 2)
    return found


def _nothing(text: str) -> dict[str, Any]:
    return {}


PARSERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "ping": _ping,
    "traceroute": _nothing,
    "mtr": _nothing,
    "bird": _nothing,
    "frr": _nothing,
}
