"""Text of ping, traceroute, mtr, BIRD and FRR in, facts (numbers, hops, paths) out.

What is not known is left out or None, never guessed; text that is not understood gives no facts. Facts are
wanted while a command runs as well: then nothing is said that more output could contradict. Addresses and
names are as printed.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Facts = dict[str, Any]

ADDRESS = r"[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,15})?"
NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"

# "64 bytes from target.example (203.0.113.10): icmp_seq=1 ttl=60 time=18.0 ms"; busybox: seq=; BSD: hlim=
REPLY = re.compile(
    rf"bytes from (?:\S{{1,255}} \()?({ADDRESS}?)\)?[:,] (?:icmp_)?seq=([0-9]{{1,9}})"
    rf"(?: (?:ttl|hlim)=([0-9]{{1,3}}))?(?: time=({NUMBER}) ms)?"
)
# "5 packets transmitted, 5 received, 0% packet loss"; busybox and inetutils: "5 packets received".
COUNTS = re.compile(r"^([0-9]{1,9}) packets transmitted, ([0-9]{1,9}) (?:packets )?received", re.MULTILINE)
# "rtt min/avg/max/mdev = 18.0/18.5/19.3/0.5 ms"; busybox: "round-trip min/avg/max = …", BSD: "…/std-dev".
TIMES = re.compile(
    rf"(?:rtt|round-trip) min/avg/max(?:/[a-z-]{{4,7}})? = ({NUMBER})/({NUMBER})/({NUMBER})(?:/({NUMBER}))?"
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
# "64501", or "1.10" in RFC 5396's asdot
AS_NUMBER = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,5}))?")


def facts(parser: str, text: str, complete: bool = True) -> Facts:
    """Return what a parser, one of PARSERS, knows from a command's output; never raises.

    ``complete``: the command has ended by itself, so that the last line and all before it are whole.
    """
    if not complete:
        word = text.rfind(" ") if parser == "traceroute" else -1  # whose probes come one by one
        text = text[: max(word, text.rfind("\n")) + 1]
    try:
        return PARSERS[parser](text, complete)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return {}


def _json(text: str) -> Any:
    """Read JSON; a number that could not be written as JSON again becomes None."""
    return json.loads(text, parse_float=_finite, parse_constant=lambda name: None)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


# --- ping


def _ping(text: str, complete: bool) -> Facts:
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
        {
            "seq": int(seq),
            "rtt": float(rtt) if rtt else None,
            "ttl": int(ttl) if ttl else None,
            "address": address,
        }
        for address, seq, ttl, rtt in REPLY.findall(text)
    ]
    if replies or found.get("received") == 0:
        found["replies"] = replies
    return found


def _rate(sent: int, received: int) -> Facts:
    counts: Facts = {"sent": sent, "received": received}
    return {"rate": round(100 * received / sent, 2), **counts} if sent else counts


# --- traceroute


def _traceroute(text: str, complete: bool) -> Facts:
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
            host = _host(match["name"], value)
        elif kind == "bare":
            host = _host(match["alias"] or value, value)
    return probes


def _host(name: str | None, address: str | None) -> Facts:
    """Return address and name; a name that only repeats the address is none."""
    return {"address": address, "name": name} if name != address else {"address": address}


# --- mtr


def _mtr(text: str, complete: bool) -> Facts:
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
    if _is_address(host):
        return {"address": host}
    is_cut = ":" in host or re.fullmatch(r"[0-9.]+", host)  # an address without --report-wide
    return {} if is_cut else {"name": host}


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


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


# --- BIRD


def _bird(text: str, complete: bool) -> Facts:
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
    return _either(paths, neighbors, complete)


def _either(paths: list[Facts], neighbors: list[Facts], complete: bool) -> Facts:
    """Return what was understood of the one or the other; the last one may lack what follows."""
    found = {"paths": paths, "neighbors": neighbors}
    found = {
        name: [each for each in values[: None if complete else -1] if each] for name, values in found.items()
    }
    return {name: values for name, values in found.items() if values}


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
        path["as_path"] = _numbers(value)
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


def _numbers(text: str) -> list[int]:
    """Return the AS numbers in a text; sets are flattened."""
    return [(int(high) << 16) + int(low) if low else int(high) for high, low in AS_NUMBER.findall(text)]


# --- FRR


def _frr(text: str, complete: bool) -> Facts:
    """Return paths or neighbors of `show bgp …`, from JSON or from text; sets in an AS path are flattened."""
    if text.lstrip().startswith("{"):
        document = _json(text)
        return _either(list(_frr_paths(document)), list(_frr_neighbors(document)), complete)
    return _either(_frr_text_paths(text), _frr_text_neighbors(text), complete)


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
        "as_path": _numbers(as_path),
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
            path = {"prefix": prefix, "as_path": _numbers(match[1])} if match else {}
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
            neighbor: Facts = {"asn": _numbers(match["asn"])[0], "since": match["since"]}
            neighbor["state"] = match["state"] or "Established"
            if peer or _is_address(match["peer"]):
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


# Each takes the text, and whether it is complete.
PARSERS: Mapping[str, Callable[[str, bool], Facts]] = {
    "ping": _ping,
    "traceroute": _traceroute,
    "mtr": _mtr,
    "bird": _bird,
    "frr": _frr,
}
