"""What a visitor may name: address, prefix, host name, AS number, community; and what is denied."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lookingglass.problems import TargetError

ARGUMENTS = ("host", "addr", "address", "asn", "community")
LONGEST_TARGET = 300  # characters; nothing longer is looked at

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 3986 section 3.2.2: dec-octet, without leading zeros.
OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = re.compile(rf"{OCTET}(?:\.{OCTET}){{3}}")
# RFC 4291 section 2.2: hexadecimal groups, "::", perhaps IPv4 at the end; `ipaddress` judges the rest.
IPV6 = re.compile(r"[0-9A-Fa-f:]{2,39}(?:[0-9.]{7,15})?")
# RFC 4632 section 3.1: the length of a prefix in decimal.
LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")
# RFC 1123 section 2.1: letters, digits and inner hyphens, 63 at most in a label; and underscores, which DNS
# allows (RFC 2181 section 11) and routers' names have.
LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*\.?")
# What inet_aton() would read as an address in another form: a last label that is a number.
NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
# RFC 5396: asplain, here with or without "AS".
ASN = re.compile(r"(?:[Aa][Ss])?([1-9][0-9]{0,9})")
# RFC 1997 and RFC 8092: two numbers of 16 bits, or three of 32.
COMMUNITY = re.compile(r"(?:0|[1-9][0-9]{0,9})(?::(?:0|[1-9][0-9]{0,9})){1,2}")
# IANA, Border Gateway Protocol (BGP) Well-known Communities: RFC 1997, 3765, 7611, 7999, 8326, 9026 and
# 9494. What routers spell in different ways, or do not know by name, becomes its number.
WELL_KNOWN = {
    **{
        name: name
        for name in (
            *("no-export", "no-advertise", "blackhole", "graceful-shutdown"),
            *("accept-own", "accept-own-nexthop", "llgr-stale", "no-llgr"),
        )
    },
    **dict.fromkeys(("no-export-subconfed", "local-as"), "65535:65283"),
    **dict.fromkeys(("nopeer", "no-peer"), "65535:65284"),
    "standby-pe": "65535:9",
}

EXPECTED = {
    "host": "an IPv4 or IPv6 address or a host name",
    "addr": "an IPv4 or IPv6 address or prefix, such as 192.0.2.1 or 2001:db8::/32",
    "address": "an IPv4 or IPv6 address",
    "asn": "an AS number from 1 to 4294967295, such as AS64500",
    "community": "a BGP community such as 64500:100, 64500:1:2 or no-export",
}

# The 96 bits before an embedded IPv4 address: ::/96, ::ffff:0:0/96 and 64:ff9b::/96.
LAST_32_BITS = {0, 0xFFFF, 0x64FF9B << 64}
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291 section 2.5.5.2

# The IANA special-purpose address registries (RFC 6890), multicast, and what is not allocated; the most
# specific row wins. "-" is denied, "+" is globally reachable, "4" is judged by the IPv4 address inside.
SPECIAL = """
- 0.0.0.0/8           RFC 791   this network
- 10.0.0.0/8          RFC 1918  private use
- 100.64.0.0/10       RFC 6598  shared address space
- 127.0.0.0/8         RFC 1122  loopback
- 169.254.0.0/16      RFC 3927  link local
- 172.16.0.0/12       RFC 1918  private use
- 192.0.0.0/24        RFC 6890  protocol assignments
- 192.0.0.0/29        RFC 7335  IPv4 service continuity
- 192.0.0.8/32        RFC 7600  dummy address
+ 192.0.0.9/32        RFC 7723  Port Control Protocol anycast
+ 192.0.0.10/32       RFC 8155  TURN anycast
- 192.0.0.170/31      RFC 8880  NAT64 and DNS64 discovery
- 192.0.2.0/24        RFC 5737  documentation
+ 192.31.196.0/24     RFC 7535  AS112
+ 192.52.193.0/24     RFC 7450  AMT
- 192.88.99.0/24      RFC 7526  deprecated 6to4 relay
- 192.168.0.0/16      RFC 1918  private use
+ 192.175.48.0/24     RFC 7534  AS112
- 198.18.0.0/15       RFC 2544  benchmarking
- 198.51.100.0/24     RFC 5737  documentation
- 203.0.113.0/24      RFC 5737  documentation
- 224.0.0.0/4         RFC 5771  multicast
- 240.0.0.0/4         RFC 1112  reserved
- 255.255.255.255/32  RFC 919   limited broadcast
- ::/0                RFC 4291  only 2000::/3 is allocated as global unicast
- ::/96               RFC 4291  deprecated IPv4-compatible
- ::/128              RFC 4291  unspecified
- ::1/128             RFC 4291  loopback
4 ::ffff:0:0/96       RFC 4291  IPv4-mapped
4 64:ff9b::/96        RFC 6052  NAT64
- 64:ff9b:1::/48      RFC 8215  NAT64 of local use
- 100::/64            RFC 6666  discard only
- 100:0:0:1::/64      RFC 9780  dummy prefix
+ 2000::/3            RFC 4291  global unicast
- 2001::/23           RFC 2928  protocol assignments
4 2001::/32           RFC 4380  Teredo
+ 2001:1::1/128       RFC 7723  Port Control Protocol anycast
+ 2001:1::2/128       RFC 8155  TURN anycast
+ 2001:1::3/128       RFC 9665  DNS-SD Service Registration Protocol anycast
- 2001:2::/48         RFC 5180  benchmarking
+ 2001:3::/32         RFC 7450  AMT
+ 2001:4:112::/48     RFC 7535  AS112
- 2001:10::/28        RFC 4843  deprecated ORCHID
+ 2001:20::/28        RFC 7343  ORCHIDv2
+ 2001:30::/28        RFC 9374  drone remote identification
- 2001:db8::/32       RFC 3849  documentation
4 2002::/16           RFC 3056  6to4
+ 2620:4f:8000::/48   RFC 7534  AS112
- 3fff::/20           RFC 9637  documentation
- 5f00::/16           RFC 9602  segment routing
- fc00::/7            RFC 4193  unique local
- fe80::/10           RFC 4291  link local
- fec0::/10           RFC 3879  deprecated site local
- ff00::/8            RFC 4291  multicast
"""


class Target(NamedTuple):
    """Hold what a visitor has named, in canonical form."""

    kind: str  # address, prefix, name, asn, community or large (a large community)
    text: str
    family: int | None = None  # 4 or 6; None: not known, or not applicable


class DenyTable:
    """Judge addresses by where packets to them would go.

    Addresses with an IPv4 address inside (compatible, mapped, NAT64, 6to4, Teredo) are judged by that one
    as well.
    """

    def __init__(self, denied: Iterable[Network], reachable: Iterable[Network] = ()) -> None:
        rows = [(network, True) for network in denied] + [(network, False) for network in reachable]
        self._rows = sorted(rows, key=lambda row: row[0].prefixlen, reverse=True)

    def __repr__(self) -> str:
        """Return its rows, by which two tables are compared."""
        return f"{type(self).__name__}({self._rows})"

    @classmethod
    def built_in(cls) -> DenyTable:
        """Build the table of special-purpose networks."""
        rows = [line.split()[:2] for line in SPECIAL.strip().splitlines()]
        return cls(
            denied=[ipaddress.ip_network(network) for mark, network in rows if mark == "-"],
            reachable=[ipaddress.ip_network(network) for mark, network in rows if mark in "+4"],
        )

    def denies(self, address: Address) -> bool:
        """Tell whether no packet may be sent to an address."""
        return any(self._row(each) for each in (address, *embedded(address)))

    def denies_some(self, network: Network) -> bool:
        """Tell whether a network has an address to which no packet may be sent."""
        inside = (
            denied and row.version == network.version and row.network_address in network
            for row, denied in self._rows
        )
        first = network.network_address
        is_several = network.num_addresses > 1
        return self.denies(first) or any(inside) or bool(is_several and embedded(first))

    def _row(self, address: Address) -> bool:
        return next((denied for network, denied in self._rows if address in network), False)


def parse(text: str, argument: str) -> Target:
    """Read a visitor's target for a command's argument, one of ARGUMENTS.

    Raises TargetError, which never repeats the text.
    """
    if len(text) > LONGEST_TARGET:
        raise TargetError(f"A target has at most {LONGEST_TARGET} characters.")
    for read in TARGET_READERS[argument]:
        target = read(text)
        if target is not None:
            return target
    expected = f"this command's target is {EXPECTED[argument]}."
    if _prefix(text):
        raise TargetError(f"A prefix cannot be used here: {expected}")
    raise TargetError(expected[0].upper() + expected[1:])


def unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv4-mapped one means, any other address as it is."""
    return getattr(address, "ipv4_mapped", None) or address


