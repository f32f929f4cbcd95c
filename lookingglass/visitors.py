"""Who asks: the address behind proxies, how it is counted, whether the visitor has left."""

from __future__ import annotations

import functools
import ipaddress
import itertools
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from lookingglass import targets

UNIX = "unix:"  # a unix socket, among trusted proxies
NETWORKS = {4: 24, 6: 48}  # prefix lengths of what one customer has, or shares with neighbours
UNIX_PEERS = ("", "localhost")  # REMOTE_ADDR of a unix socket's other end, with gunicorn and with waitress
# RFC 7239 section 6: an address, perhaps with a port, which may be hidden
WITH_PORT = re.compile(
    r"(?:([0-9.]{7,15})|\[([0-9A-Fa-f:.]{2,45})\])(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]{1,64}))?"
)
# RFC 7239 section 4: a parameter, or nothing, and what separates it from the next
WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
PARAMETER = re.compile(
    rf"[ \t]*+(?:(?P<name>{WORD})=(?:(?P<token>{WORD})|\"(?P<quoted>(?:[^\"\\]|\\.)*+)\"))?+"
    r"[ \t]*+(?P<end>[;,]|\Z)"
)
QUOTED_PAIR = re.compile(r"\\(.)")

# Whose forwarding headers are believed: True means loopback addresses and unix sockets.
Trust = bool | tuple[targets.Network | str, ...]


class Visitor(NamedTuple):
    """Say who asks."""

    address: str  # canonical; "" when it is not known
    key: str  # what limits count: the IPv4 address, the IPv6 /64, or one key for all who are not known

    @classmethod
    def of(cls, environ: Mapping[str, Any], trust: Trust) -> Visitor:
        """Find the visitor of a WSGI request behind trusted proxies."""
        address = client_address(environ, trust)
        return cls(address, client_key(address))


def client_address(environ: Mapping[str, Any], trust: Trust) -> str:
    """Return who has asked, walking from the right over what trusted proxies say; "": not known.

    Where X-Forwarded-For and Forwarded (RFC 7239) are there and differ, a visitor may have written one of
    them: then the client is the last one on which they agree.
    """
    peer: str = environ.get("REMOTE_ADDR") or ""
    ways = []
    if trust and (header := environ.get("HTTP_X_FORWARDED_FOR")):
        ways.append(_walk(peer, _read_list(header), trust))
    if trust and (header := environ.get("HTTP_FORWARDED")):
        ways.append(_walk(peer, _read_forwarded(header), trust))
    if not ways:
        return str(read_client(peer) or "")
    both = zip(ways[0], ways[-1], strict=False)
    agreed = [one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], both)]
    return str(agreed[-1] or "")  # the peer at least


def _walk(peer: str, claims: list[str], trust: Trust) -> list[targets.Address | None]:
    """Return the peer and those before it, the visitor last, as long as trusted proxies tell of them."""
    way = [read_client(peer)]
    is_trusted = peer in UNIX_PEERS and (isinstance(trust, bool) or UNIX in trust)
    while claims and (is_trusted or is_proxy(way[-1], trust)):
        claimed = read_client(claims.pop())
        if claimed is None:
            break
        way.append(claimed)
        is_trusted = False
    return way


def _read_list(header: str) -> list[str]:
    """Return the elements of X-Forwarded-For; empty ones count for nothing (RFC 9110 section 5.6.1)."""
    return [part for part in map(str.strip, header.split(",")) if part]


def _read_forwarded(header: str) -> list[str]:
    """Return the node of each element of Forwarded, "" where it names none; nothing where one is malformed.

    A visitor who begins a quoted string could else hide what the proxy adds behind it.
    """
    nodes = []
    element: dict[str, str] = {}  # its parameters
    position, end = 0, ","
    while end:
        match = PARAMETER.match(header, position)
        if match is None or (match["name"] or "").lower() in element:
            return []
        position, end = match.end(), match["end"]
        if match["name"]:
            value = match["token"] or QUOTED_PAIR.sub(r"\1", match["quoted"] or "")
            element[match["name"].lower()] = value
        if end != ";" and element:
            nodes.append(element.get("for", ""))
            element = {}
    return nodes


def is_proxy(client: targets.Address | None, trust: Trust) -> bool:
    """Tell whether an address is one of the trusted proxies."""
    if client is None or isinstance(trust, bool):
        return bool(client and trust and client.is_loopback)
    return any(client in network for network in trust if not isinstance(network, str))


@functools.lru_cache(1024)
def client_key(client: str) -> str:
    """Return what a client is counted by: its IPv4 address, its IPv6 /64, or one key for all unknown."""
    address = read_client(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address or "unknown")


@functools.lru_cache(1024)
def network_key(client: str) -> str:
    """Return what a client's network is counted by: its IPv4 /24 or IPv6 /48, or one key for all unknown."""
    address = read_client(client.partition("/")[0])
    if address is None:
        return "unknown"
    return str(ipaddress.ip_network(f"{address}/{NETWORKS[address.version]}", strict=False))


@functools.lru_cache(1024)
def read_client(text: str) -> targets.Address | None:
    """Read the address of a client or a proxy, an IPv4-mapped one as IPv4; None: it is none.

    Some proxies add a port: 192.0.2.1:80 and [2001:db8::1]:80.
    """
    match = WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    if getattr(address, "scope_id", None):
        return None
    return getattr(address, "ipv4_mapped", None) or address


def connection_of(environ: Mapping[str, Any]) -> int | None:
    """Return a descriptor of the client's connection, for the caller to close; None: the host tells none.

    gunicorn gives its socket; some hosts give a body that knows it.
    """
    source = environ.get("gunicorn.socket") or environ.get("wsgi.input")
    try:
        descriptor = source.fileno()  # type: ignore[union-attr]
        return os.dup(descriptor) if stat.S_ISSOCK(os.fstat(descriptor).st_mode) else None
    except (AttributeError, OSError, TypeError, ValueError):  # no file, or closed
        return None
