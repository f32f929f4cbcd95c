"""BGP communities, the well-known ones in words."""

from __future__ import annotations

from collections.abc import Iterable

from lookingglass.pictures.markup import UNKNOWN, escape, name

MOST = 40  # of a path

# https://www.iana.org/assignments/bgp-well-known-communities
WELL_KNOWN = {
    "65535:0": "graceful shutdown",
    "65535:1": "accept own",
    "65535:2": "route filter translated, IPv4",
    "65535:3": "route filter, IPv4",
    "65535:4": "route filter translated, IPv6",
    "65535:5": "route filter, IPv6",
    "65535:6": "long-lived stale",
    "65535:7": "not long-lived when stale",
    "65535:8": "accept own, next hop",
    "65535:9": "standby PE",
    "65535:666": "blackhole",
    "65535:65281": "no export",
    "65535:65282": "no advertise",
    "65535:65283": "no export beyond a sub-AS",
    "65535:65284": "no peer",
}
# FRR prints these instead of numbers.
NAMED = {
    "internet": "internet",
    "graceful-shutdown": "65535:0",
    "accept-own": "65535:1",
    "route-filter-translated-v4": "65535:2",
    "route-filter-v4": "65535:3",
    "route-filter-translated-v6": "65535:4",
    "route-filter-v6": "65535:5",
    "llgr-stale": "65535:6",
    "no-llgr": "65535:7",
    "accept-own-nexthop": "65535:8",
    "blackhole": "65535:666",
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "local-AS": "65535:65283",
    "no-peer": "65535:65284",
}


def chips(communities: Iterable[str]) -> str:
    """Return communities as a list: their numbers, and words where they are known."""
    known = list(communities)
    shown = [f"<li>{_chip(NAMED.get(each, each))}</li>" for each in known[:MOST]]
    if more := len(known) - len(shown):
        shown.append(f"<li>and {more} more</li>" if more > 0 else "")
    return f'<ul class="chips">{"".join(shown)}</ul>' if shown else UNKNOWN


def _chip(community: str) -> str:
    words = WELL_KNOWN.get(community)
    return f"{escape(community)} <b>{name(words)}</b>" if words else escape(community)
