"""Who asks: the address behind proxies, how it is counted, whether the visitor has left."""

from __future__ import annotations

import functools
import ipaddress
import itertools
import logging
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lookingglass import targets
from lookingglass.guard import network_of
from lookingglass.headers import TCHARS

X_FORWARDED = "HTTP_X_FORWARDED"  # how headers begin that proxies add
# The headers by which a trusted proxy is believed.
FORWARDED_FOR, FORWARDED = f"{X_FORWARDED}_FOR", "HTTP_FORWARDED"
# Headers that tell of a proxy, and are never believed.
UNBELIEVED = ("HTTP_FORWARDED_", "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_CLIENT_IP")
MOST_TOLD = 8  # peers in the log
NOT_BELIEVED = (
    "%s from %s is not believed: all who come through it are one client for the limits. "
    "If it is your proxy, set %s"
)
UNIX = "unix:"  # a unix socket, among trusted proxies
UNIX_PEERS = ("", "localhost")  # REMOTE_ADDR of a unix socket's other end, with gunicorn and with waitress
# RFC 7239 section 6: an address, perhaps with a port, which may be hidden
WITH_PORT = re.compile(
    r"(?:([0-9.]{7,15})|\[([0-9A-Fa-f:.]{2,45})\])(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]{1,64}))?"
)
# RFC 7239 section 4: a parameter, or nothing, and what separates it from the next
FORWARDED_PAIR = re.compile(
    rf"[ \t]*+(?:(?P<name>{TCHARS})=(?:(?P<token>{TCHARS})|\"(?P<quoted>(?:[^\"\\]|\\.)*+)\"))?+"
    r"[ \t]*+(?P<end>[;,]|\Z)"
)
QUOTED_PAIR = re.compile(r"\\(.)")

log = logging.getLogger("tinytracer")

# Whose forwarding headers are believed: True means loopback addresses and unix sockets.
Trust = bool | tuple[targets.Network | str, ...]


class Visitor(NamedTuple):
    """Say who asks."""

    address: str  # canonical; "" when it is not known
    key: str  # what limits count: the IPv4 address, the IPv6 /64, or one key for all unknown visitors
    base: str = ""  # the URL under which the visitor sees this looking glass, of one who asks for a run

    @property
    def network(self) -> str:
        """Return what a network's share is counted by."""
        return network_of(self.key)

    @classmethod
    def of(cls, environ: Mapping[str, Any], trust: Trust) -> Visitor:
        """Find the visitor of a WSGI request behind trusted proxies."""
        if not any(map(environ.get, HEADER_READERS)):
            return _direct(environ.get("REMOTE_ADDR") or "")
        address = client_address(environ, trust)
        return cls(address, client_key(address))


class Unbelieved:
    """Log, once for each peer, that its forwarding header is not believed, and which key changes that."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._told: set[str] = set()

    def look(self, environ: Mapping[str, Any]) -> None:
        """Look at a request's headers."""
        if FORWARDED_FOR not in environ and FORWARDED not in environ:
            return
        peer: str = environ.get("REMOTE_ADDR") or ""
        if peer in self._told or len(self._told) >= MOST_TOLD or _is_trusted(peer, self._trust):
            return
        self._told.add(peer)
        header = "X-Forwarded-For" if FORWARDED_FOR in environ else "Forwarded"
        log.warning(NOT_BELIEVED, header, *_named(peer, self._trust))


def _named(peer: str, trust: Trust) -> tuple[str, str]:
    """Return what to call a peer, and the key that makes it a trusted proxy."""
    address = read_client(peer)
    name, entry = (f"{address}", f'"{address}"') if address else ("a unix socket", f'"{UNIX}"')
    if trust is False and (address is None or address.is_loopback):
        return name, '"trustproxy": true'
    return name, f'"trustproxy": [{entry}]' if isinstance(trust, bool) else f'{entry} in "trustproxy"'


