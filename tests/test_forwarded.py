"""The address behind proxies, by X-Forwarded-For and Forwarded, and what visitors forge in them."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookingglass.guard import network_of
from lookingglass.visitors import UNIX, Trust, client_address, client_key

PROXY = "10.0.0.1"
NETWORKS: Trust = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:f::/48"), UNIX)


def client(
    peer: str, trust: Trust = NETWORKS, listed: str | None = None, forwarded: str | None = None
) -> str:
    environ = {"REMOTE_ADDR": peer}
    if listed is not None:
        environ["HTTP_X_FORWARDED_FOR"] = listed
    if forwarded is not None:
        environ["HTTP_FORWARDED"] = forwarded
    return client_address(environ, trust)


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1", "192.0.2.1"),
        ("for=192.0.2.1;proto=https;by=10.0.0.1;host=lg", "192.0.2.1"),
        ("proto=https ; for=192.0.2.1", "192.0.2.1"),
        ('for="192.0.2.1"', "192.0.2.1"),
        ('for="192.0.2.1:4711"', "192.0.2.1"),
        ('for="192.0.2.1:_hidden"', "192.0.2.1"),
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ('for="[2001:DB8:0::1]:4711"', "2001:db8::1"),
        ('for="[::ffff:192.0.2.1]"', "192.0.2.1"),
        ('for="\\1\\92.0.2.1"', "192.0.2.1"),
        ("for=9.9.9.9, for=192.0.2.1", "192.0.2.1"),
        ("for=9.9.9.9,for=192.0.2.1 , for=10.1.2.3", "192.0.2.1"),
        ('for=192.0.2.1,, for="[2001:db8:f::1]",', "192.0.2.1"),
        ("for=9.9.9.9, for=unknown", PROXY),
        ("for=9.9.9.9, for=_hidden", PROXY),
        ("for=9.9.9.9, for=unknown, for=10.1.2.3", "10.1.2.3"),
        ("for=9.9.9.9, proto=https", PROXY),
        ("for=192.0.2.1;for=9.9.9.9", PROXY),
        ("for=2001:db8::1", PROXY),
        ("for=192.0.2.1:80", PROXY),
        ("for = 192.0.2.1", PROXY),
        ("for=192.0.2.1 for=9.9.9.9", PROXY),
        ("for=", PROXY),
        ('for=""', PROXY),
        ('for="192.0.2.1', PROXY),
        ('for="fe80::1%eth0"', PROXY),
        ('for="x, for=192.0.2.1', PROXY),
        ('for=", for="192.0.2.1"', PROXY),
        ('host="\\", for=192.0.2.1', PROXY),
        ("", PROXY),
        (", ,", PROXY),
        ("192.0.2.1", PROXY),
    ],
)
def test_forwarded_names_the_client_behind_trusted_proxies(forwarded: str, address: str) -> None:
    assert client(PROXY, forwarded=forwarded) == address


@pytest.mark.parametrize(
    ("listed", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("9.9.9.9, 192.0.2.1", "192.0.2.1"),
        ("9.9.9.9, 192.0.2.1, 10.1.2.3", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, ,", "192.0.2.1"),
        ("9.9.9.9, unknown", PROXY),
        ("9.9.9.9, 192.0.2.300", PROXY),
        ('"192.0.2.1"', PROXY),
    ],
)
def test_x_forwarded_for_names_the_client_behind_trusted_proxies(listed: str, address: str) -> None:
    assert client(PROXY, listed=listed) == address


@pytest.mark.parametrize(
    ("listed", "forwarded", "address"),
    [
        ("192.0.2.1", "for=192.0.2.1", "192.0.2.1"),
        ("9.9.9.9, 192.0.2.1, 10.1.2.3", "for=8.8.8.8, for=192.0.2.1, for=10.1.2.3", "192.0.2.1"),
        ("2001:db8::1", 'for="[2001:db8:0:0::1]:80"', "2001:db8::1"),
        ("192.0.2.1", "for=9.9.9.9", PROXY),
        ("9.9.9.9", "for=192.0.2.1", PROXY),
        ("192.0.2.1, 10.1.2.3", "for=9.9.9.9, for=10.1.2.3", "10.1.2.3"),
        ("192.0.2.1, 10.1.2.3", "for=192.0.2.1, for=10.3.2.1", PROXY),
        ("192.0.2.1", "for=unknown", PROXY),
        ("192.0.2.1", "nonsense", PROXY),
        ("192.0.2.1", "", "192.0.2.1"),  # as a proxy sends that empties what visitors wrote
        ("", "for=192.0.2.1", "192.0.2.1"),
    ],
)
def test_headers_that_differ_are_believed_as_far_as_they_agree(
    listed: str, forwarded: str, address: str
) -> None:
    assert client(PROXY, listed=listed, forwarded=forwarded) == address


@pytest.mark.parametrize(
    ("peer", "trust"),
    [
        (PROXY, False),
        (PROXY, ()),
        (PROXY, True),
        ("192.0.2.9", NETWORKS),
        ("127.0.0.1", NETWORKS),
        ("127.0.0.1", False),
        ("", (ipaddress.ip_network("10.0.0.0/8"),)),
        ("", False),
        ("localhost", False),
    ],
)
def test_nothing_is_believed_of_a_peer_that_is_not_trusted(peer: str, trust: Trust) -> None:
    own = client(peer, trust)
    assert client(peer, trust, "9.9.9.9", "for=9.9.9.9") == own
    assert client(peer, trust, "9.9.9.9") == own
    assert client(peer, trust, forwarded="for=9.9.9.9") == own


@pytest.mark.parametrize(
    ("peer", "trust"), [("", True), ("localhost", NETWORKS), ("127.0.0.1", True), ("::1", True)]
)
def test_unix_socket_and_loopback_are_proxies_where_the_configuration_says_so(
    peer: str, trust: Trust
) -> None:
    assert client(peer, trust, "9.9.9.9, 192.0.2.1") == "192.0.2.1"
    assert client(peer, trust, forwarded="for=9.9.9.9, for=192.0.2.1") == "192.0.2.1"


@given(st.text(st.sampled_from('for=";,\\ \t1.[]:_x'), max_size=60))
def test_what_visitors_write_before_a_proxy_changes_nothing(written: str) -> None:
    """A proxy adds its element at the end: it is found, or nothing is believed at all."""
    assert client(PROXY, forwarded=f"{written}, for=192.0.2.1") in {"192.0.2.1", PROXY}
    assert client(PROXY, forwarded=f'{written}, for="[2001:db8::1]"') in {"2001:db8::1", PROXY}
    assert client(PROXY, listed=f"{written}, 192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize("piece", ['"', "\\", 'for="', "a=b;", "a" * 10, " ", ",", '\\"', '="'])
def test_long_header_takes_no_time(piece: str) -> None:
    started = time.monotonic()
    client(PROXY, forwarded=piece * (16384 // len(piece)))
    client(PROXY, listed=piece * (16384 // len(piece)))
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    ("address", "key", "network"),
    [
        ("192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
        ("", "unknown", "unknown"),
    ],
)
def test_client_and_its_network_are_counted(address: str, key: str, network: str) -> None:
    assert client_key(address) == key
    assert network_of(key) == network
