"""What the parsers of several tools share: addresses, numbers, JSON."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from lookingglass.neutral import NEUTRAL

Facts = dict[str, Any]

ADDRESS = r"[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,15})?"
NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
# "64501", or "1.10" in RFC 5396's asdot, "0.64501" in its asdot+
AS_NUMBER = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,5}))?")
AS_PATH_BREAKS = re.compile(r"[ ,{}()\[\]]++")  # between numbers, and around sets and confederations
AS_SET = re.compile(r"[{\[]([^{}\[\]()]*+)[}\]]")  # also one of a confederation
# Where JSON begins: with a line, or else behind what does not end its own, as a warning may not.
BEGINNINGS = (
    re.compile(r"^(?=[{\[])", re.MULTILINE),
    re.compile(r'^[^\s{}\[\]",][^{}"\n]{0,200}(?=\{\s{0,80}")', re.MULTILINE),
)
DEEPEST = 64  # levels of JSON; no tool has so many, and what is made of a document has more


def find_json(text: str) -> object | None:
    """Return the first JSON object or array, whatever stands around it: one that begins a line, if any does.

    What has no end is none, and so is all inside it. A number that could not be written as JSON again becomes
    None, and texts are as harmless as other output, whatever they were escaped to.
    """
    return next(json_documents(text), None)


def json_documents(text: str) -> Iterator[object]:
    """Yield each JSON object or array, as `find_json` finds the first."""
    text = text.lstrip()
    begin = next((each for each in BEGINNINGS if each.search(text)), None)
    here = 0
    while begin and (match := begin.search(text, here)):
        try:
            found, here = _decode_from(text, match.end())
            found = _harmless(found, DEEPEST)
        except RecursionError:  # each further attempt would cost as much
            return
        if found is not None and not _is_mark(found, text[here : here + 1]):
            yield found


def _harmless(value: Any, levels: int) -> Any:
    """Return a value of JSON with harmless texts; raises RecursionError when it has more levels."""
    if isinstance(value, str):
        return value if value.isprintable() else value.translate(NEUTRAL)
    if not isinstance(value, dict | list):
        return value
    if not levels:
        raise RecursionError
    if isinstance(value, list):
        return [_harmless(each, levels - 1) for each in value]
    return {_harmless(key, 0): _harmless(each, levels - 1) for key, each in value.items()}


def _is_mark(document: object, after: str) -> bool:
    """Tell whether a document is only how a log line begins: "[ 12.345] mtr: …"."""
    numbers = isinstance(document, list) and all(isinstance(each, int | float) for each in document)
    return numbers and after not in {"", "\r", "\n"}


def _decode_from(text: str, start: int) -> tuple[object | None, int]:
    """Return the JSON document that begins at ``start``, or None, and where to go on."""
    # Line by line at first, then twice as much each time: so a failure costs no more than what it has read.
    # A line's end cuts no token. A failure in the last line may only be a lack of more.
    size = 1
    while True:
        end = text.find("\n", start + size) + 1 or len(text)
        part = text[start:end]
        try:
            found, length = DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            if end == len(text) or error.pos < part.rfind("\n", 0, -1):
                return None, start + max(error.pos, 1)
        else:
            return found, start + length
        size = 2 * len(part)


def finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= 40 else None  # int() refuses some thousand digits


DECODER = json.JSONDecoder(parse_float=finite, parse_int=_whole, parse_constant=lambda name: None)


def named_host(name: str | None, address: str) -> Facts:
    """Return address and name; a name that only repeats the address is none."""
    return (
        {"address": address, "name": name} if name and not _are_same(name, address) else {"address": address}
    )


def _are_same(one: str, other: str) -> bool:
    """Tell whether two texts are one address, however it is written, with or without its zone."""
    try:
        return ipaddress.ip_address(one.partition("%")[0]) == ipaddress.ip_address(other.partition("%")[0])
    except ValueError:
        return one == other


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


def is_prefix(text: str) -> bool:
    try:
        return "/" in text and bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


def as_number(text: str) -> int | None:
    """Return the AS number that a text is, in plain, asdot or asdot+ notation; 0 is none."""
    match = AS_NUMBER.fullmatch(text)
    if not match:
        return None
    high, low = match[1], match[2]
    number = int(high) if low is None else (int(high) << 16) + int(low)
    return number if 0 < number < 1 << 32 and int(low or 0) < 1 << 16 else None


def as_path(text: str) -> list[int] | None:
    """Return the AS numbers of a path, its sets flattened, or None when there is anything else in it."""
    numbers = [as_number(word) for word in AS_PATH_BREAKS.split(text) if word]
    known = [number for number in numbers if number is not None]
    return known if len(known) == len(numbers) else None


def as_segments(text: str) -> list[int | list[int]] | None:
    """Return an AS path whose sets are lists in it, or None when it has no sets, or is not understood."""
    found: list[int | list[int]] = []
    here = 0
    for match in AS_SET.finditer(text):
        before, members = as_path(text[here : match.start()]), as_path(match[1])
        if before is None or not members:
            return None
        found += [*before, members]
        here = match.end()
    after = as_path(text[here:])
    return [*found, *after] if found and after is not None else None


def used_next_hop(next_hops: list[str]) -> str | None:
    """Return the one of several next hops that packets use: not "::" if another one stands beside it."""
    return next((hop for hop in next_hops if hop != "::"), next_hops[0] if next_hops else None)
