"""What the parsers of several tools share: addresses, numbers, JSON."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from typing import Any

Facts = dict[str, Any]

ADDRESS = r"[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,15})?"
NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
# "64501", or "1.10" in RFC 5396's asdot
AS_NUMBER = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,5}))?")


def read_json(text: str) -> Any:
    """Read JSON; a number that could not be written as JSON again becomes None."""
    return json.loads(text, parse_float=finite, parse_constant=lambda name: None)


def finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def named_host(name: str | None, address: str | None) -> Facts:
    """Return address and name; a name that only repeats the address is none."""
    return {"address": address, "name": name} if name != address else {"address": address}


def is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def either(paths: list[Facts], neighbors: list[Facts], complete: bool) -> Facts:
    """Return what was understood of the one or the other; the last one may lack what follows."""
    found = {"paths": paths, "neighbors": neighbors}
    found = {
        name: [each for each in values[: None if complete else -1] if each] for name, values in found.items()
    }
    return {name: values for name, values in found.items() if values}


def as_numbers(text: str) -> list[int]:
    """Return the AS numbers in a text; sets are flattened."""
    return [(int(high) << 16) + int(low) if low else int(high) for high, low in AS_NUMBER.findall(text)]
