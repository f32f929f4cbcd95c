"""Text of birdc 1.6, 2 and 3 in, facts out."""

from __future__ import annotations

import re

from lookingglass.facts.common import (
    ADDRESS,
    Facts,
    as_number,
    as_path,
    as_segments,
    either,
    is_address,
    is_prefix,
    used_next_hop,
)

# "203.0.113.0/26  unicast [transit_v4 06:58:09.929 from 198.51.100.9] * (100) [AS64511i]"; BIRD 1.6 has
# "via 198.51.100.6 on eth0" in place of "unicast". The best route has "*", or "!" when the kernel refused it.
ROUTE = re.compile(
    r"\S{0,50} {1,40}"
    r"(?:unicast|recursive|multipath|blackhole|unreachable|prohibited|dev \S{1,20}"
    rf"|via (?P<via>{ADDRESS}) on \S{{1,20}})? "
    r"\[(?P<protocol>[^\s\[\]]{1,255})(?: [^\]]{0,200})?\](?P<best> [*!])?(?: .*)?"
)
VIA = re.compile(rf"\tvia ({ADDRESS})(?: .*)?")
# "\tBGP.as_path: 64501 64511"; BIRD 3 has bgp_path
ATTRIBUTE = re.compile(r"\t(?:BGP\.|bgp_)(\w{1,40}): ?(.*)")
ATTRIBUTES = {
    **{name: name for name in ("next_hop", "origin", "local_pref", "med", "as_path")},
    "path": "as_path",
    "community": "communities",
    "large_community": "large_communities",
}
SETS = {"communities", "large_communities"}
NUMBER = re.compile(r"[0-9]{1,10}")
MEMBER = re.compile(r"\([0-9]{1,10}(?:, ?[0-9]{1,10}){1,2}\)")  # "(64500,1)" or "(64500, 1, 2)"
MEMBERS = re.compile(rf"(?:{MEMBER.pattern} ?)*+")
# "transit_v4 BGP  ---  up  2026-11-23 06:58:09  Established"
PROTOCOL = re.compile(
    r"(?P<name>\S.{0,255}?) {1,40}BGP {1,40}\S{1,255} {1,40}(?P<state>up|down|start|stop|flush)"
    r"(?: +(?P<rest>.*))?"
)
STATES = ("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close", "Down", "Passive")
# Two spaces end the time, in whatever `timeformat`: "Nov  3 06:58" has them inside. "Established   Socket: …"
GAP = re.compile(r"(?<!\s)\s{2,}+(?=[^\s0-9])")
INFO = re.compile(rf"({'|'.join(STATES)})(?!\S).*|(?:BGP Error|Error|Socket|Received|Automatic shutdown): .*")
DETAIL = re.compile(r"\s{1,20}(Neighbor address|Neighbor AS|BGP state|Routes): +(\S{1,50})(.*)")


def read(text: str, complete: bool) -> Facts:
    """Return paths of `show route`, or neighbors of `show protocols`; sets in an AS path are flattened."""
    # What is not understood is an empty path or neighbor, for what follows is not of the one before.
    paths: list[Facts] = []
    neighbors: list[Facts] = []
    prefix = None
    attribute = ""  # that goes on in lines with two tabs
    for line in text.split("\n"):
        if line.startswith("\t"):
            if paths:
                attribute = _read_attribute(paths[-1], line, attribute)
            continue
        attribute = ""
        if not line.startswith(" "):
            word = line.split(" ", 1)[0]
            prefix = word if is_prefix(word) else None
        if match := ROUTE.fullmatch(line):
            paths.append(_path(prefix, match) if prefix else {})
        elif match := PROTOCOL.fullmatch(line):
            neighbors.append(_neighbor(match))
        elif line:
            paths.append({})
            if line.startswith(" ") and neighbors:
                _read_detail(neighbors[-1], line)
            else:
                neighbors.append({})
    return either(paths, neighbors, complete)


def _path(prefix: str, match: re.Match[str]) -> Facts:
    path = {"prefix": prefix, "best": bool(match["best"]), "protocol": match["protocol"]}
    return {**path, "next_hop": match["via"]} if match["via"] else path


def _read_attribute(path: Facts, line: str, attribute: str) -> str:
    """Read a line below a route; return the attribute whose value the next line may go on with."""
    if not path:
        return ""
    if line.startswith("\t\t"):
        if attribute in SETS and attribute in path:
            _add_value(path, attribute, line.strip(), path[attribute])
        else:
            _forget(path, attribute)  # only sets go on
        return attribute
    if match := VIA.fullmatch(line):
        path.setdefault("next_hop", match[1])
    match = ATTRIBUTE.fullmatch(line)
    name = ATTRIBUTES.get(match[1], "") if match else ""
    if match and name:
        _add_value(path, name, match[2].strip(), [])
    return name


def _add_value(path: Facts, name: str, text: str, before: list[str]) -> None:
    """Set an attribute, or remove it if the text is not understood; ``before``: members in earlier lines."""
    value: object = None
    if name in SETS:
        if MEMBERS.fullmatch(text):
            before += [re.sub(", ?", ":", member[1:-1]) for member in MEMBER.findall(text)]
            value = before
    elif name == "as_path":
        value = as_path(text)  # None if "..." stands for the rest of a long one
    elif name == "next_hop":
        hops = [word for word in text.split(" ")[:3] if is_address(word)]
        value = used_next_hop([*hops, path.get("next_hop", "::")]) if hops else None
    elif name == "origin":
        value = text or None
    elif NUMBER.fullmatch(text):
        value = int(text)
    if name != "next_hop":  # which "via" may have told
        _forget(path, name)
    if value is not None:
        path[name] = value
        if name == "as_path" and (segments := as_segments(text)):
            path["segments"] = segments


def _forget(path: Facts, name: str) -> None:
    path.pop(name, None)
    if name == "as_path":
        path.pop("segments", None)


def _neighbor(match: re.Match[str]) -> Facts:
    neighbor = {"name": match["name"], "state": match["state"]}
    since, info = _since_and_info((match["rest"] or "").strip())
    if re.search("[0-9]", since):
        neighbor["since"] = since
    word = info.split(" ", 1)[0]
    if word in STATES and match["state"] != "down":  # which tells only a reason
        neighbor["state"] = word
    return neighbor


def _since_and_info(text: str) -> tuple[str, str]:
    """Split the columns Since, in any `timeformat`, and Info; one that is not known is empty."""
    gaps = [(0, 0), *(gap.span() for gap in GAP.finditer(text))]
    for start, end in gaps:
        if INFO.fullmatch(text, end):
            return text[:start], text[end:]
    start, end = gaps[1] if len(gaps) > 1 else (len(text), len(text))
    return ("", "") if re.search("[0-9]", text[end:]) else (text[:start], text[end:])


def _read_detail(neighbor: Facts, line: str) -> None:
    match = DETAIL.fullmatch(line) if neighbor else None
    if not match:
        return
    name, value = match[1], match[2]
    if name == "Neighbor address" and is_address(value):
        neighbor["address"] = value
    elif name == "Neighbor AS" and (asn := as_number(value)):
        neighbor["asn"] = asn
    elif name == "BGP state" and value in STATES:
        neighbor["state"] = value
    elif name == "Routes" and NUMBER.fullmatch(value) and match[3].startswith(" imported"):
        neighbor["received"] = neighbor.get("received", 0) + int(value)
