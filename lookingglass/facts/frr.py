"""Text and JSON of vtysh in, facts out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lookingglass.facts.common import (
    ADDRESS,
    Facts,
    as_numbers,
    either,
    is_address,
    read_json,
)

# "BGP routing table entry for 203.0.113.0/24, version 5"
FRR_ENTRY = re.compile(r"BGP routing table entry for (\S{1,50}?)(?:, version .*)?")
FRR_AS_PATH = re.compile(r"  (Local|[0-9{(][0-9 .{}(),]{0,4000}?)(?:, .*)?")
FRR_NEXT_HOP = re.compile(rf"    ({ADDRESS})(?:\s.*)?")
FRR_ORIGIN = re.compile(r"      Origin (IGP|EGP|incomplete)(.*)")
FRR_COMMUNITY = re.compile(r"      (Community|Large Community): (.*)")
# "198.51.100.9  4  64501  9  14  0  0  0 00:00:05  2  7 peer r2", or a host name and "(198.51.100.9)". In the
# place of the number of prefixes is the state when there is none, "(Policy)" when nothing may pass.
FRR_SUMMARY = re.compile(
    r"\*?(?P<peer>\S{1,300}) +4 +(?P<asn>[0-9.]{1,11})(?: +[0-9]{1,10}){5} +(?P<since>\S{1,20})"
    r" +(?:(?P<received>[0-9]{1,10})|\(Policy\)|(?P<state>[A-Z]\w{1,20}(?: \(\w{1,20}\))?))"
    r"(?: +(?:[0-9]{1,10}|\(Policy\)|N/A))?(?: +(?P<description>\S.*))?"
)
FRR_PEER = re.compile(rf"(?P<name>\S{{1,255}})\((?P<address>{ADDRESS})\)")
FRR_TYPES = {
    **dict.fromkeys(("asn", "received", "local_pref", "med"), int),
    **dict.fromkeys(("as_path", "communities", "large_communities"), list),
    "best": bool,
}


def read(text: str, complete: bool) -> Facts:
    """Return paths or neighbors of `show bgp …`, from JSON or from text; sets in an AS path are flattened."""
    if text.lstrip().startswith("{"):
        document = read_json(text)
        return either(list(_frr_paths(document)), list(_frr_neighbors(document)), complete)
    return either(_frr_text_paths(text), _frr_text_neighbors(text), complete)


def _frr_paths(document: Facts) -> Iterator[Facts]:
    """Yield the paths of one prefix (`paths`), or of a table (`routes`)."""
    for path in document.get("paths", []):
        yield _frr_path(document.get("prefix"), path)
    for prefix, paths in document.get("routes", {}).items():
        for path in paths if isinstance(paths, list) else paths.get("paths", []):
            yield _frr_path(prefix, path)


def _frr_path(prefix: str | None, path: Facts) -> Facts:
    as_path = path["aspath"]["string"] if "aspath" in path else path.get("path", "")
    best = path.get("bestpath", False)
    peer = path.get("peer", {}).get("peerId", path.get("peerId"))
    used = [hop["ip"] for hop in path.get("nexthops", []) if "ip" in hop and hop.get("used", True)]
    values = {
        "prefix": prefix,
        "as_path": as_numbers(as_path),
        "origin": path.get("origin"),
        "next_hop": used[0] if used else None,
        "local_pref": path.get("locPrf"),
        "med": path.get("metric", path.get("med")),
        "communities": _split(path.get("community")),
        "large_communities": _split(path.get("largeCommunity")),
        "best": bool(best.get("overall")) if isinstance(best, dict) else bool(best),
        "protocol": peer if peer != "(unspec)" else None,
    }
    return _sound(values)


def _sound(values: Facts) -> Facts:
    """Leave out what is not known, or of another type than it should be."""
    return {name: value for name, value in values.items() if type(value) is FRR_TYPES.get(name, str)}


def _split(community: Facts | None) -> list[str] | None:
    return None if community is None else str(community["string"]).split()


def _frr_neighbors(document: Facts) -> Iterator[Facts]:
    """Yield the peers of a summary, of one or of all address families, or of `neighbors`."""
    for key, value in document.items():
        if not isinstance(value, dict):
            continue
        if key == "peers" or "peers" in value:
            peers = value if key == "peers" else value["peers"]
            yield from (_frr_neighbor(address, peer) for address, peer in peers.items())
        elif "bgpState" in value:
            yield _frr_neighbor(key, value)


def _frr_neighbor(address: str, peer: Facts) -> Facts:
    families = peer.get("addressFamilyInfo", {}).values()
    accepted = [family["acceptedPrefixCounter"] for family in families if "acceptedPrefixCounter" in family]
    values = {
        "name": peer.get("desc", peer.get("nbrDesc", peer.get("hostname"))),
        "address": address,
        "asn": peer.get("remoteAs"),
        "state": peer.get("state", peer.get("bgpState")),
        "since": peer.get("peerUptime", peer.get("bgpTimerUpString")),
        "received": peer.get("pfxRcd", sum(accepted) if accepted else None),
    }
    return _sound(values)


def _frr_text_paths(text: str) -> list[Facts]:
    paths: list[Facts] = []
    prefix = None
    for line in text.split("\n"):
        if match := FRR_ENTRY.fullmatch(line):
            prefix = match[1]
        elif prefix and re.match(r"  [^ ]", line):
            match = FRR_AS_PATH.fullmatch(line)
            path = {"prefix": prefix, "as_path": as_numbers(match[1])} if match else {}
            paths.append(path)
        elif not paths or not paths[-1]:
            continue
        elif match := FRR_NEXT_HOP.fullmatch(line):
            paths[-1].setdefault("next_hop", match[1])
        elif match := FRR_ORIGIN.fullmatch(line):
            paths[-1].update(_frr_text_attributes(match[1], match[2]))
        elif match := FRR_COMMUNITY.fullmatch(line):
            key = "communities" if match[1] == "Community" else "large_communities"
            paths[-1][key] = match[2].split()
    return [path if "origin" in path else {} for path in paths]  # a list of peers may look like an AS path


def _frr_text_attributes(origin: str, rest: str) -> Facts:
    found: Facts = {"origin": origin, "best": bool(re.search(r", best\b", rest))}
    for word, name in (("metric", "med"), ("localpref", "local_pref")):
        if match := re.search(rf", {word} ([0-9]{{1,10}})", rest):
            found[name] = int(match[1])
    return found


def _frr_text_neighbors(text: str) -> list[Facts]:
    """Read `show bgp summary`."""
    neighbors = []
    for line in text.split("\n"):
        if match := FRR_SUMMARY.fullmatch(line):
            peer = FRR_PEER.fullmatch(match["peer"])
            neighbor: Facts = {"asn": as_numbers(match["asn"])[0], "since": match["since"]}
            neighbor["state"] = match["state"] or "Established"
            if peer or is_address(match["peer"]):
                neighbor["address"] = peer["address"] if peer else match["peer"]
            if match["received"]:
                neighbor["received"] = int(match["received"])
            described = match["description"] if match["description"] != "N/A" else None
            if name := described or (
                peer["name"] if peer else None if "address" in neighbor else match["peer"]
            ):
                neighbor["name"] = name
            neighbors.append(neighbor)
    return neighbors
