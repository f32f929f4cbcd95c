"""Text of ping, traceroute, mtr, BIRD and FRR in, facts (numbers, hops, paths) out.

What is not known is left out or None, never guessed; text that is not understood gives no facts. Output may
be incomplete, for facts are wanted while a command runs. Addresses and names are as printed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Facts = dict[str, Any]

ADDRESS = r"[0-9A-Fa-f:.]{2,45}"
NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"

# "64 bytes from target.example (203.0.113.10): icmp_seq=1 ttl=60 time=18.0 ms"; busybox has seq=.
REPLY = re.compile(
    rf"bytes from (?:\S{{1,255}} \()?({ADDRESS})\)?: (?:icmp_)?seq=([0-9]{{1,9}})(?: ttl=([0-9]{{1,3}}))?"
    rf" time=({NUMBER}) ms"
)
# "5 packets transmitted, 5 received, 0% packet loss"; busybox and inetutils: "5 packets received".
COUNTS = re.compile(r"^([0-9]{1,9}) packets transmitted, ([0-9]{1,9}) (?:packets )?received", re.MULTILINE)
# "rtt min/avg/max/mdev = 18.0/18.5/19.3/0.5 ms"; busybox: "round-trip min/avg/max = …", inetutils: stddev.
TIMES = re.compile(
    rf"(?:rtt|round-trip) min/avg/max(?:/\w{{4,6}})? = ({NUMBER})/({NUMBER})/({NUMBER})(?:/({NUMBER}))?"
)
# "Success rate is 100 percent (5/5), round-trip min/avg/max = 1/2/4 ms"
SUCCESS_RATE = re.compile(r"^Success rate is [0-9]{1,3} percent \(([0-9]{1,9})/([0-9]{1,9})\)", re.MULTILINE)

# " 3  ae3.r3.example (198.51.100.10) [AS64500]  8.7 ms * 8.9 ms !X"
HOP = re.compile(r" {0,3}([0-9]{1,3}) {1,4}(\S.*)")
# inetutils: "198.51.100.10 (ae3.r3.example)  8.7ms"
PROBE = re.compile(
    rf"(?P<star>\*)(?=\s|$)|(?P<rtt>{NUMBER}) ?ms(?=\s|$)|(?P<note>![A-Z0-9<>-]{{0,12}})(?=\s|$)"
    rf"|\[(?:AS)?(?P<asn>[0-9]{{1,10}})[^\]\s]{{0,80}}\]|(?P<name>\S{{1,255}}) \((?P<known>{ADDRESS})\)"
    rf"|(?P<bare>{ADDRESS})(?: \((?P<alias>\S{{1,255}})\))?(?=\s|$)|\S+"
)

KINDS = ("star", "rtt", "note", "asn", "known", "bare")

# "  3.|-- ae3.r3.example (198.51.100.10)" or "  3. AS64500  ae3.r3.example", before the columns
MTR_HOST = re.compile(r" {0,3}([0-9]{1,3})\.(?:\|--)? +(?:AS(\S{1,10}) +)?(\S.*)")
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

# "203.0.113.0/26  unicast [transit_v4 06:58:09.929 from 198.51.100.9] * (100) [AS64511i]"
BIRD_ROUTE = re.compile(
    r"(\S{1,50})?\s{1,40}(?:unicast|blackhole|unreachable|prohibit) \[(\S{1,64})[^\]]{0,120}\]( \*)?"
)
BIRD_VIA = re.compile(rf"\tvia ({ADDRESS})")
# "\tBGP.as_path: 64501 64511"; BIRD 3 has bgp_path
BIRD_ATTRIBUTE = re.compile(r"\t(?:BGP\.|bgp_)(\w{1,20}): ?(.*)")
# "transit_v4 BGP  ---  up  2026-11-23 06:58:09  Established"
BIRD_PROTOCOL = re.compile(
    r"(\S{1,64}) +BGP +\S{1,64} +(\S{1,10}) +([0-9]{4}-[0-9-]{5}(?: [0-9:.]{5,15})?|[0-9:.]{5,15})"
    r" *(\S{0,20}).*"
)
BIRD_DETAIL = re.compile(r"\s+(Neighbor address|Neighbor AS|BGP state|Routes): +(\S{1,50})")
BIRD_NUMBERS = {"local_pref": "local_pref", "med": "med"}

# "BGP routing table entry for 203.0.113.0/24, version 5"
FRR_ENTRY = re.compile(r"BGP routing table entry for (\S{1,50}?)(?:, version .*)?")
FRR_AS_PATH = re.compile(r"  (Local|[0-9][0-9 {}(),]{0,2000})(?:, .*)?")
FRR_NEXT_HOP = re.compile(rf"    ({ADDRESS})(?:\s.*)?")
FRR_ORIGIN = re.compile(r"      Origin (IGP|EGP|incomplete)(.*)")
FRR_COMMUNITY = re.compile(r"      (Community|Large Community): (.*)")
# "198.51.100.9  4  64501  9  14  0  0  0 00:00:05  2  7 peer r2"
FRR_SUMMARY = re.compile(
    rf"({ADDRESS}) +4 +([0-9]{{1,10}})(?: +[0-9]{{1,10}}){{5}} +(\S{{1,20}})"
    r" +(\S{1,20}(?: \(\w{1,20}\))?)"
    r"(?: +[0-9]{1,10})?(?: +(\S.*))?"
)


def facts(parser: str, text: str) -> Facts:
    """Return what a parser, one of PARSERS, knows from a command's output; never raises."""
    try:
        return PARSERS[parser](text)
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return {}


