"""JSON of vtysh in, paths and neighbors out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lookingglass.facts.common import (
    Facts,
    as_number,
    as_path,
    as_segments,
    is_address,
    is_prefix,
    used_next_hop,
)

DEPTH = 4  # a document may hold one for each VRF, and that one for each address family


def walk(document: object, depth: int = DEPTH) -> Iterator[tuple[str, Facts]]:
    """Yield "path" or "neighbor" with its facts, for each one in a document of `show bgp … json`."""
    if not isinstance(document, dict) or not depth:
        return
    for key, value in document.items():
        if key == "paths" and isinstance(value, list):
            yield from _paths(_prefix(document), value)
        elif not isinstance(value, dict):
            continue
        elif key == "routes":
            for prefix, paths in value.items():
                yield from _paths(prefix, paths)
        elif key == "peers":
            yield from (("neighbor", _neighbor(*item)) for item in value.items())
        elif "bgpState" in value:
            yield "neighbor", _neighbor(key, value)
        else:
            yield from walk(value, depth - 1)


def _prefix(document: Facts) -> object:
    prefix, length = document.get("prefix"), document.get("prefixlen", document.get("prefixLen"))
    return f"{prefix}/{length}" if isinstance(length, int) and "/" not in str(prefix) else prefix


def _paths(prefix: object, paths: object) -> Iterator[tuple[str, Facts]]:
    """Yield paths of a prefix: a list, or an object that has it."""
    if isinstance(paths, dict):
        paths = paths.get("paths")
    for path in paths if isinstance(paths, list) else []:
        yield "path", _path(prefix, path) if isinstance(path, dict) else {}


def _path(prefix: object, path: Facts) -> Facts:
    hops = [hop for hop in _list(path.get("nexthops")) if isinstance(hop, dict)]
    addresses = [hop["ip"] for hop in hops if is_address(str(hop.get("ip"))) and hop.get("used", True)]
    peer = _first(_table(path.get("peer")).get("peerId"), path.get("peerId"))
    known = _known(
        prefix=prefix if isinstance(prefix, str) and is_prefix(prefix) else None,
        as_path=_as_path(path),
        segments=as_segments(_aspath(path) or ""),
        origin=_text(path.get("origin")),
        next_hop=used_next_hop(addresses),
        local_pref=_first(*(_count(path.get(key)) for key in ("locPrf", "localpref", "localPref"))),
        med=_first(_count(path.get("metric")), _count(path.get("med"))),
        communities=_communities(path.get("community")),
        large_communities=_communities(path.get("largeCommunity")),
        best=_best(path.get("bestpath", False)),
        reason=_text(
            _first(_table(path.get("bestpath")).get("selectionReason"), path.get("selectionReason"))
        ),
        protocol=_text(peer) if peer != "(unspec)" else None,
    )
    return known if known.keys() & {"as_path", "next_hop"} else {}


def _best(found: object) -> bool | None:
    found = found.get("overall", False) if isinstance(found, dict) else found
    return found if isinstance(found, bool) else None


def _as_path(path: Facts) -> list[int] | None:
    """Return the AS path, which is `aspath`, or `path` in a table."""
    text = _aspath(path)
    if text == "Local":
        return []
    return as_path(text) if text is not None else None


def _aspath(path: Facts) -> str | None:
    text: str | None = _first(_string(path.get("aspath")), _string(path.get("path")))
    return text


def _communities(found: object) -> list[str] | None:
    text = _string(found)
    return text.split() if text is not None else None


def _string(found: object) -> str | None:
    """Return a text: the object's own of newer releases, or the plain one (up to FRR 7.3)."""
    text = found.get("string") if isinstance(found, dict) else found
    return text if isinstance(text, str) else None


def _neighbor(key: str, peer: object) -> Facts:
    """Return a peer; its key is an address, or an interface if it is unnumbered."""
    if not isinstance(peer, dict):
        return {}
    families = _table(peer.get("addressFamilyInfo")).values()
    counts = [_count(_table(family).get("acceptedPrefixCounter")) for family in families]
    accepted = [count for count in counts if count is not None]
    named = key if not is_address(key) else None
    address = str(peer.get("bgpNeighborAddr")) if named else key
    received = (_count(peer.get(name)) for name in ("pfxRcd", "prefixReceivedCount"))
    return _known(
        name=_first(*(_text(peer.get(name)) for name in ("desc", "nbrDesc", "hostname")), named),
        address=address if is_address(address) else None,
        asn=_asn(peer.get("remoteAs")),
        state=_first(_text(peer.get("state")), _text(peer.get("bgpState"))),
        since=_first(_text(peer.get("peerUptime")), _text(peer.get("bgpTimerUpString"))),
        received=_first(*received, sum(accepted) if accepted else None),
    )


def _asn(found: object) -> int | None:
    """Return an AS number; it is a string in asdot notation."""
    return as_number(str(found)) if isinstance(found, int | str) else None


def _known(**values: object) -> Facts:
    return {name: value for name, value in values.items() if value is not None}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _table(value: object) -> Facts:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    """Return a number of 32 bits; some releases print large ones as negative."""
    return value if type(value) is int and 0 <= value < 1 << 32 else None