def embedded(address: Address) -> tuple[Address, ...]:
    """Return the IPv4 addresses that packets to an IPv6 address would reach, or that it is made from.

    RFC 4291 section 2.5.5, RFC 6052, RFC 3056, RFC 4380 section 4 (server and client), RFC 5214 section 6.1.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address.teredo:
        return address.teredo
    if address.sixtofour:
        return (address.sixtofour,)
    number = int(address)
    is_isatap = number >> 32 & 0xFDFFFFFF == 0x5EFE
    if is_isatap or (number >> 32 in LAST_32_BITS and number > 1):
        return (ipaddress.IPv4Address(number & 0xFFFFFFFF),)
    return ()


def network_of(address: Address) -> Network:
    """Return what a limit per target network counts: the IPv4 /24 that packets reach, else the IPv6 /48."""
    # The last one: a Teredo address begins with a server, which anybody may choose, and ends with the client.
    reached = (address, *embedded(address))[-1]
    return ipaddress.ip_network((reached, 24 if reached.version == 4 else 48), strict=False)


def read_address(text: str) -> Address | None:
    """Read an address in its usual form, without zone, port or brackets; None: it is none."""
    if not (IPV4.fullmatch(text) or IPV6.fullmatch(text)):
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _address(text: str) -> Target | None:
    address = read_address(text)
    if address is None:
        return None
    meant = unmapped(address)
    return Target("address", str(meant), meant.version)


def _prefix(text: str) -> Target | None:
    """Read a prefix; bits of the host, which people paste, are dropped."""
    base, slash, length = text.partition("/")
    address = read_address(base)
    if not slash or address is None or not LENGTH.fullmatch(length) or int(length) > address.max_prefixlen:
        return None
    network: Network = ipaddress.ip_network((address, int(length)), strict=False)
    if network.version == 6 and network.subnet_of(MAPPED):
        network = ipaddress.ip_network((unmapped(network[0]), network.prefixlen - MAPPED.prefixlen))
    return Target("prefix", str(network), network.version)


def _name(text: str) -> Target | None:
    name = text.removesuffix(".").lower()
    if len(name) > 253 or not HOST_NAME.fullmatch(text) or NUMERIC.fullmatch(text):
        return None
    return Target("name", name)


def _asn(text: str) -> Target | None:
    match = ASN.fullmatch(text)
    return Target("asn", match[1]) if match and int(match[1]) < 1 << 32 else None


def _community(text: str) -> Target | None:
    # IANA writes NO_EXPORT, routers no-export; lower() alone would make a "k" of U+212A KELVIN SIGN
    name = text.lower().replace("_", "-") if text.isascii() else ""
    if name in WELL_KNOWN:
        return Target("community", WELL_KNOWN[name])
    if not COMMUNITY.fullmatch(text):
        return None
    parts = text.split(":")
    kind, bits = ("community", 16) if len(parts) == 2 else ("large", 32)
    return Target(kind, text) if all(int(part) < 1 << bits for part in parts) else None


TARGET_READERS: dict[str, tuple[Callable[[str], Target | None], ...]] = {
    "host": (_address, _name),
    "addr": (_address, _prefix),
    "address": (_address,),
    "asn": (_asn,),
    "community": (_community,),
}