def _json(text: str) -> Any:
    """Read JSON; a number that could not be written as JSON again becomes None."""
    return json.loads(text, parse_float=_finite, parse_constant=lambda name: None)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


# --- ping


def _ping(text: str) -> Facts:
    """Return min, avg, max, mdev (ms), rate (percent answered), sent, received, replies."""
    found: Facts = {}
    if match := TIMES.search(text):
        names = ("min", "avg", "max", "mdev")
        found = {name: float(value) for name, value in zip(names, match.groups(), strict=True) if value}
    if match := COUNTS.search(text):
        found.update(_rate(int(match[1]), int(match[2])))
    elif match := SUCCESS_RATE.search(text):
        found.update(_rate(int(match[2]), int(match[1])))
    replies = [
        {"seq": int(seq), "rtt": float(rtt), "ttl": int(ttl) if ttl else None, "address": address}
        for address, seq, ttl, rtt in REPLY.findall(text)
    ]
    if replies or found.get("received") == 0:
        found["replies"] = replies
    return found


def _rate(sent: int, received: int) -> Facts:
    counts: Facts = {"sent": sent, "received": received}
    return {"rate": round(100 * received / sent, 2), **counts} if sent else counts


# --- traceroute


def _traceroute(text: str) -> Facts:
    """Return hops, each with its probes: address, name, rtt (ms), asn and note; None is a star."""
    hops = []
    for line in text.split("\n"):
        match = HOP.fullmatch(line)
        if match and (probes := _probes(match[2])):
            hops.append({"hop": int(match[1]), "probes": probes})
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
            host = _host(match["name"], value)
        elif kind == "bare":
            host = _host(match["alias"] or value, value)
    return probes


def _host(name: str | None, address: str | None) -> Facts:
    """Return address and name; a name that only repeats the address is none."""
    return {"address": address, "name": name} if name != address else {"address": address}


# --- mtr


def _mtr(text: str) -> Facts:
    """Return hops with address, name, asn, loss (percent), sent, last, avg, best, worst, stdev (ms)."""
    if text.lstrip().startswith("{"):
        hops = _mtr_json(text)
    elif re.match(r"x [0-9]{1,3} [0-9]", text):
        hops = _mtr_raw(text)
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
    hubs = _json(text)["report"]["hubs"]
    return [_mtr_hop(int(hub["count"]), hub["host"], str(hub.get("ASN", "")), hub) for hub in hubs]


def _mtr_hop(number: int, host: str, asn: str | None, numbers: Mapping[str, Any]) -> Facts:
    hop: Facts = {"hop": number, **_mtr_names(host.strip())}
    if match := re.fullmatch(r"(?:AS)?([0-9]{1,10})", asn or ""):
        hop["asn"] = int(match[1])
    for column, name in MTR_COLUMNS.items():
        value = _finite(str(numbers[column]).rstrip("%")) if numbers.get(column) is not None else None
        if value is not None:
            hop[name] = int(value) if name == "sent" else value
    if hop.get("loss") == 100:  # the zeros that follow are no times
        return {name: value for name, value in hop.items() if name not in MTR_TIMES}
    return hop


def _mtr_names(host: str) -> Facts:
    if host == "???":
        return {"address": None, "name": None}
    if match := NAMED.fullmatch(host):
        return _host(match[1], match[2])
    return (
        {"address": host}
        if re.fullmatch(ADDRESS, host) and (":" in host or host[-1].isdigit())
        else {"name": host}
    )


def _mtr_raw(text: str) -> list[Facts]:
    """Count the probes of --raw: "x hop seq" sent, "p hop µs seq" answered, "h" address, "d" name."""
    sent: dict[int, int] = {}
    times: dict[int, list[float]] = {}
    hosts: dict[int, Facts] = {}
    for line in text.split("\n"):
        kind, *values = line.split(" ")
        if kind not in "xphd" or len(values) < 2 or not values[0].isdecimal() or len(values[0]) > 3:
            continue
        hop = int(values[0])
        if kind == "x":
            sent[hop] = sent.get(hop, 0) + 1
        elif kind == "p" and values[1].isdecimal():
            times.setdefault(hop, []).append(int(values[1][:12]) / 1000)
        elif kind in "hd":
            hosts.setdefault(hop, {})["address" if kind == "h" else "name"] = values[1]
    return [_raw_hop(hop, sent[hop], times.get(hop, []), hosts.get(hop, {})) for hop in _path(sent, hosts)]


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


# --- BIRD


