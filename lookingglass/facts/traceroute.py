"""Text of traceroute in, facts out."""

from __future__ import annotations

import re

from lookingglass.facts.common import (
    ADDRESS,
    NUMBER,
    Facts,
    named_host,
)

# " 3  ae3.r3.example (198.51.100.10) [AS64500]  8.7 ms * 8.9 ms !X"
HOP = re.compile(r" {0,3}([0-9]{1,3}) {1,4}(\S.*)")
# inetutils: "198.51.100.10 (ae3.r3.example)  8.7ms"
PROBE = re.compile(
    rf"(?P<star>\*)(?=\s|$)|(?P<rtt>{NUMBER}) ?ms(?=\s|$)|(?P<note>![A-Z0-9<>-]{{0,12}})(?=\s|$)"
    rf"|\[(?:AS)?(?P<asn>[0-9]{{1,10}})[^\]\s]{{0,80}}\]|(?P<name>\S{{1,255}}) \((?P<known>{ADDRESS})\)"
    rf"|(?P<bare>{ADDRESS})(?: \((?P<alias>\S{{1,255}})\))?(?=\s|$)|\S+"
)

KINDS = ("star", "rtt", "note", "asn", "known", "bare")


def read(text: str, complete: bool) -> Facts:
    """Return hops, each with its probes: address, name, rtt (ms), asn and note; None is a star."""
    hops: list[Facts] = []
    for line in text.split("\n"):
        if match := HOP.fullmatch(line):
            if probes := _probes(match[2]):
                hops.append({"hop": int(match[1]), "probes": probes})
        elif hops and line.startswith("   "):  # BSD begins a line for each address of a hop
            hops[-1]["probes"] += _probes(line)
    return {"hops": hops} if hops else {}


def _probes(line: str) -> list[Facts | None]:
    """Read a hop's line from the left: a time belongs to the last address named before it."""
    probes: list[Facts | None] = []
    host: Facts = {}
    for match in PROBE.finditer(line):
        kind = next((name for name in KINDS if match[name]), "")
        value = match[kind] if kind else ""
        if kind == "star":
            probes.append(None)
        elif kind == "rtt" and host:
            probes.append({**host, "rtt": float(value)})
        elif kind == "note" and probes and probes[-1]:
            probes[-1]["note"] = value
        elif kind == "asn":
            host["asn"] = int(value)
        elif kind == "known":
            host = named_host(match["name"], value)
        elif kind == "bare":
            host = named_host(match["alias"] or value, value)
    return probes
