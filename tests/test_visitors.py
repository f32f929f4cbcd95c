"""Who asks: the address behind proxies, how it is counted, whether the visitor has left."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookingglass import visitors
from lookingglass.visitors import Visitor, client_address, client_key, read_client
from tests.support import ClosedFile

NETWORKS = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:f::/48"))
BEHIND_UNIX = ("unix:", *NETWORKS)


@pytest.mark.parametrize(
    ("trust", "peer", "forwarded", "client"),
    [
        (False, "203.0.113.5", "1.1.1.1", "203.0.113.5"),
        (False, "127.0.0.1", "1.1.1.1", "127.0.0.1"),
        (True, "127.0.0.1", "1.1.1.1, 192.0.2.7", "192.0.2.7"),
        (True, "::1", "192.0.2.7", "192.0.2.7"),
        (True, "", "192.0.2.7", "192.0.2.7"),
        (True, "localhost", "192.0.2.7", "192.0.2.7"),
        (True, "203.0.113.5", "192.0.2.7", "203.0.113.5"),
        (True, "127.0.0.1", "", "127.0.0.1"),
        (True, "127.0.0.1", "garbage", "127.0.0.1"),
        (True, "127.0.0.1", "192.0.2.7, <script>", "127.0.0.1"),
        (True, "127.0.0.1", "fe80::1%eth0", "127.0.0.1"),
        (False, "", "192.0.2.7", ""),
        (NETWORKS, "10.0.0.1", "9.9.9.9, 192.0.2.7, 10.2.2.2, 2001:db8:f::1", "192.0.2.7"),
        (NETWORKS, "192.0.2.1", "9.9.9.9", "192.0.2.1"),
        (NETWORKS, "", "9.9.9.9", ""),
        (NETWORKS, "127.0.0.1", "9.9.9.9", "127.0.0.1"),
        (NETWORKS, "10.0.0.1", "10.0.0.2", "10.0.0.2"),
        (NETWORKS, "::ffff:10.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
        (True, "::ffff:127.0.0.1", "[2001:db8::7]:80", "2001:db8::7"),
        (True, "fe80::1%eth0", "192.0.2.7", ""),
    ],
)
def test_client_is_found_from_the_right_over_trusted_proxies(
    trust: Any, peer: str, forwarded: str, client: str
) -> None:
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(environ, trust) == client


@pytest.mark.parametrize(
    ("trust", "peer", "forwarded", "client"),
    [
        (("unix:",), "", "192.0.2.7", "192.0.2.7"),  # gunicorn's
        (("unix:",), "localhost", "192.0.2.7", "192.0.2.7"),  # waitress's
        (BEHIND_UNIX, "", "9.9.9.9, 192.0.2.7, 10.1.1.1", "192.0.2.7"),
        (BEHIND_UNIX, "", "9.9.9.9, 192.0.2.7, 2001:db8:f::2, 10.1.1.1", "192.0.2.7"),
        (BEHIND_UNIX, "", "10.1.1.1", "10.1.1.1"),
        (BEHIND_UNIX, "10.1.1.1", "192.0.2.7", "192.0.2.7"),
        (BEHIND_UNIX, "192.0.2.1", "9.9.9.9", "192.0.2.1"),
        (BEHIND_UNIX, "", "9.9.9.9, localhost", ""),  # the socket's peer is trusted, not a name in the header
        (BEHIND_UNIX, "", "9.9.9.9, unix:", ""),
        (BEHIND_UNIX, "", "", ""),
        (("unix:",), "", "9.9.9.9, 127.0.0.1", "127.0.0.1"),
        (("unix:",), "127.0.0.1", "9.9.9.9", "127.0.0.1"),
        (True, "", "192.0.2.7, 127.0.0.1", "192.0.2.7"),
    ],
)
def test_unix_socket_can_be_trusted_with_further_proxies_behind_it(
    trust: Any, peer: str, forwarded: str, client: str
) -> None:
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(environ, trust) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("192.0.2.7,", "192.0.2.7"),
        (",192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, , ,10.0.0.9 ,\t, ", "192.0.2.7"),
        ("9.9.9.9,,192.0.2.7,,", "192.0.2.7"),
        (",,,", "10.0.0.1"),
        (" ", "10.0.0.1"),
    ],
)
def test_empty_elements_of_the_header_count_for_nothing(forwarded: str, client: str) -> None:
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(environ, NETWORKS) == client


def test_peer_that_the_host_does_not_tell_is_nobody() -> None:
    assert Visitor.of({}, True) == Visitor("", "unknown")
    assert Visitor.of({"REMOTE_ADDR": None}, False) == Visitor("", "unknown")


@pytest.mark.parametrize("header", ["10.0.0.1," * 1800, "1" * 16000, ":" * 16000, "[" * 16000, "1.1," * 4000])
def test_long_header_costs_next_to_nothing(header: str) -> None:
    began = time.thread_time()
    client_address({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": header}, BEHIND_UNIX)
    assert time.thread_time() - began < 1


@given(st.text(max_size=60), st.sampled_from(["", "10.0.0.1", "localhost", "192.0.2.1"]))
def test_client_is_always_canonical_or_unknown(forwarded: str, peer: str) -> None:
    visitor = Visitor.of({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}, BEHIND_UNIX)
    assert visitor.address == "" or str(ipaddress.ip_address(visitor.address)) == visitor.address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("2001:db8::1%eth0", "None"),
        ("192.0.2.1:x", "None"),
        ("192.0.2.1:123456", "None"),
        ("[192.0.2.1", "None"),
        ("192.0.2.1\n", "None"),
        ("١٩٢.0.2.1", "None"),
        ("unknown", "None"),
        ("", "None"),
    ],
)
def test_client_is_read_as_proxies_write_it(text: str, address: str) -> None:
    assert str(read_client(text)) == address


@pytest.mark.parametrize(
    ("client", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", "unknown"),
        ("localhost", "unknown"),
    ],
)
def test_client_is_counted_by_address_or_64(client: str, key: str) -> None:
    assert client_key(client) == key


class Channel:
    """What waitress calls so, and hands a method of over."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def check_client_disconnected(self) -> bool:
        return False


def test_connection_is_a_descriptor_of_its_own() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for name in ("gunicorn.socket", "wsgi.input"):
            descriptor = visitors.connection_of({name: ours})
            assert descriptor is not None
            assert descriptor != ours.fileno()
            os.close(descriptor)
        channel = Channel(ours)
        descriptor = visitors.connection_of(
            {"waitress.client_disconnected": channel.check_client_disconnected}
        )
        assert descriptor is not None
        os.close(descriptor)
        ours.send(b"x")  # which the close has not closed


@pytest.mark.parametrize("body", [None, object(), ClosedFile()])
def test_host_that_tells_no_connection_has_none(body: object) -> None:
    assert visitors.connection_of({"wsgi.input": body}) is None
    with open(__file__, "rb") as file:
        assert visitors.connection_of({"wsgi.input": file}) is None
    closed = socket.socket()
    closed.close()
    assert visitors.connection_of({"gunicorn.socket": closed}) is None