def _bird(text: str) -> Facts:
    """Return paths of `show route`, or neighbors of `show protocols`; sets in an AS path are flattened."""
    paths: list[Facts] = []
    neighbors: list[Facts] = []
    prefix = None
    for line in text.split("\n"):
        if match := BIRD_ROUTE.match(line):
            prefix = match[1] or prefix
            path = {"prefix": prefix, "best": bool(match[3]), "protocol": match[2]}
            paths.append(path)
        elif paths and line.startswith("\t"):
            _bird_attribute(paths[-1], line)
        elif match := BIRD_PROTOCOL.fullmatch(line):
            neighbors.append({"name": match[1], "state": match[4] or match[2], "since": match[3]})
        elif line and not line[0].isspace():
            prefix = None
            neighbors.append({})  # another protocol: its details are not of a neighbor
        elif neighbors and neighbors[-1]:
            _bird_detail(neighbors[-1], line)
    return _either(paths, [neighbor for neighbor in neighbors if neighbor])


def _either(paths: list[Facts], neighbors: list[Facts]) -> Facts:
    found = {"paths": paths, "neighbors": neighbors}
    return {name: values for name, values in found.items() if values}


def _bird_attribute(path: Facts, line: str) -> None:
    if match := BIRD_VIA.match(line):
        path.setdefault("next_hop", match[1])
    match = BIRD_ATTRIBUTE.fullmatch(line)
    if not match:
        return
    name, value = match[1], match[2]
    if name in {"as_path", "path"}:
        path["as_path"] = _numbers(value)
    elif name == "next_hop":
        path["next_hop"] = value.split(" ")[0]
    elif name == "origin":
        path["origin"] = value
    elif name in BIRD_NUMBERS:
        path[BIRD_NUMBERS[name]] = int(value)
    elif name in {"community", "large_community"}:
        members = re.findall(r"\(([0-9, ]{3,40})\)", value)
        key = "communities" if name == "community" else "large_communities"
        path[key] = [member.replace(" ", "").replace(",", ":") for member in members]


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


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]{1,10}", text)]


# --- FRR


def _frr(text: str) -> Facts:
    """Return paths or neighbors of `show bgp …`, from JSON or from text; sets in an AS path are flattened."""
    if text.lstrip().startswith("{"):
        document = _json(text)
        return _either(list(_frr_paths(document)), list(_frr_neighbors(document)))
    return _either(_frr_text_paths(text), _frr_text_neighbors(text))


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
    used = [hop["ip"] for hop in path.get("nexthops", []) if "ip" in hop and hop.get("used", True)]
    values = {
        "prefix": prefix,
        "as_path": _numbers(as_path),
        "origin": path.get("origin"),
        "next_hop": used[0] if used else None,
        "local_pref": path.get("locPrf"),
        "med": path.get("metric", path.get("med")),
        "communities": _split(path.get("community")),
        "large_communities": _split(path.get("largeCommunity")),
        "best": bool(best.get("overall")) if isinstance(best, dict) else bool(best),
        "protocol": path.get("peer", {}).get("peerId", path.get("peerId")),
    }
    return {name: value for name, value in values.items() if value is not None}


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
    return {name: value for name, value in values.items() if value is not None}


def _frr_text_paths(text: str) -> list[Facts]:
    paths: list[Facts] = []
    prefix = None
    for line in text.split("\n"):
        if match := FRR_ENTRY.fullmatch(line):
            prefix = match[1]
        elif prefix and (match := FRR_AS_PATH.fullmatch(line)):
            paths.append({"prefix": prefix, "as_path": _numbers(match[1]), "best": False})
        elif paths and (match := FRR_NEXT_HOP.fullmatch(line)):
            paths[-1].setdefault("next_hop", match[1])
        elif paths and (match := FRR_ORIGIN.fullmatch(line)):
            paths[-1].update(_frr_text_attributes(match[1], match[2]))
        elif paths and (match := FRR_COMMUNITY.fullmatch(line)):
            key = "communities" if match[1] == "Community" else "large_communities"
            paths[-1][key] = match[2].split()
    return paths


def _frr_text_attributes(origin: str, rest: str) -> Facts:
    found: Facts = {"origin": origin, "best": bool(re.search(r", best\b", rest))}
    for word, name in (("metric", "med"), ("localpref", "local_pref")):
        if match := re.search(rf", {word} ([0-9]{{1,10}})", rest):
            found[name] = int(match[1])
    return found


def _frr_text_neighbors(text: str) -> list[Facts]:
    """Read `show bgp summary`; a column has the number of prefixes, or the state when there is none."""
    neighbors = []
    for line in text.split("\n"):
        if match := FRR_SUMMARY.fullmatch(line):
            address, asn, since, last, description = match.groups()
            neighbor: Facts = {"address": address, "asn": int(asn), "since": since}
            if last.isdecimal():
                neighbor.update(state="Established", received=int(last))
            else:
                neighbor["state"] = last
            if description and description != "N/A":
                neighbor["name"] = description
            neighbors.append(neighbor)
    return neighbors


PARSERS: Mapping[str, Callable[[str], Facts]] = {
    "ping": _ping,
    "traceroute": _traceroute,
    "mtr": _mtr,
    "bird": _bird,
    "frr": _frr,
}
