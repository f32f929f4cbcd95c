"""Text, JSON and raw lines of mtr in, facts out; raw lines are read in ``mtr_raw``.

Of several addresses that answered at a hop, ``address`` and ``name`` are of the first one that is known, and
``addresses`` has all of them. A name stands beside the address that it was looked up for, or nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lookingglass.facts.common import (
    ADDRESS,
    Facts,
    as_number,
    finite,
    is_address,
    json_documents,
    named_host,
)
from lookingglass.facts.mtr_raw import MOST, Rounds

# "HOST: lg      Loss%   Snt …"
HEADER = re.compile(
    r"HOST: {1,400}\S{1,255} {1,400}([A-Z][A-Za-z%]{2,5})((?: {1,9}[A-Z][A-Za-z%]{2,5}){0,20})\s?"
)
CELL = re.compile(r"\s*\S+")
# "  3.|-- ae3.r3.example (198.51.100.10)", or with -z, -y and in old versions "  3. AS64500  ae3.r3.example"
HOP = re.compile(r" {0,3}([0-9]{1,3})\.(\|--)? +(\S.*)")
# "    |  `|-- 198.51.100.6" or "     AS64500  r6.example": one more address of the hop before it
FURTHER = re.compile(r" {4}\| {1,3}`?\|-- {1,4}(?P<address>\S+)\s*| {5}(?P<column>\S.*)")
MPLS = re.compile(r" {4,8}\[MPLS: .*| {4}\| {1,3}\|?\+-- .*")
NAMED = re.compile(rf"(?:(\S.{{0,254}}) )?\(({ADDRESS})\)")
ADDRESS_CUT = re.compile(r"(\S{1,255}) \([0-9A-Fa-f:.]{0,45}")
ERROR = re.compile(r"\([A-Za-z][^()]*+\)?")  # "(no route to host)", "(waiting for reply)"
ORIGIN = re.compile(r"AS(?:\?{3}|(?P<asn>[0-9]{1,10}))(?P<gap> *)(?P<host>.*)")
# "192.0.2.0/24", "DE", "ripencc", "2004-01-01" or "???", which -y prints before the host
COLUMN = re.compile(r"\S{1,50} +(?!\([0-9A-Fa-f:.]*\)?$)(\S.*)")
LONGEST = 80  # bytes; mtr cuts names with their addresses here, everywhere but in raw lines
COLUMNS = {
    "Loss%": "loss",
    "Snt": "sent",
    "Last": "last",
    "Avg": "avg",
    "Best": "best",
    "Wrst": "worst",
    "StDev": "stdev",
}
NARROW = {"Drop", "Jttr", "Javg", "Jmax", "Jint"}  # 5 characters wide, all others 6
TIMES = {"last", "avg", "best", "worst", "stdev"}

COMPLAINT = re.compile(r'^(?:mtr: |dns_ack|@)(?:(?!\{\s{0,80}").)*+\n?', re.MULTILINE)
NO_NUMBER = re.compile(r'(?<=":)( ?)-?(?:nan|inf)\b')  # before 0.93 JSON was written by printf


def read(text: str, complete: bool) -> Facts:
    """Return hops with address, name, asn, loss (percent), sent, last, avg, best, worst, stdev (ms)."""
    hops = _report(text) or _json(text)
    return {"hops": hops} if hops else Rounds(text).facts(complete)


# --- reports and JSON


class Header(NamedTuple):
    """Tell where a report's columns are."""

    columns: list[str]
    begin: int  # of the first column without --report-wide; with it the column stands further right
    end: int

    @classmethod
    def read(cls, line: str) -> Header | None:
        match = HEADER.fullmatch(line)
        if not match:
            return None
        columns = [match[1], *match[2].split()]
        return cls(columns, match.end(1) - (5 if match[1] in NARROW else 6), match.end(1))


def _report(text: str) -> list[Facts]:
    header: Header | None = None
    hops: list[Facts] = []
    is_open = False  # further addresses belong to the last hop
    for line in text.split("\n"):
        if found := Header.read(line):
            header = found
        elif header and (hop := _report_hop(line, header)):
            hops.append(hop)
            is_open = True
        elif is_open and (match := FURTHER.fullmatch(line)):
            further = (
                {"address": match["address"]} if match["address"] else _behind_column(match["column"], False)
            )
            _add_address(hops[-1], further)
        else:
            is_open = is_open and bool(MPLS.fullmatch(line))
    return hops


