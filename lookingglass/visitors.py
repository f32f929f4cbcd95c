"""Who asks: the address behind proxies, how it is counted, whether the visitor has left."""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lookingglass import targets
from lookingglass.guard import network_of
from lookingglass.problems import HTTPProblem

X_FORWARDED = "HTTP_X_FORWARDED"  # how headers begin that proxies add
FORWARDED_FOR = f"{X_FORWARDED}_FOR"  # the one by which a trusted proxy is believed
# Headers that tell of a proxy, and are never believed.
UNBELIEVED = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_CLIENT_IP")
UNIX = "unix:"  # a unix socket, among trusted proxies
UNIX_PEERS = ("", "localhost")  # REMOTE_ADDR of a unix socket's other end, with gunicorn and with waitress
WITH_PORT = re.compile(r"(?:([0-9.]{7,15})|\[([0-9A-Fa-f:.]{2,45})\])(?::[0-9]{1,5})?")

# Whose X-Forwarded-For is believed: True means loopback addresses and unix sockets.
Trust = bool | tuple[targets.Network | str, ...]


class Visitor(NamedTuple):
    """Say who asks."""

    address: str  # canonical; "" when it is not known
    key: str  # what limits count: the IPv4 address, the IPv6 /64, or one key for all unknown visitors

    @property
    def network(self) -> str:
        """Return what a network's share is counted by."""
        return network_of(self.key)

    @classmethod
    def of(cls, environ: Mapping[str, Any], trust: Trust) -> Visitor:
        """Find the visitor of a WSGI request behind trusted proxies."""
        address = client_address(environ, trust)
        return cls(address, client_key(address))


def client_address(environ: Mapping[str, Any], trust: Trust) -> str:
    """Return who has asked, walking X-Forwarded-For from the right over trusted proxies; "": not known."""
    return str(_walk(environ, trust)[0] or "")


def comes_from(environ: Mapping[str, Any], trust: Trust, networks: Sequence[targets.Network]) -> bool:
    """Tell whether a request certainly comes from one of some networks.

    A proxy's own address says nothing of who is behind it. So where a header tells of a proxy, all proxies
    have to be trusted ones, which name somebody else, by X-Forwarded-For and nothing besides.
    """
    client, claims = _walk(environ, trust)
    if client is None or claims or any(name.startswith(UNBELIEVED) for name in environ):
        return False
    if any(name.startswith(X_FORWARDED) for name in environ):
        names_nobody = not environ.get(FORWARDED_FOR, "").strip(", \t")
        if names_nobody or is_proxy(client, trust):
            return False
    return any(client in network for network in networks)


def _walk(environ: Mapping[str, Any], trust: Trust) -> tuple[targets.Address | None, list[str]]:
    """Return who has asked, None: not known, and what X-Forwarded-For claims beyond that."""
    peer: str = environ.get("REMOTE_ADDR") or ""
    client = read_client(peer)
    # RFC 9110 section 5.6.1: empty elements of a list count for nothing
    forwarded = [part for part in map(str.strip, environ.get(FORWARDED_FOR, "").split(",")) if part]
    is_trusted = peer in UNIX_PEERS and (trust is True or (not isinstance(trust, bool) and UNIX in trust))
    while forwarded and (is_trusted or is_proxy(client, trust)):
        claimed = read_client(forwarded[-1])
        if claimed is None:
            break
        client, is_trusted = claimed, False
        forwarded.pop()
    return client, forwarded


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


def refuse_forged(environ: Mapping[str, Any]) -> None:
    """Refuse what another site's page makes a browser ask, by a link or as an image; raises HTTPProblem."""
    if (
        environ.get("HTTP_SEC_FETCH_SITE", "").lower() == "cross-site"
        and environ.get("HTTP_SEC_FETCH_MODE", "").lower() != "cors"
    ):
        raise HTTPProblem(400, "Commands are not run for links on other sites; open this page itself.")


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
