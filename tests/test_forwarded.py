"""The address behind proxies, by X-Forwarded-For and Forwarded, and what visitors forge in them."""

from __future__ import annotations

import ipaddress
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookingglass.guard import network_of
from lookingglass.visitors import UNIX, Trust, client_address, client_key
from tests.support import V1, asker, build

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
    started = time.thread_time()
    client(PROXY, forwarded=piece * (16384 // len(piece)))
    client(PROXY, listed=piece * (16384 // len(piece)))
    assert time.thread_time() - started < 1


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


# --- who is not believed is told once


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "is not believed" in record.getMessage()]


@pytest.mark.parametrize(
    ("peer", "trust", "name", "cure"),
    [
        ("127.0.0.1", False, "127.0.0.1", 'set "trustproxy": true'),
        ("::1", False, "::1", 'set "trustproxy": true'),
        ("", False, "a unix socket", 'set "trustproxy": true'),
        ("localhost", ["192.0.2.0/24"], "a unix socket", 'set "unix:" in "trustproxy"'),
        ("203.0.113.5", False, "203.0.113.5", 'set "trustproxy": ["203.0.113.5"]'),
        ("203.0.113.5", True, "203.0.113.5", 'set "trustproxy": ["203.0.113.5"]'),
        ("2001:db8::5", ["192.0.2.0/24"], "2001:db8::5", 'set "2001:db8::5" in "trustproxy"'),
    ],
)
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_header_that_is_not_believed_is_told_once_with_the_key(
    caplog: pytest.LogCaptureFixture, peer: str, trust: Any, name: str, cure: str, header: str
) -> None:
    ask = asker(build({"trustproxy": trust}))
    asked = {"REMOTE_ADDR": peer, f"HTTP_{header.upper().replace('-', '_')}": "198.51.100.9"}
    for _ in range(3):
        ask("/", **asked)
        ask(f"{V1}/lines", **asked)
    (line,) = told(caplog)
    assert line.startswith(f"{header} from {name} is not believed")
    assert line.endswith(cure)


def test_cure_that_is_told_is_one_after_which_the_header_is_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = {"REMOTE_ADDR": "203.0.113.5", "HTTP_X_FORWARDED_FOR": "198.51.100.9"}
    asker(build())("/", **asked)
    cure = told(caplog)[0].partition(" set ")[2]
    caplog.clear()
    page = asker(build({"showip": True, **json.loads(f"{{{cure}}}")}))("/", **asked)
    assert "198.51.100.9" in page.text
    assert told(caplog) == []


def test_trusted_proxies_and_requests_without_a_header_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    ask = asker(build({"trustproxy": ["192.0.2.0/24"]}))
    ask("/", REMOTE_ADDR="192.0.2.9", HTTP_X_FORWARDED_FOR="198.51.100.9")
    ask("/", REMOTE_ADDR="203.0.113.5")
    assert told(caplog) == []


def test_many_who_write_the_header_themselves_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    ask = asker(build())
    for number in range(50):
        ask("/", REMOTE_ADDR=f"203.0.113.{number}", HTTP_X_FORWARDED_FOR="evil\nline")
    assert len(told(caplog)) == 8
    assert not any("evil" in line for line in told(caplog))
