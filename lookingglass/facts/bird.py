"""Text of birdc in, facts out."""

from __future__ import annotations

import re

from lookingglass.facts.common import (
    ADDRESS,
    Facts,
    as_numbers,
    either,
)

# "203.0.113.0/26  unicast [transit_v4 06:58:09.929 from 198.51.100.9] * (100) [AS64511i]"; the best one has
# "*", or "!" when the kernel has refused it
BIRD_ROUTE = re.compile(
    r"(\S{1,50})?\s{1,40}(?:unicast|blackhole|unreachable|prohibited) \[(\S{1,64})[^\]]{0,120}\]( [*!])?"
)
BIRD_VIA = re.compile(rf"\tvia ({ADDRESS})")
# "\tBGP.as_path: 64501 64511"; BIRD 3 has bgp_path
BIRD_ATTRIBUTE = re.compile(r"\t(?:BGP\.|bgp_)(\w{1,20}): ?(.*)")
BIRD_SET = re.compile(r"\(([0-9, ]{3,40})\)")  # "(64500,1)" or "(64500, 1, 2)"
# "transit_v4 BGP  ---  up  2026-11-23 06:58:09  Established"
BIRD_PROTOCOL = re.compile(
    r"(\S{1,64}) +BGP +\S{1,64} +(\S{1,10}) +([0-9]{4}-[0-9-]{5}(?: [0-9:.]{5,15})?|[0-9:.]{5,15})"
    r" *(\S{0,20}).*"
)
BIRD_DETAIL = re.compile(r"\s+(Neighbor address|Neighbor AS|BGP state|Routes): +(\S{1,50})")


def read(text: str, complete: bool) -> Facts:
    """Return paths of `show route`, or neighbors of `show protocols`; sets in an AS path are flattened."""
    # What is not understood is an empty path or neighbor, for its attributes are not those of the one before.
    paths: list[Facts] = []
    neighbors: list[Facts] = []
    prefix = None
    for line in text.split("\n"):
        if match := BIRD_ROUTE.match(line):
            prefix = match[1] or prefix
            paths.append({"prefix": prefix, "best": bool(match[3]), "protocol": match[2]} if prefix else {})
        elif line.startswith("\t"):
            if paths and paths[-1]:
                _bird_attribute(paths[-1], line)
        elif match := BIRD_PROTOCOL.fullmatch(line):
            neighbors.append({"name": match[1], "state": match[4] or match[2], "since": match[3]})
        elif line and not line[0].isspace():
            prefix = None
            paths.append({})
            neighbors.append({})
        elif neighbors and neighbors[-1]:
            _bird_detail(neighbors[-1], line)
    return either(paths, neighbors, complete)


def _bird_attribute(path: Facts, line: str) -> None:
    if match := BIRD_VIA.match(line):
        path.setdefault("next_hop", match[1])
    if line.startswith("\t\t("):  # a set goes on
        key = next(reversed(path))
        if key in {"communities", "large_communities"}:
            path[key] += _bird_set(line)
    match = BIRD_ATTRIBUTE.fullmatch(line)
    if not match:
        return
    name, value = match[1], match[2]
    if name in {"as_path", "path"} and not value.endswith("..."):  # too long to be printed
        path["as_path"] = as_numbers(value)
    elif name == "next_hop":
        path["next_hop"] = value.split(" ")[0]
    elif name == "origin":
        path["origin"] = value
    elif name in {"local_pref", "med"}:
        path[name] = int(value)
    elif name in {"community", "large_community"}:
        path["communities" if name == "community" else "large_communities"] = _bird_set(value)


def _bird_set(text: str) -> list[str]:
    return [member.replace(" ", "").replace(",", ":") for member in BIRD_SET.findall(text)]


def _bird_detail(neighbor: Facts, line: str) -> None:
    match = BIRD_DETAIL.match(line)
    if not match:
        return
    name, value = match[1], match[2]
    if name == "Neighbor address":
        neighbor["address"] = value
    elif name == "Neighbor AS" and value.isdecimal():
        neighbor["asn"] = int(value)
    elif name == "BGP state":
        neighbor["state"] = value
    elif name == "Routes":
        neighbor["received"] = neighbor.get("received", 0) + int(value)