def client_address(environ: Mapping[str, Any], trust: Trust) -> str:
    """Return who has asked, walking from the right over what trusted proxies say; "": not known.

    Where X-Forwarded-For and Forwarded (RFC 7239) are there and differ, a visitor may have written one of
    them: then the client is the last one on which they agree.
    """
    return str(_walk(environ, trust)[0][-1] or "")


def comes_from(environ: Mapping[str, Any], trust: Trust, networks: Sequence[targets.Network]) -> bool:
    """Tell whether a request certainly comes from one of some networks.

    A proxy's own address says nothing of who is behind it. So where a header tells of a proxy, all proxies
    have to be trusted ones, which name somebody else, by X-Forwarded-For or Forwarded and nothing besides.
    """
    way, is_whole = _walk(environ, trust)
    client = way[-1]
    if client is None or not is_whole or any(name.startswith(UNBELIEVED) for name in environ):
        return False
    is_forwarded = any(name == FORWARDED or name.startswith(X_FORWARDED) for name in environ)
    if is_forwarded and (len(way) == 1 or is_proxy(client, trust)):
        return False
    return any(client in network for network in networks)


def _walk(environ: Mapping[str, Any], trust: Trust) -> tuple[list[targets.Address | None], bool]:
    """Return the way from the peer to who has asked, and whether the headers claim nothing beyond that."""
    peer: str = environ.get("REMOTE_ADDR") or ""
    told = [read(environ[name]) for name, read in HEADER_READERS.items() if environ.get(name)]
    ways = [_follow(peer, claims, trust) for claims in told] or [[read_client(peer)]]
    both = zip(ways[0], ways[-1], strict=False)
    way = [one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], both)]  # the peer at least
    return way, all(len(claims) == len(way) - 1 for claims in told)


def _follow(peer: str, claims: list[str], trust: Trust) -> list[targets.Address | None]:
    """Return the peer and those before it, the visitor last, as long as trusted proxies tell of them."""
    way = [read_client(peer)]
    is_trusted = _is_trusted(peer, trust)
    for each in reversed(claims):
        claimed = read_client(each)
        if claimed is None or not is_trusted:
            break
        way.append(claimed)
        is_trusted = is_proxy(claimed, trust)
    return way


def _is_trusted(peer: str, trust: Trust) -> bool:
    if peer in UNIX_PEERS:
        return trust is True or (not isinstance(trust, bool) and UNIX in trust)
    return is_proxy(read_client(peer), trust)


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
        match = FORWARDED_PAIR.match(header, position)
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


# What trusted proxies say, and how it is read.
HEADER_READERS = {FORWARDED_FOR: _read_list, FORWARDED: _read_forwarded}


def is_proxy(client: targets.Address | None, trust: Trust) -> bool:
    """Tell whether an address is one of the trusted proxies."""
    if client is None or isinstance(trust, bool):
        return bool(client and trust and client.is_loopback)
    return any(client in network for network in trust if not isinstance(network, str))


@functools.lru_cache(1024)
def _direct(peer: str) -> Visitor:
    """Return a visitor whom no proxy names."""
    address = str(read_client(peer) or "")
    return Visitor(address, client_key(address))


@functools.lru_cache(1024)
def client_key(client: str) -> str:
    """Return what a client is counted by: its IPv4 address, its IPv6 /64, or one key for all unknown."""
    address = read_client(client)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address or "unknown")


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
    return targets.unmapped(address)


def connection_of(environ: Mapping[str, Any]) -> int | None:
    """Return a descriptor of the client's connection, for the caller to close; None: the host tells none.

    gunicorn gives its socket, waitress a method of what holds it; some hosts give a body that knows it.
    """
    channel = getattr(environ.get("waitress.client_disconnected"), "__self__", None)
    source = environ.get("gunicorn.socket") or getattr(channel, "socket", None) or environ.get("wsgi.input")
    try:
        descriptor = source.fileno()  # type: ignore[union-attr]
        return os.dup(descriptor) if stat.S_ISSOCK(os.fstat(descriptor).st_mode) else None
    except (AttributeError, OSError, TypeError, ValueError):  # no file, or closed
        return None
