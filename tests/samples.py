"""What real tools printed, and how facts of it are compared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lookingglass.facts import facts

SAMPLES = Path(__file__).parent.parent / "examples" / "samples"
CASES = Path(__file__).parent / "cases"  # from public reports; addresses, names and numbers replaced
TOOLS = {"ping": "ping", "traceroute": "traceroute", "mtr": "mtr", "birdc": "bird", "frr": "frr"}
R1, R2, R3, R4, TARGET = "198.51.100.2", "198.51.100.6", "198.51.100.10", "198.51.100.14", "203.0.113.10"
EVERY = sorted(path.name for path in SAMPLES.iterdir())


def sample(name: str) -> str:
    return (SAMPLES / name).read_text()


def parser_of(name: str) -> str:
    """Return the parser that reads a sample, or "" for none."""
    return next((parser for tool, parser in TOOLS.items() if re.match(rf"(?:\w+-)?{tool}", name)), "")


def read(name: str) -> Any:
    return facts(parser_of(name), sample(name))


def is_part(part: Any, whole: Any) -> bool:
    """Tell whether a part says nothing that the whole does not say; lists grow at their end."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and is_part(value, whole[key]) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) <= len(whole) and all(map(is_part, part, whole))
    return bool(part == whole)


def says(found: Any, expected: Any) -> bool:
    """Tell whether facts say what is expected; they may have more keys, but no longer lists."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return all(key in found and says(found[key], value) for key, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(says, found, expected))
    return bool(found == expected)