def _report_hop(line: str, header: Header) -> Facts | None:
    """Read the line of a hop; its numbers stand at its end, below the titles of the header."""
    host, *cells = line.rsplit(None, len(header.columns)) or [""]
    match = HOP.fullmatch(host) if len(cells) == len(header.columns) else None
    if not match:
        return None
    # Without --report-wide the numbers stand exactly below their titles, and cover what is longer.
    first = CELL.match(line, len(host))
    is_cut = bool(first and first.end() == header.end and len(host) >= header.begin)
    numbers = dict(zip(header.columns, cells, strict=True))
    # So does each number with the end of the one before it, if that fills its column.
    doubtful = {column for column in header.columns[:-1] if re.fullmatch(r"[0-9]{5,}", numbers[column])}
    numbers = {column: cell for column, cell in numbers.items() if column not in doubtful}
    names = _names(match[3], is_cut) if match[2] else _behind_column(match[3], is_cut)
    return _hop(int(match[1]), names, numbers)


def _json(text: str) -> list[Facts]:
    for document in json_documents(NO_NUMBER.sub(r"\1null", COMPLAINT.sub("", text))):
        report = document.get("report") if isinstance(document, dict) else None
        if isinstance(report, dict) and isinstance(report.get("hubs"), list):
            return [hop for hub in report["hubs"] if isinstance(hub, dict) and (hop := _json_hop(hub))]
    return []


def _json_hop(hub: Mapping[str, Any]) -> Facts | None:
    count, host = str(hub.get("count", "")), hub.get("host")
    if not re.fullmatch(r"[0-9]{1,3}", count):
        return None
    names = _names(host.strip(), is_cut=False) if isinstance(host, str) else {}
    match = re.match(r"(?:AS)?([0-9]{1,10})(?!\S)", str(hub.get("ASN", "")))
    if match and (asn := as_number(match[1])):
        names["asn"] = asn
    return _hop(int(count), names, hub)


def _hop(number: int, names: Facts, numbers: Mapping[str, Any]) -> Facts:
    hop: Facts = {"hop": number, **names}
    for column, name in COLUMNS.items():
        value = _number(numbers.get(column))
        if value is not None:
            hop[name] = int(value) if name == "sent" else value
    has_answered = hop.get("loss") != 100 and hop.get("sent") != 0 and names.get("address", "") is not None
    # The zeros of a hop that has not answered, or not yet, are no times.
    return {name: value for name, value in hop.items() if has_answered or name not in TIMES}


def _number(value: object) -> float | None:
    try:
        return finite(str(value).rstrip("%"))
    except ValueError:
        return None


def _behind_column(text: str, is_cut: bool) -> Facts:
    """Read a host that may stand behind the column of -z or -y."""
    text = text.rstrip()
    if match := ORIGIN.fullmatch(text):
        return _behind_origin(match, is_cut)
    if match := COLUMN.fullmatch(text):
        return _names(match[1], is_cut)
    return {} if "/" in text else _names(text, is_cut)  # a prefix that fills its column touches the host


def _behind_origin(match: re.Match[str], is_cut: bool) -> Facts:
    """Read a host behind "AS64500  ", which is 7 characters wide: a longer number touches the host."""
    if not match["gap"]:
        return {}
    origin: Facts = {"asn": asn} if (asn := as_number(match["asn"] or "")) else {}
    host = match["host"]
    first = host.split(" ")[0]
    if match["asn"] and len(match["gap"]) == 1 and first[:1].isdecimal() and not is_address(first):
        # "AS64500 64501r1.example": of two origins the second one touches the host.
        named = NAMED.fullmatch(host)
        return {**origin, "address": named[2]} if named and is_address(named[2]) else origin
    return {**_names(host, is_cut), **origin}


def _names(host: str, is_cut: bool) -> Facts:
    """Return what a host's column says; nothing where it may lack its end."""
    if host == "???" or ERROR.fullmatch(host):
        return {"address": None, "name": None}
    if (match := NAMED.fullmatch(host)) and is_address(match[2]):
        return named_host(match[1], match[2])
    is_cut = is_cut or len(host.encode()) >= LONGEST
    if is_cut and (match := ADDRESS_CUT.fullmatch(host)):
        return {"name": match[1]}
    if is_cut or re.search(r"\s", host):
        return {}
    if is_address(host):
        return {"address": host}
    return {} if ":" in host or re.fullmatch(r"[0-9.(]+", host) else {"name": host}


def _add_address(hop: Facts, further: Facts) -> None:
    own = {"address": hop.get("address"), "name": hop.get("name")}
    other = {"address": further.get("address"), "name": further.get("name")}
    known = hop.get("addresses", [own])
    is_understood = is_address(other["address"]) if other["address"] else bool(other["name"])
    if is_understood and len(known) < MOST and other not in known:
        hop["addresses"] = [*known, other]
