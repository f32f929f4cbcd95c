"""Targets: accepted, made canonical, refused; look-ups at a real DNS server; what is denied."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lookingglass import targets
from lookingglass.problems import TargetError
from lookingglass.targets import (
    Address,
    DenyTable,
)

HERE = Path(__file__).resolve().parent.parent
BUILT_IN = DenyTable.built_in()


def refusal(text: str, argument: str) -> str:
    with pytest.raises(TargetError) as caught:
        targets.parse(text, argument)
    return str(caught.value)


# ---- what is accepted, and what it becomes

ACCEPTED = [
    ("host", "192.0.2.1", "address", "192.0.2.1", 4),
    ("host", "0.0.0.0", "address", "0.0.0.0", 4),
    ("host", "2001:DB8:0:0:0:0:0:1", "address", "2001:db8::1", 6),
    ("host", "::", "address", "::", 6),
    ("host", "2001:db8::192.0.2.1", "address", "2001:db8::c000:201", 6),
    ("host", "Example.NET", "name", "example.net", None),
    ("host", "example.net.", "name", "example.net", None),
    ("host", "localhost", "name", "localhost", None),
    ("host", "xn--bcher-kva.example", "name", "xn--bcher-kva.example", None),
    ("host", "3com.com", "name", "3com.com", None),
    ("host", "1.2.3.4.in-addr.arpa", "name", "1.2.3.4.in-addr.arpa", None),
    ("host", "0x7f.example", "name", "0x7f.example", None),
    ("host", "example.0xfg", "name", "example.0xfg", None),
    ("host", "as64500", "name", "as64500", None),
    ("host", "a" * 63 + ".example", "name", "a" * 63 + ".example", None),
    ("host", "a." * 126 + "b", "name", "a." * 126 + "b", None),
    ("host", "a." * 126 + "b.", "name", "a." * 126 + "b", None),
    ("host", "_dmarc.example.net", "name", "_dmarc.example.net", None),
    ("host", "ae-1_2.r3.Example.net", "name", "ae-1_2.r3.example.net", None),
    ("host", "r3.lo0_.example.net.", "name", "r3.lo0_.example.net", None),
    ("host", "_sip._tcp.example.net", "name", "_sip._tcp.example.net", None),
    ("host", "_" * 63 + ".example", "name", "_" * 63 + ".example", None),
    ("host", "a_b", "name", "a_b", None),
    ("host", "::ffff:192.0.2.1", "address", "192.0.2.1", 4),
    ("host", "::FFFF:C000:201", "address", "192.0.2.1", 4),
    ("address", "0:0:0:0:0:ffff:192.0.2.1", "address", "192.0.2.1", 4),
    ("address", "0000:0000:0000:0000:0000:FFFF:c000:0201", "address", "192.0.2.1", 4),
    ("addr", "::ffff:0:0", "address", "0.0.0.0", 4),
    ("addr", "::ffff:192.0.2.0/120", "prefix", "192.0.2.0/24", 4),
    ("addr", "::ffff:c000:24d/120", "prefix", "192.0.2.0/24", 4),
    ("addr", "::ffff:192.0.2.1/128", "prefix", "192.0.2.1/32", 4),
    ("addr", "::ffff:0:0/96", "prefix", "0.0.0.0/0", 4),
    ("addr", "::ffff:0:0/95", "prefix", "::fffe:0:0/95", 6),
    ("addr", "::ffff:192.0.2.0/24", "prefix", "::/24", 6),
    ("host", "::192.0.2.1", "address", "::c000:201", 6),
    ("addr", "::192.0.2.0/120", "prefix", "::c000:200/120", 6),
    ("addr", "192.0.2.1", "address", "192.0.2.1", 4),
    ("addr", "2001:DB8::", "address", "2001:db8::", 6),
    ("addr", "192.0.2.0/24", "prefix", "192.0.2.0/24", 4),
    ("addr", "192.0.2.1/24", "prefix", "192.0.2.0/24", 4),
    ("addr", "192.0.2.1/32", "prefix", "192.0.2.1/32", 4),
    ("addr", "0.0.0.0/0", "prefix", "0.0.0.0/0", 4),
    ("addr", "2001:DB8::1/32", "prefix", "2001:db8::/32", 6),
    ("addr", "::/0", "prefix", "::/0", 6),
    ("address", "192.0.2.1", "address", "192.0.2.1", 4),
    ("address", "FE80::1", "address", "fe80::1", 6),
    ("asn", "64500", "asn", "64500", None),
    ("asn", "AS64500", "asn", "64500", None),
    ("asn", "as1", "asn", "1", None),
    ("asn", "4294967295", "asn", "4294967295", None),
    ("community", "64500:100", "community", "64500:100", None),
    ("community", "0:65535", "community", "0:65535", None),
    ("community", "64500:1:2", "large", "64500:1:2", None),
    ("community", "4294967295:0:4294967295", "large", "4294967295:0:4294967295", None),
    ("community", "No-Export", "community", "no-export", None),
    ("community", "NO_EXPORT_SUBCONFED", "community", "65535:65283", None),
    ("community", "local-AS", "community", "65535:65283", None),
    ("community", "nopeer", "community", "65535:65284", None),
    ("community", "BLACKHOLE", "community", "blackhole", None),
    ("community", "graceful-shutdown", "community", "graceful-shutdown", None),
    ("community", "ACCEPT_OWN", "community", "accept-own", None),
]


@pytest.mark.parametrize(("argument", "text", "kind", "canonical", "family"), ACCEPTED)
def test_target_is_printed_in_canonical_form(
    argument: str, text: str, kind: str, canonical: str, family: int | None
) -> None:
    assert targets.parse(text, argument) == (kind, canonical, family)


# ---- what is refused

HOSTILE = [
    # nothing, space, control characters
    "", " ", "192.0.2.1 ", " 192.0.2.1", "192.0.2.1\n", "192.0.2.1\r\n", "\n192.0.2.1", "192.0.2.1\x00",
    "\x00",
    "example.net\n", "example.net\x00.invalid", "example.net\r\nshow running-config", "64500\n", "AS64500\n",
    "64500:100\n", "no-export\n", "192.0.2.0/24\n", "192.0.2.0/24\t", "\t192.0.2.1", "192.0.2.1\x0b",
    "192.0.2.1\x7f",
    "192.0.2.1\x1b[2J", "example\u2028.net", "example.net\x85", "example.net\u200b", "\ufeffexample.net",
    # shells, router command lines, templates, pages
    "192.0.2.1;id", "192.0.2.1|id", "192.0.2.1&id", "192.0.2.1&&id", "$(id)", "`id`", "${IFS}", "192.0.2.1>f",
    "192.0.2.1<f", "192.0.2.1 id", "192.0.2.1#", "192.0.2.1'", '192.0.2.1"', "192.0.2.1\\", "192.0.2.1?",
    "*", "~",
    "!", "^.*$", "_64500_", "192.0.2.1 | no-more", "{{TARGET}}", "{{SOURCE}}", "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>", "../../etc/passwd", "a/../b", "/etc/passwd", "file:///etc/passwd",
    "http://example.net/", "user@example.net", "example.net:80", "192.0.2.1:80", "192.0.2.1,192.0.2.2", "a=b",
    # options
    "-", "--", "-c1", "-f", "--help", "-oProxyCommand=id", "-4", "-example.net", "-1", "-64500", "+64500",
    # zone identifiers and brackets
    "fe80::1%eth0", "::1%;id", "::1%", "::1%25lo", "[::1]", "[::1", "::1]", "[192.0.2.1]", "127.0.0.1%lo",
    "fe80::%1/64", "fe80::1/64%1",
    # IPv4 in other forms, which inet_aton() reads
    "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0X7F000001", "0x7f.0.0.1", "017700000001",
    "010.0.0.1", "192.0.2.01", "192.0.2.1.", "127.1.", "2130706433.", "0x7f.1.", "0x", "0x.", "1.2.3.0x",
    "256.0.0.1", "1.2.3.4.5", "1.2.3", "1.2.3.256", "1..2.3", ".1.2.3.4", "example.1", "example.0x1f",
    "example.007",
    # IPv6 that is none
    ":", ":::", "1::2::3", "1:2:3:4:5:6:7:8:9", "12345::", "::g", "::1.2.3", "::1.2.3.4.5", "::01.2.3.4",
    "::256.0.0.1", "1.2.3.4::", ":1", "1:", "::-1", "::0x1", "::ffff:127.1",
    # other alphabets: digits, letters, dots, look-alikes
    "\u0661\u0669\u0662.0.2.1", "\uff11\uff19\uff12.0.2.1", "192\u30020\u30022\u30021",
    "192\uff0e0\uff0e2\uff0e1",
    "192.0.2.\u00b2", "example\u3002net", "example\uff0enet", "\uff45xample.net", "b\u00fccher.example",
    "ex\u0430mple.net", "\u212aelvin.example", "\u017fun.example", "AS\u0666\u0664\u0665\u0660\u0660",
    "A\u017f64500", "64500:\u0661", "blac\u212ahole", "\u2013c1", "\ud800", "\U0001d7cf.example",
    # host names that are none
    ".", "..", ".example.net", "example..net", "example.net..", "-a.example", "a-.example", "a.-b", "a.b-",
    "-_a.example", "_a-.example", "_.-a", "a_b.1", "_" * 64 + ".example", "_.0x1f", "a_..b", "._a",
    "\uff3fdmarc.example", "a" * 64 + ".example", "a." * 126 + "bc", "a." * 127 + "a", "a" * 300, "a" * 301,
    "1" * 100_000,
    # prefixes that are none
    "/", "/24", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/024", "192.0.2.0/-1", "192.0.2.0/+1",
    "192.0.2.0/ 24",
    "192.0.2.0/255.255.255.0", "192.0.2.0/0.0.0.255", "192.0.2.0/24/24", "192.0.2.0//24", "192.0.2/24",
    "2001:db8::/129", "::ffff:192.0.2.0/129", "::ffff:192.0.2.0/0120", "::ffff:192.0.2.0/-8",
    "::ffff:1.2.3/120", "2001:db8::/ffff::", "example.net/24", "192.0.2.0/\u0662\u0664", "192.0.2.0%2f24",
    "192.0.2.0/1_6",
    # numbers and communities that are none
    "0", "AS0", "AS", "AS04", "ASAS1", "AS 1", "AS-1", "4294967296", "AS4294967296", "AS1.0", "1e3", "1_0",
    "64500:", ":100", "64500:65536", "65536:1", "64500:-1", "064500:1", "64500:1:4294967296", "1:2:3:4",
    "64500:*", "64500:.*", "no export", "no-export;", "no-exports", "internet:0",
]  # fmt: skip
INNOCENT = {  # of these, what another argument may be
    "asn": {"2130706433"},
    "host": {"_64500_", "1_0", "AS", "AS0", "AS04", "ASAS1", "AS-1", "AS4294967296", "1e3", "no-exports"},
}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_refused_and_never_repeated(text: str) -> None:
    for argument in targets.ARGUMENTS:
        if text in INNOCENT.get(argument, ()):
            assert targets.parse(text, argument)
        else:
            assert refusal(text, argument) in messages(argument)


def messages(argument: str) -> set[str]:
    """Return all that a refusal may say: it depends on the argument, never on the text."""
    expected = f"this command's target is {targets.EXPECTED[argument]}."
    return {
        "T" + expected[1:],
        "A prefix cannot be used here: " + expected,
        "A target has at most 300 characters.",
    }


@pytest.mark.parametrize("argument", ["host", "address", "asn", "community"])
@pytest.mark.parametrize("text", ["1.2.3.4/24", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"])
def test_prefix_where_none_is_due_is_called_so(text: str, argument: str) -> None:
    message = refusal(text, argument)
    assert message.startswith("A prefix cannot be used here")
    assert targets.EXPECTED[argument] in message


@pytest.mark.parametrize("argument", targets.ARGUMENTS)
def test_empty_target_is_told_what_is_expected(argument: str) -> None:
    assert targets.EXPECTED[argument] in refusal("", argument)


@pytest.mark.parametrize("argument", targets.ARGUMENTS)
def test_overlong_target_is_told_the_limit(argument: str) -> None:
    assert refusal("a" * 301, argument) == "A target has at most 300 characters."
    assert refusal("0" * 300, argument) != "A target has at most 300 characters."


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("host", "64500:100"),
        ("addr", "example.net"),
        ("address", "example.net"),
        ("asn", "192.0.2.1"),
        ("asn", "example.net"),
        ("community", "64500"),
        ("community", "::1"),
        ("community", "AS64500:1"),
    ],
)
def test_one_argument_does_not_take_another_ones_targets(argument: str, text: str) -> None:
    assert refusal(text, argument) == f"This command's target is {targets.EXPECTED[argument]}."


@pytest.mark.parametrize(
    "text",
    [
        "a-" * 150,
        "a." * 150,
        "1." * 150,
        ":" * 300,
        "1:" * 150,
        "0" * 300,
        "a" * 299 + "!",
        ":" * 39 + "." * 15,
    ],
)
def test_no_text_takes_long_to_refuse(text: str) -> None:
    began = time.thread_time()
    for argument in targets.ARGUMENTS:
        refusal(text, argument)
    assert time.thread_time() - began < 2


# ---- what holds for any text

VALID = [text for _, text, *_ in ACCEPTED]
ANY_TEXT = st.one_of(
    st.text(max_size=310),
    st.text(alphabet="0123456789abcdefxABCDEFX.:/-%AS_ ", max_size=50),
    st.sampled_from(VALID + HOSTILE),
    st.lists(st.text(alphabet="abzAZ059-_", min_size=1, max_size=65), max_size=6).map(".".join),
    st.ip_addresses().map(str),
    st.builds("{}/{}".format, st.ip_addresses(), st.integers(-1, 140)),
    # something slipped into what is valid
    st.builds(
        lambda text, at, what: text[: at % (len(text) + 1)] + what + text[at % (len(text) + 1) :],
        st.sampled_from(VALID),
        st.integers(0, 300),
        st.text(min_size=1, max_size=2),
    ),
)
SAFE = {
    "address": re.compile(r"[0-9a-f:.]+"),
    "prefix": re.compile(r"[0-9a-f:.]+/[0-9]+"),
    "name": re.compile(r"[a-z0-9_][a-z0-9_.-]*[a-z0-9_]|[a-z_]"),
    "asn": re.compile(r"[0-9]+"),
    "community": re.compile(r"[0-9:]+|[a-z][a-z-]+[a-z]"),
}


@settings(deadline=None)
@given(text=ANY_TEXT, argument=st.sampled_from(targets.ARGUMENTS))
def test_any_text_is_refused_in_fixed_words_or_becomes_safe_and_stable(text: str, argument: str) -> None:
    message, target = "", None
    try:
        target = targets.parse(text, argument)
    except TargetError as error:
        message = str(error)
    if target is None:
        assert message in messages(argument)
        return
    assert SAFE[target.kind].fullmatch(target.text)
    assert not target.text.startswith("-")
    assert targets.parse(target.text, argument) == target
    assert (target.family in {4, 6}) == (target.kind in {"address", "prefix"})


@settings(deadline=None)
@given(text=st.text(alphabet="0123456789abcdefxX_.", min_size=1, max_size=40))
@example("127.1")
@example("0x7f.1")
@example("2130706433")
def test_no_name_is_an_address_to_the_c_library(text: str) -> None:
    try:
        target = targets.parse(text, "host")
    except TargetError:
        return
    if target.kind == "name":
        with pytest.raises(OSError, match="illegal IP address"):
            socket.inet_aton(target.text)


@settings(deadline=None)
@given(address=st.ip_addresses())
def test_any_address_is_accepted_as_itself(address: Address) -> None:
    if getattr(address, "ipv4_mapped", None):
        return  # see below
    for argument in ("host", "addr", "address"):
        assert targets.parse(str(address), argument) == ("address", str(address), address.version)


@settings(deadline=None)
@given(inner=st.ip_addresses(v=4), length=st.integers(0, 32))
def test_any_mapped_address_or_prefix_is_the_ipv4_one_in_every_spelling(
    inner: ipaddress.IPv4Address, length: int
) -> None:
    mapped = ipaddress.IPv6Address(0xFFFF << 32 | int(inner))
    for text in (f"::ffff:{inner}", f"::FFFF:{inner}", str(mapped), mapped.exploded, mapped.exploded.upper()):
        for argument in ("host", "addr", "address"):
            assert targets.parse(text, argument) == ("address", str(inner), 4)
        expected = ipaddress.ip_network((inner, length), strict=False)
        assert targets.parse(f"{text}/{96 + length}", "addr") == ("prefix", str(expected), 4)


# ---- what is denied

# IANA IPv4 and IPv6 Special-Purpose Address Registry: "Globally Reachable", which is True or not; rows whose
# addresses hold an IPv4 address (N/A in the registry, or NAT64) are tested below.
REGISTRY = {
    "0.0.0.0/8": False, "0.0.0.0/32": False, "10.0.0.0/8": False, "100.64.0.0/10": False,
    "127.0.0.0/8": False,
    "169.254.0.0/16": False, "172.16.0.0/12": False, "192.0.0.0/29": False, "192.0.0.8/32": False,
    "192.0.0.9/32": True, "192.0.0.10/32": True, "192.0.0.11/32": False, "192.0.0.170/32": False,
    "192.0.0.171/32": False, "192.0.0.255/32": False, "192.0.2.0/24": False, "192.31.196.0/24": True,
    "192.52.193.0/24": True, "192.88.99.0/24": False, "192.88.99.2/32": False, "192.168.0.0/16": False,
    "192.175.48.0/24": True, "198.18.0.0/15": False, "198.51.100.0/24": False, "203.0.113.0/24": False,
    "240.0.0.0/4": False, "255.255.255.255/32": False,
    "::1/128": False, "::/128": False, "64:ff9b:1::/48": False, "100::/64": False, "100:0:0:1::/64": False,
    "2001:1::/128": False, "2001:1::1/128": True, "2001:1::2/128": True, "2001:1::3/128": True,
    "2001:1::4/128": False, "2001:2::/48": False, "2001:3::/32": True, "2001:4::/48": False,
    "2001:4:112::/48": True, "2001:10::/28": False, "2001:20::/28": True, "2001:30::/28": True,
    "2001:1ff::/32": False, "2001:db8::/32": False, "2620:4f:8000::/48": True, "3fff::/20": False,
    "5f00::/16": False, "fc00::/7": False, "fe80::/10": False,
    # multicast of every scope, what was once site local, and what was never given out
    "224.0.0.0/4": False, "233.252.0.0/24": False, "239.0.0.0/8": False, "ff00::/8": False,
    "ff02::1/128": False,
    "ff0e::/16": False, "fec0::/10": False, "1::/16": False, "200::/7": False, "4000::/3": False,
    "8000::/1": False,
    "::ffff:0:0:0/96": False, "64:ff9b:2::/48": False,
    # their neighbours
    "1.0.0.0/8": True, "9.0.0.0/8": True, "11.0.0.0/8": True, "100.63.0.0/16": True, "100.128.0.0/16": True,
    "126.0.0.0/8": True, "128.0.0.0/8": True, "169.253.0.0/16": True, "172.15.0.0/16": True,
    "172.32.0.0/16": True,
    "192.0.1.0/24": True, "192.0.3.0/24": True, "192.88.98.0/24": True, "192.169.0.0/16": True,
    "198.17.0.0/16": True, "198.20.0.0/16": True, "223.255.255.0/24": True, "8.8.8.8/32": True,
    "2000::/16": True, "2001:200::/23": True, "2001:db7::/32": True, "2001:db9::/32": True, "2003::/16": True,
    "2606:4700::/32": True, "2a00::/12": True, "3ffe::/16": True, "3fff:1000::/20": True,
}  # fmt: skip


@pytest.mark.parametrize(("text", "reachable"), REGISTRY.items())
def test_table_agrees_with_the_registry_from_end_to_end(text: str, reachable: bool) -> None:
    network = ipaddress.ip_network(text)
    assert BUILT_IN.denies(network[0]) is not reachable
    assert BUILT_IN.denies(network[-1]) is not reachable


@settings(deadline=None)
@given(address=st.ip_addresses())
def test_what_is_allowed_is_nothing_special_to_the_library(address: Address) -> None:
    excepted = any(reach and address in ipaddress.ip_network(text) for text, reach in REGISTRY.items())
    if targets.embedded(address) or excepted:
        return  # where the library of one release or another disagrees
    special = address.is_private or address.is_multicast or address.is_loopback or address.is_link_local
    if special or address.is_unspecified or address.is_reserved or not address.is_global:
        assert BUILT_IN.denies(address)


def forms(inner: int) -> list[ipaddress.IPv6Address]:
    """Return the addresses whose packets reach one IPv4 address: compatible, mapped, NAT64, 6to4."""
    numbers = (inner, 0xFFFF << 32 | inner, 0x64FF9B << 96 | inner, 0x2002 << 112 | inner << 80 | 1)
    return [ipaddress.IPv6Address(number) for number in numbers]


def teredo(server: str, client: str) -> ipaddress.IPv6Address:
    """Return a Teredo address; RFC 4380 section 4 turns the bits of the client over."""
    obscured = int(ipaddress.IPv4Address(client)) ^ 0xFFFFFFFF
    return ipaddress.IPv6Address(
        0x20010000 << 96 | int(ipaddress.IPv4Address(server)) << 64 | 0x8000 << 48 | obscured
    )


@settings(deadline=None)
@given(inner=st.ip_addresses(v=4))
@example(ipaddress.IPv4Address("127.0.0.1"))
@example(ipaddress.IPv4Address("8.8.8.8"))
def test_embedded_address_decides(inner: ipaddress.IPv4Address) -> None:
    compatible, *others = forms(int(inner))
    assert BUILT_IN.denies(compatible)
    assert all(BUILT_IN.denies(address) is BUILT_IN.denies(inner) for address in others)
    for address in forms(int(inner)):
        if int(address) > 1:  # not :: and ::1
            assert targets.network_of(address) == targets.network_of(inner)


@pytest.mark.parametrize(
    "text",
    [
        "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2002:7f00:1::1", "2002:a00:1::1", "2002:e000:1::", "::ffff:169.254.169.254",
        "::ffff:255.255.255.255",
        "::ffff:224.0.0.1", "64:ff9b::0.0.0.0", "64:ff9b:1::8.8.8.8", "::ffff:0:127.0.0.1",
    ],
)  # fmt: skip
def test_loopback_and_the_like_in_disguise_is_denied(text: str) -> None:
    assert BUILT_IN.denies(ipaddress.ip_address(targets.parse(text, "host").text))


@pytest.mark.parametrize(
    "text", ["::192.0.2.1", "::8.8.8.8", "::808:808", "0:0:0:0:0:0:1.1.1.1", "::2", "::"]
)
def test_ipv4_compatible_address_is_denied_whatever_is_inside(text: str) -> None:
    assert BUILT_IN.denies(ipaddress.ip_address(targets.parse(text, "host").text))


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("::ffff:8.8.8.0/120", False),
        ("::ffff:10.0.0.0/104", True),
        ("::ffff:8.0.0.0/100", True),  # which includes 10.0.0.0/8
        ("::8.8.8.0/120", True),
        ("::ffff:8.8.8.0/95", True),
    ],
)
def test_prefix_of_mapped_addresses_is_judged_as_the_ipv4_one(text: str, denied: bool) -> None:
    network = ipaddress.ip_network(targets.parse(text, "addr").text)
    assert BUILT_IN.denies_some(network) is denied


@pytest.mark.parametrize(
    ("server", "client", "denied"),
    [
        ("8.8.8.8", "1.1.1.1", False),
        ("8.8.8.8", "127.0.0.1", True),
        ("127.0.0.1", "1.1.1.1", True),
        ("10.0.0.1", "10.0.0.1", True),
    ],
)
def test_teredo_is_judged_by_server_and_client(server: str, client: str, denied: bool) -> None:
    assert BUILT_IN.denies(teredo(server, client)) is denied


def test_own_table_judges_what_is_embedded_too_and_nothing_else() -> None:
    table = DenyTable([ipaddress.ip_network("8.8.8.0/24"), ipaddress.ip_network("2001:db8::/32")])
    assert table.denies(ipaddress.ip_address("8.8.8.8"))
    assert table.denies(ipaddress.ip_address("2001:db8::1"))
    assert all(table.denies(address) for address in forms(0x08080808))
    assert table.denies(teredo("1.1.1.1", "8.8.8.8"))
    assert table.denies(teredo("8.8.8.8", "1.1.1.1"))
    assert not any(table.denies(address) for address in forms(0x7F000001))
    assert not table.denies(ipaddress.ip_address("127.0.0.1"))


@settings(deadline=None)
@given(address=st.ip_addresses())
def test_empty_table_denies_nothing(address: Address) -> None:
    assert not DenyTable([]).denies(address)


def test_every_row_of_the_table_names_its_source() -> None:
    rows = targets.SPECIAL.strip().splitlines()
    assert all(re.fullmatch(r"[-+4] \S+ +RFC [0-9]+ +\S.*", row) for row in rows)
    assert len({row.split()[1] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::1", "::/48"),
        ("64:ff9b::192.0.2.77", "192.0.2.0/24"),
        ("2002:c000:24d:1::1", "192.0.2.0/24"),
    ],
)
def test_limit_counts_the_network_that_packets_reach(text: str, network: str) -> None:
    assert str(targets.network_of(ipaddress.ip_address(text))) == network


def test_limit_of_a_teredo_client_is_one_whatever_server_is_named() -> None:
    counted = {
        targets.network_of(teredo(server, "192.0.2.77")) for server in ("8.8.8.8", "1.1.1.1", "9.9.9.9")
    }
    assert counted == {ipaddress.ip_network("192.0.2.0/24")}
