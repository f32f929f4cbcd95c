"""What real tools printed, and how facts of it are compared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lookingglass.facts import facts
from tests.support import SAMPLES, sample

CASES = Path(__file__).parent / "cases"  # from public reports; addresses, names and numbers replaced
TOOLS = {"ping": "ping", "traceroute": "traceroute", "mtr": "mtr", "birdc": "bird", "frr": "frr"}
R1, R2, R3, R4, TARGET = "198.51.100.2", "198.51.100.6", "198.51.100.10", "198.51.100.14", "203.0.113.10"
EVERY = sorted(path.name for path in SAMPLES.iterdir())


def parser_of(name: str) -> str:
    """Return the parser that reads a sample, or "" for none."""
    return next((parser for tool, parser in TOOLS.items() if re.match(rf"(?:\w+-)?{tool}", name)), "")


def read(name: str) -> Any:
    return facts(parser_of(name), sample(name))


def says(found: Any, expected: Any) -> bool:
    """Tell whether facts say what is expected; they may have more keys, but no longer lists."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(key in found and says(found[key], value) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(says, found, expected))
    return bool(found == expected)
