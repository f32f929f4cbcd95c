"""Text, JSON and raw lines of mtr in, facts out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lookingglass.facts.common import (
    ADDRESS,
    Facts,
    finite,
    is_address,
    named_host,
    read_json,
)

# "  3.|-- ae3.r3.example (198.51.100.10)" or "  3. AS64500  ae3.r3.example", before the columns
MTR_HOST = re.compile(r" {0,3}([0-9]{1,3})\.(?:\|--| AS([0-9]{1,10}|\?{1,3}))? +(\S.*)")
NAMED = re.compile(rf"(\S{{1,255}}) \(({ADDRESS})\)")
MTR_COLUMNS = {
    "Loss%": "loss",
    "Snt": "sent",
    "Last": "last",
    "Avg": "avg",
    "Best": "best",
    "Wrst": "worst",
    "StDev": "stdev",
}

MTR_TIMES = {"last", "avg", "best", "worst", "stdev"}


def read(text: str, complete: bool) -> Facts:
    """Return hops with address, name, asn, loss (percent), sent, last, avg, best, worst, stdev (ms)."""
    if text.lstrip().startswith("{"):
        hops = _mtr_json(text)
    elif re.match(r"x [0-9]{1,3} [0-9]", text):
        hops = _mtr_raw(text, complete)
    else:
        hops = _mtr_report(text)
    return {"hops": hops} if hops else {}


def _mtr_report(text: str) -> list[Facts]:
    columns: list[str] = []
    hops = []
    for line in text.split("\n"):
        if line.startswith("HOST: "):
            columns = line.split()[2:]
        cells = line.rsplit(None, len(columns)) if columns else []
        match = MTR_HOST.fullmatch(cells[0]) if len(cells) == len(columns) + 1 else None
        if match:
            numbers = dict(zip(columns, cells[1:], strict=True))
            hops.append(_mtr_hop(int(match[1]), match[3], match[2], numbers))
    return hops


def _mtr_json(text: str) -> list[Facts]:
    hubs = read_json(text)["report"]["hubs"]
    return [_mtr_hop(int(hub["count"]), hub["host"], str(hub.get("ASN", "")), hub) for hub in hubs]


def _mtr_hop(number: int, host: str, asn: str | None, numbers: Mapping[str, Any]) -> Facts:
    hop: Facts = {"hop": number, **_mtr_names(host.strip())}
    if match := re.fullmatch(r"(?:AS)?([0-9]{1,10})", asn or ""):
        hop["asn"] = int(match[1])
    for column, name in MTR_COLUMNS.items():
        value = finite(str(numbers[column]).rstrip("%")) if numbers.get(column) is not None else None
        if value is not None:
            hop[name] = int(value) if name == "sent" else value
    if hop.get("loss") == 100:  # the zeros that follow are no times
        return {name: value for name, value in hop.items() if name not in MTR_TIMES}
    return hop


def _mtr_names(host: str) -> Facts:
    if host == "???":
        return {"address": None, "name": None}
    if match := NAMED.fullmatch(host):
        return named_host(match[1], match[2])
    if is_address(host):
        return {"address": host}
    is_cut = ":" in host or re.fullmatch(r"[0-9.]+", host)  # an address without --report-wide
    return {} if is_cut else {"name": host}


def _mtr_raw(text: str, complete: bool) -> list[Facts]:
    """Count the probes of --raw: "x hop seq" sent, "p hop µs seq" answered, "h" address, "d" name."""
    sent: dict[int, int] = {}
    times: dict[int, list[float]] = {}
    hosts: dict[int, Facts] = {}
    under_way: set[int] = set()  # hops whose last probe is not answered yet
    for line in text.split("\n"):
        kind, *values = line.split(" ")
        if kind not in "xphd" or len(values) < 2 or not values[0].isdecimal() or len(values[0]) > 3:
            continue
        hop = int(values[0])
        if kind == "x":
            sent[hop] = sent.get(hop, 0) + 1
            under_way.add(hop)
        elif kind == "p" and values[1].isdecimal():
            times.setdefault(hop, []).append(int(values[1][:12]) / 1000)
            under_way.discard(hop)
        elif kind in "hd":
            hosts.setdefault(hop, {})["address" if kind == "h" else "name"] = values[1]
    for hop in () if complete else under_way:
        sent[hop] -= 1
    path = [hop for hop in _path(sent, hosts) if sent[hop]]
    hops = [_raw_hop(hop, sent[hop], times.get(hop, []), hosts.get(hop, {})) for hop in path]
    if complete:
        return hops
    return [{name: value for name, value in hop.items() if value is not None} for hop in hops]


def _path(sent: Mapping[int, int], hosts: Mapping[int, Facts]) -> list[int]:
    """Return the hops up to the target, which answers for all beyond it, or to the first silent one."""
    last = max(hosts, default=-1)
    target = hosts[last].get("address") if hosts else None
    end = min((hop for hop, host in hosts.items() if host.get("address") == target), default=last)
    if sent.get(last + 1, 0) >= sent.get(last, 1):
        end = last + 1  # probed as often, and nobody answers there
    return [hop for hop in sorted(sent) if hop <= end]


def _raw_hop(hop: int, sent: int, times: list[float], host: Facts) -> Facts:
    found: Facts = {"hop": hop + 1, "address": None, "name": None, **host}
    received = min(len(times), sent)
    found.update(loss=round(100 * (sent - received) / sent, 2), sent=sent)
    if times:
        mean = sum(times) / len(times)
        spread = math.sqrt(sum((each - mean) ** 2 for each in times) / max(1, len(times) - 1))
        values = {"last": times[-1], "avg": mean, "best": min(times), "worst": max(times), "stdev": spread}
        found.update({name: round(value, 3) for name, value in values.items()})
    return found
