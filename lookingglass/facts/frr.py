"""Text and JSON of vtysh in, facts out."""

from __future__ import annotations

import re

from lookingglass.facts import frr_json
from lookingglass.facts.common import (
    ADDRESS,
    Facts,
    as_number,
    as_path,
    as_segments,
    either,
    is_address,
    is_prefix,
    json_documents,
    used_next_hop,
)

# "BGP routing table entry for 203.0.113.0/24, version 5"
ENTRY = re.compile(r"BGP routing table entry for ([^\s,]{1,80})(?:, version .*)?")
# "198.51.100.9(r2) (metric 20) from r2(198.51.100.9) (198.51.100.6)", and below it "(fe80::1588) (used)"
NEXT_HOP = re.compile(rf"    ({ADDRESS})(?:[ (].*)?")
# "from 0.0.0.0" or "from ::" is the router itself
FROM = re.compile(rf" from (?:[^\s()]{{1,255}}\()?(?!0\.0\.0\.0 |:: )({ADDRESS})\)? \(")
LINK_LOCAL = re.compile(rf"    \(({ADDRESS})\)(?: .*)?")
ORIGIN = re.compile(r"      Origin (IGP|EGP|incomplete)(.*)")
BEST = re.compile(r", best\b(?: \(([^()]{1,60})\))?")
COMMUNITIES = re.compile(r"      (Community|Large Community): (.*)")
# "Idle (Admin)"; "(Policy)" is another column's word.
STATES = (
    r"(?:Idle(?: \((?!Policy\))\w{1,20}\))?|Connect|Active|OpenSent|OpenConfirm|Established|Clearing|Deleted)"
)
# "198.51.100.9  4  64501  9  14  0  0  0 00:00:05  2  7 peer r2": the last ones are prefixes received (or the
# state, if there is no session) and sent, and the description. `wide` has the local AS after the peer's.
SUMMARY = re.compile(
    r"\*?(?P<peer>\S{1,300}) {1,80}4 {1,20}(?P<asn>[0-9.]{1,11})(?: {1,20}[0-9.]{1,20}){5,6}"
    r" {1,20}(?P<since>never|[0-9]{1,4}[a-z:][0-9a-z:]{1,15})"
    rf" {{1,20}}(?P<state>{STATES}|\S{{1,30}})(?: {{1,20}}\S{{1,30}}(?: (?P<description>.*))?)?"
)
STATE = re.compile(STATES)
COUNT = re.compile(r"[0-9]{1,10}")
NO_COUNT = re.compile(r"NoNeg|\(\w{1,20}\)")  # of an established peer
HOST = re.compile(r"([^\s()]{1,255})\((\S{1,255})\)")  # "r2(198.51.100.9)", "r2(swp1)"


def read(text: str, complete: bool) -> Facts:
    """Return paths or neighbors of `show bgp …`, from JSON or from text; sets in an AS path are flattened."""
    found: dict[str, list[Facts]] = {"path": [], "neighbor": []}
    for document in json_documents(text):
        for kind, facts in frr_json.walk(document):
            found[kind].append(facts)
    read_from_json = either(found["path"], found["neighbor"], complete)
    return read_from_json or either(_paths(text), _neighbors(text), complete)


def _paths(text: str) -> list[Facts]:
    paths: list[Facts] = []
    prefix = None
    for line in text.split("\n"):
        if match := ENTRY.fullmatch(line):
            prefix = _prefix(match[1])
            paths.append({})
        elif prefix and line.startswith("  ") and line[2:3].strip():
            # "  Imported from 65002:3:[5]:[0]:[0]:[0.0.0.0], VNI 3  65002, (stale)"
            words = line.rstrip().rpartition("  ")[2].split(", ")[0]
            numbers = [] if words == "Local" else as_path(words) if words else None
            paths.append({"prefix": prefix, "as_path": numbers} if numbers is not None else {})
            if segments := as_segments(words):
                paths[-1]["segments"] = segments
        elif paths and paths[-1]:
            _read_attributes(paths[-1], line)
    return [path if "origin" in path else {} for path in paths]  # a list of peers may look like an AS path


def _prefix(text: str) -> str | None:
    """Return the prefix of an entry; that of a VPN stands after a route distinguisher."""
    if is_prefix(text):
        return text
    rest = text.split(":", 2)[-1]
    return rest if is_prefix(rest) else None


def _read_attributes(path: Facts, line: str) -> None:
    if (match := NEXT_HOP.fullmatch(line)) and is_address(match[1]):
        path.setdefault("next_hop", match[1])
        peer = FROM.search(line)
        if peer and is_address(peer[1]):
            path["protocol"] = peer[1]
    elif match := LINK_LOCAL.fullmatch(line):
        path["next_hop"] = used_next_hop([path.get("next_hop", "::"), match[1]])
    elif match := ORIGIN.fullmatch(line):
        best = BEST.search(match[2])
        path.update(origin=match[1], best=bool(best))
        if best and best[1]:
            path["reason"] = best[1]
        for word, name in (("metric", "med"), ("localpref", "local_pref")):
            if number := re.search(rf", {word} ([0-9]{{1,10}})\b", match[2]):
                path[name] = int(number[1])
    elif match := COMMUNITIES.fullmatch(line):
        path["communities" if match[1] == "Community" else "large_communities"] = match[2].split()


def _neighbors(text: str) -> list[Facts]:
    """Read `show bgp summary`."""
    neighbors = []
    before = ""  # a long name, whose columns follow in the next line
    for line in text.split("\n"):
        if match := SUMMARY.fullmatch(before + line if line.startswith(" ") else line):
            neighbors.append(_neighbor(match))
        before = line if 16 <= len(line) <= 300 and " " not in line else ""
    return neighbors


def _neighbor(match: re.Match[str]) -> Facts:
    host = HOST.fullmatch(match["peer"])
    name, peer = (host[1], host[2]) if host else (None, match["peer"])
    state, described = match["state"], (match["description"] or "").strip()
    neighbor: Facts = {"since": match["since"]}
    if asn := as_number(match["asn"]):
        neighbor["asn"] = asn
    if STATE.fullmatch(state):
        neighbor["state"] = state
    elif COUNT.fullmatch(state):
        neighbor.update(state="Established", received=int(state))
    elif NO_COUNT.fullmatch(state):
        neighbor["state"] = "Established"
    if is_address(peer):
        neighbor["address"] = peer
    elif not name:
        name = peer  # an interface
    if described and described != "N/A":
        name = described
    return {**neighbor, "name": name} if name else neighbor
