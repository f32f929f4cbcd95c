"""The files of nginx and gunicorn that operators copy, with the real programs."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import socket
import ssl
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.proxies import DEPLOY, replace_once, site_of, start_nginx
from tests.support import (
    GENEROUS,
    PATIENT,
    V1,
    Server,
    configuration,
    free_port,
    read_until,
    soon_gone,
)

MIB = 1048576
RUNNERS = {
    "our own server": ["tinytracer.py", "--listen"],
    "gunicorn": [
        "-m",
        "gunicorn",
        "--config",
        "examples/gunicorn.conf.py",
        "tinytracer:application",
        "--bind",
    ],
}
CLIENTS = 64
UNREAD = 4  # MiB, more than sockets on loopback hold


def directives_uncommented(text: str) -> str:
    """Take the # off the lines that end like a directive, as the file tells operators to."""
    text, count = re.subn(r"^( *)# (.*[;}])$", r"\1\2", text, flags=re.MULTILINE)
    assert count == 5
    return text


@pytest.fixture
def glass(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Yield a function that starts TinyTracer under a runner's name; the servers end with the test."""
    with contextlib.ExitStack() as stack:

        def start(runner: str, **document: object) -> Server:
            port = free_port()
            environ = {"TINYTRACER_CONFIG": str(configuration(tmp_path, trustproxy=True, **document))}
            server = Server([sys.executable, *RUNNERS[runner], f"127.0.0.1:{port}"], port, environ)
            stack.callback(server.stop)
            server.wait_until_ready()
            return server

        yield start


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Yield a function that starts nginx with one of our files before a server."""
    with contextlib.ExitStack() as stack:

        def start(name: str, behind: Server, tls: int = 0) -> Server:
            port = free_port()
            site = site_of(name, port, behind.port)
            if tls:
                site = directives_uncommented(site)
                site = replace_once(site, "listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl;")
                site = replace_once(site, "listen [::]:443 ssl;", "")
                site = site.replace("/etc/letsencrypt/live/lg.example.net", str(tmp_path))
            site = site.replace("root /opt/tinytracer;", f"root {tmp_path};")
            server = start_nginx(tmp_path, site, port)
            stack.callback(server.stop)
            if not tls:
                server.wait_until_ready()
            return server

        yield start


@pytest.fixture
def testfile(tmp_path: Path) -> bytes:
    """Write a test file and return what is in it."""
    data = random.Random(8).randbytes(UNREAD * MIB)
    (tmp_path / "testfiles").mkdir()
    (tmp_path / "testfiles" / f"{UNREAD}MB.test").write_bytes(data)
    return data


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


@contextlib.contextmanager
def never_read(server: Server, path: str, accept: str) -> Iterator[None]:
    """Ask for ``path`` from many addresses and read nothing."""
    with contextlib.ExitStack() as stack:
        for number in range(CLIENTS):
            client = socket.socket()
            stack.callback(client.close)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.bind((f"127.0.1.{1 + number // 2}", 0))  # two each, as TinyTracer and nginx allow
            client.connect(("127.0.0.1", server.port))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: lg\r\nAccept: {accept}\r\n\r\n".encode())
        yield


def seconds_for_health(server: Server, times: int) -> list[float]:
    found = []
    for _ in range(times):
        started = time.monotonic()
        assert server.get("/healthz")[0] == 200
        found.append(time.monotonic() - started)
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", ["nginx.conf", "nginx-testfiles.conf"])
def test_nginx_passes_live_output_names_and_departures(
    glass: Callable[..., Server], nginx: Callable[..., Server], runner: str, name: str
) -> None:
    limits = {**GENEROUS, "rate": "3/day", "burst": 3}
    proxy = nginx(name, glass(runner, limits=limits))
    listed = proxy.json(f"{V1}/cmd")["data"]["commands"]
    assert listed[0]["href"].startswith(f"http://127.0.0.1:{proxy.port}/")
    for accept in ("text/plain", "text/event-stream"):
        connection = proxy.begin(f"{V1}/pid", accept)
        # Live: the command is silent then.
        pid = int(read_until(connection, rb"(\d+)(\\n\"|\n(?:\r\n)?$)")[1])
        connection.close()
        assert soon_gone(pid)
    assert proxy.get(f"{V1}/true")[0] == 200
    assert proxy.get(f"{V1}/true")[0] == 429  # 127.0.0.1, as nginx has told


@pytest.mark.parametrize("name", ["nginx.conf", "nginx-testfiles.conf"])
def test_page_is_live_through_nginx_with_gzip(
    glass: Callable[..., Server], nginx: Callable[..., Server], name: str
) -> None:
    proxy = nginx(name, glass("our own server"))
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    connection.request("GET", "/?cmd=pid&run=1", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.headers["Content-Encoding"] == "gzip"
    unpack = zlib.decompressobj(wbits=31).decompress
    page = b""
    while not (found := re.search(rb">(\d+)\n", page)):  # live: the command is silent then
        data = response.read1()
        assert data, page
        page += unpack(data)
    response.close()
    connection.close()
    assert soon_gone(int(found[1]))


def test_visitor_cannot_forge_an_address_through_nginx(
    glass: Callable[..., Server], nginx: Callable[..., Server]
) -> None:
    proxy = nginx("nginx.conf", glass("our own server", showip=True))
    forged = {"X-Forwarded-For": "198.51.100.66", "Forwarded": "for=198.51.100.66"}
    page = ask(proxy, "/", **forged)[2]
    assert b"127.0.0.1" in page
    assert b"198.51.100.66" not in page


def test_both_nginx_files_differ_in_test_files_only() -> None:
    plain, with_files = ((DEPLOY / name).read_text() for name in ("nginx.conf", "nginx-testfiles.conf"))
    block = r"    # [^\n]*\n    location \^~ /testfiles/ \{.*?\n    \}\n\n"
    zone = "limit_conn_zone $binary_remote_addr zone=tinytracer_testfiles:1m;\n\n"
    same = re.sub(block, "", with_files, flags=re.DOTALL)
    same = replace_once(same, zone, "").replace(", with test files", ", without test files")
    assert same.replace(" and /opt/tinytracer", "") == re.sub(block, "", plain, flags=re.DOTALL)


def test_nginx_without_test_files_does_not_let_them_through(
    glass: Callable[..., Server], nginx: Callable[..., Server], tmp_path: Path, testfile: bytes
) -> None:
    behind = glass("our own server", testfiles=str(tmp_path / "testfiles"))
    assert behind.get(f"/testfiles/{UNREAD}MB.test")[0] == 200
    assert nginx("nginx.conf", behind).get(f"/testfiles/{UNREAD}MB.test")[0] == 404


def test_nginx_serves_test_files_itself(
    glass: Callable[..., Server], nginx: Callable[..., Server], tmp_path: Path, testfile: bytes
) -> None:
    folder = tmp_path / "testfiles"
    (folder / ".25MB.test.1").write_text("half")
    (folder / "outside").symlink_to("/etc/hostname")
    (tmp_path / "testfiles-secret").write_text("secret")
    proxy = nginx("nginx-testfiles.conf", glass("our own server"))
    path = f"/testfiles/{UNREAD}MB.test"
    status, headers, body = proxy.get(path)
    assert (status, body) == (200, testfile)
    assert headers["Content-Type"] == "application/octet-stream"
    assert "Content-Encoding" not in headers
    status, headers, body = ask(proxy, path, Range="bytes=100-199")
    assert (status, body) == (206, testfile[100:200])
    assert headers["Content-Range"] == f"bytes 100-199/{len(testfile)}"
    assert ask(proxy, path, Range="bytes=-0")[0] == 416
    for refused in (
        ".25MB.test.1",
        "../nginx.conf",
        "..%2fnginx.conf",
        "../testfiles-secret",
        "none.test",
        "",
    ):
        assert proxy.get(f"/testfiles/{refused}")[0] in {400, 403, 404}, refused
    if not os.geteuid():
        os.lchown(folder / "outside", 12345, 12345)
        assert proxy.get("/testfiles/outside")[0] == 403
    with never_read(proxy, path, "*/*"), contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(contextlib.closing(proxy.begin(path)))
        time.sleep(0.2)
        assert proxy.get(path)[0] == 429
        assert proxy.get("/")[0] == 200


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("path", "accept"),
    [(f"/testfiles/{UNREAD}MB.test", "*/*"), (f"{V1}/much", "text/event-stream"), (f"{V1}/much", "*/*")],
)
def test_visitors_who_never_read_do_not_slow_the_glass_behind_nginx(
    glass: Callable[..., Server],
    nginx: Callable[..., Server],
    testfile: bytes,
    runner: str,
    path: str,
    accept: str,
) -> None:
    much = {"cmd": ["sh", "-c", "yes | head -c 250000"]}  # nearly limits.output_kib
    proxy = nginx("nginx-testfiles.conf", glass(runner, commands={"much": much}))
    with never_read(proxy, path, accept):
        seconds = seconds_for_health(proxy, 60)  # more than gunicorn's 2 s for a connection's end
    assert statistics.median(seconds) < 1
    assert max(seconds) < 10  # all begin at once, on a small machine


def test_https_is_prepared(
    glass: Callable[..., Server], nginx: Callable[..., Server], tmp_path: Path
) -> None:
    key, certificate = str(tmp_path / "privkey.pem"), str(tmp_path / "fullchain.pem")
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lg.example.net"]
    subprocess.run([*argv, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = free_port()
    proxy = nginx("nginx.conf", glass("our own server", host="https://lg.example.net/"), tls)
    end = time.monotonic() + PATIENT
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            status, headers, _ = proxy.get("/healthz?a=b")
            break
        time.sleep(0.02)
    assert (status, headers["Location"]) == (308, "https://127.0.0.1/healthz?a=b")
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", tls, context=context, timeout=60)
    connection.request("GET", f"{V1}/cmd")
    response = connection.getresponse()
    assert response.status == 200
    assert b'"href": "https://lg.example.net/.well-known/' in response.read()
    connection.close()


def test_gunicorn_ends_soon_while_visitors_never_read(
    glass: Callable[..., Server], nginx: Callable[..., Server]
) -> None:
    behind = glass("gunicorn", commands={"much": {"cmd": ["yes"]}}, limits={**GENEROUS, "output_kib": 16384})
    with never_read(nginx("nginx.conf", behind), f"{V1}/much", "text/plain"):
        children = behind.wait_for_children(more_than=1)
        behind.process.terminate()
        behind.process.communicate(timeout=PATIENT)  # its workers may take 30 s to end
        assert soon_gone(*children)
