"""Clients that hold what others need: connections, downloads, requests; clocks and disks that fail."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookingglass import turnstile as turnstile_module
from lookingglass.guard import Lease, Limits, Rate
from lookingglass.problems import Refusal
from lookingglass.turnstile import Turnstile
from tests.limiting import Clock
from tests.support import (
    GENEROUS,
    PATIENT,
    V1,
    Serve,
    Server,
    asker,
    build,
    configuration,
    connections_to,
    cpu_seconds,
    free_port,
    python,
    soon,
)

# Nobody is a proxy, so that addresses of loopback stand for clients; what takes a minute takes seconds.
IMPATIENT = """
import sys, tinytracer; from lookingglass import connections, serving
tinytracer.TinyTracer.is_proxy = lambda self, peer: False
serving.SPARE_CONNECTIONS, serving.SWEEP_EVERY = 16, 0.1
connections.REQUEST = connections.STALLED = 1.5
connections.DOWNLOAD = 3.0
exec(sys.argv.pop(1))
tinytracer.main(sys.argv[1:])
"""
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: lg\r\n\r\n"
FEW = {**GENEROUS, "viewers": 4}  # and so 20 connections
MIB = 1 << 20


def impatient(serve: Serve, more: str = "", **document: object) -> Server:
    return serve(program=("-c", IMPATIENT, more), **{"limits": FEW, **document})


def connect(server: Server, source: str = "127.0.0.1", buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.bind((source, 0))
    connection.settimeout(PATIENT)
    connection.connect(("127.0.0.1", server.port))
    return connection


def is_healthy(connection: socket.socket) -> bool:
    """Tell whether a connection is still good for a request."""
    seen = b""
    with contextlib.suppress(OSError):
        connection.sendall(HEALTH)
        while not seen.endswith(b"ok") and (data := connection.recv(4096)):
            seen += data
    return seen.startswith(b"HTTP/1.1 200")


def is_closed(connection: socket.socket) -> bool:
    """Tell whether the server has closed a connection on which nothing is to be read."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        connection.settimeout(PATIENT)


def status_of(connection: socket.socket, path: str) -> int:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: lg\r\n\r\n".encode())
    return int(connection.recv(12).split()[1])


@pytest.fixture
def files(tmp_path: Path) -> str:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, size in (("big.bin", 64 * MIB), ("small.bin", 1000)):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    return str(folder)


# --- connections


def test_blank_lines_do_not_keep_a_connection(serve: Serve) -> None:
    server = impatient(serve)
    started = time.monotonic()
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        while not is_closed(connection):
            connection.sendall(b"\r\n")
            time.sleep(0.2)
            assert time.monotonic() - started < PATIENT
    assert time.monotonic() - started > 1


def test_blank_line_before_a_request_does_no_harm(serve: Serve) -> None:
    server = impatient(serve, "connections.REQUEST = connections.STALLED = 4")
    with connect(server) as connection:
        for _ in range(3):
            connection.sendall(b"\r\n")
            time.sleep(1.5)
            assert is_healthy(connection)


def test_biggest_holder_makes_room_when_all_connections_are_taken(serve: Serve) -> None:
    server = impatient(serve, "connections.STALLED = 60")
    with contextlib.ExitStack() as stack:
        honest = stack.enter_context(connect(server, "127.0.1.1"))
        assert is_healthy(honest)
        neighbour = [stack.enter_context(connect(server, "127.0.1.2")) for _ in range(4)]
        assert all(map(is_healthy, neighbour))
        for turn in range(100):  # 25 clients of one network, which has room for 15
            stack.enter_context(connect(server, f"127.0.2.{turn % 25 + 1}"))
        latecomer = stack.enter_context(connect(server, "127.0.3.1"))
        assert is_healthy(latecomer)
        assert is_healthy(honest)
        assert all(map(is_healthy, neighbour))


def test_idlest_connection_of_the_biggest_holder_is_closed_first(serve: Serve) -> None:
    server = impatient(serve, "connections.STALLED = 60")
    with contextlib.ExitStack() as stack:
        assert soon(lambda: not connections_to(server.port))  # that which asked whether it is ready
        held = [stack.enter_context(connect(server, "127.0.2.1")) for _ in range(20)]
        for connection in (*held, held[0]):
            assert is_healthy(connection)
            if connection in held[:2]:  # a thread notes when it has sent a moment after the client has it
                time.sleep(0.5)
        assert is_healthy(stack.enter_context(connect(server, "127.0.3.1")))
        assert soon(lambda: is_closed(held[1]))
        assert not any(map(is_closed, [held[0], *held[2:]]))


def test_answer_in_progress_is_not_closed_to_make_room(serve: Serve) -> None:
    server = impatient(serve, "connections.STALLED = 60")
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connect(server, "127.0.2.1")) for _ in range(4)]
        for connection in waiting:
            connection.sendall(f"GET {V1}/pid HTTP/1.1\r\nHost: lg\r\nAccept: text/plain\r\n\r\n".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        for _ in range(60):
            stack.enter_context(connect(server, "127.0.2.1"))
        assert is_healthy(stack.enter_context(connect(server, "127.0.3.1")))
        assert not any(map(is_closed, waiting))
        assert len(server.children()) == 1


def test_proxies_and_this_machine_have_no_share_but_leave_room(serve: Serve) -> None:
    server = serve(limits={**GENEROUS, "connections": 2})
    with contextlib.ExitStack() as stack:
        assert all(is_healthy(stack.enter_context(connect(server))) for _ in range(10))


# --- readers


def test_client_that_takes_a_byte_now_and_then_is_closed_and_gives_its_place_back(
    serve: Serve, files: str
) -> None:
    server = impatient(serve, testfiles=files, limits={**FEW, "downloads": 1})
    with connect(server, buffer=4096) as slow, connect(server) as other:
        assert status_of(slow, "/testfiles/big.bin") == 200
        assert status_of(other, "/testfiles/big.bin") == 429
        started = time.monotonic()

        status = 429
        while status == 429:
            with contextlib.suppress(ConnectionError):
                slow.recv(1)
            time.sleep(0.1)
            with connect(server) as third:
                status = status_of(third, "/testfiles/small.bin")
            assert time.monotonic() - started < PATIENT
        assert status == 200
        assert time.monotonic() - started > 1.5


def take(connection: socket.socket, rate: int, seconds: float) -> int:
    """Read at a rate in bytes a second, and return how many bytes came until the end or the close."""
    end, taken = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        wanted = int((seconds - left) * rate) - taken
        if wanted > 0:
            data = connection.recv(wanted)
            assert data, f"closed after {seconds - left:.1f} s and {taken} bytes"
            taken += len(data)
        time.sleep(0.02)
    return taken


@pytest.mark.slow
def test_download_over_256_kbit_a_second_goes_on(serve: Serve, files: str) -> None:
    server = impatient(serve, testfiles=files)
    with connect(server, buffer=16384) as connection:
        assert status_of(connection, "/testfiles/big.bin") == 200
        assert take(connection, 32000, 8) > 200_000  # nearly three times as long as the average is over


@pytest.mark.slow
def test_live_answer_over_a_modem_goes_on(serve: Serve) -> None:
    server = impatient(serve, commands={"much": {"cmd": ["yes"]}})
    with connect(server, buffer=2048) as connection:
        request = f"GET {V1}/much HTTP/1.1\r\nHost: lg\r\nAccept: text/plain\r\n\r\n"
        connection.sendall(request.encode())
        assert take(connection, 1200, 8) > 7000


def test_page_comes_over_a_modem(serve: Serve) -> None:
    server = impatient(serve, "connections.STALLED = 60")
    with connect(server, buffer=2048) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: lg\r\nConnection: close\r\n\r\n")
        seen = b""
        while data := connection.recv(120):
            seen += data
            time.sleep(0.05 if len(seen) < 4000 else 0)
        assert b"</html>" in seen


@pytest.mark.parametrize("pipelined", [1, 2, 8])
def test_slow_readers_of_pipelined_files_hold_no_thread(serve: Serve, files: str, pipelined: int) -> None:
    """72 connections that read a little kept everybody from being answered for minutes."""
    server = serve(testfiles=files, limits={**GENEROUS, "downloads": 10000})
    request = b"GET /testfiles/big.bin HTTP/1.1\r\nHost: lg\r\n\r\n"
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(server, buffer=4096)) for _ in range(72)]
        for connection in held:
            connection.sendall(request * pipelined)
            assert connection.recv(12) == b"HTTP/1.1 200"
        started = time.monotonic()
        for _ in range(20):
            for connection in held:
                connection.recv(100)
            assert server.get("/healthz")[0] == 200
        assert time.monotonic() - started < 2 * PATIENT


# --- downloads and cheap requests


def test_third_download_of_a_client_is_429_and_others_have_theirs(serve: Serve, files: str) -> None:
    server = serve(
        testfiles=files, trustproxy=True, limits={**GENEROUS, "downloads": 2, "network_share": 0.25}
    )

    def begin(client: str) -> tuple[socket.socket, int]:
        connection = connect(server, buffer=4096)
        path = f"/testfiles/big.bin HTTP/1.1\r\nHost: lg\r\nX-Forwarded-For: {client}\r\n\r\n"
        connection.sendall(f"GET {path}".encode())
        return connection, int(connection.recv(12).split()[1])

    with contextlib.ExitStack() as stack:

        def statuses(*clients: str) -> list[int]:
            begun = [begin(client) for client in clients]
            for connection, _ in begun:
                stack.enter_context(connection)
            return [status for _, status in begun]

        assert statuses(*["192.0.2.1"] * 3) == [200, 200, 429]
        assert statuses("192.0.2.2", "192.0.2.3", "192.0.2.4") == [200, 200, 429]  # a quarter for a network
        assert statuses("2001:db8::1", "2001:db8::2", "2001:db8::3") == [200, 200, 429]  # one /64
        networks = [f"198.51.{number}.1" for number in range(11)]
        assert statuses(*networks) == [200] * 10 + [503]
        assert server.get("/healthz")[0] == 200
        assert server.get("/")[0] == 200

    def may_begin() -> bool:
        connection, status = begin("192.0.2.1")
        connection.close()
        return status == 200

    assert soon(may_begin)


def test_download_that_has_ended_gives_its_place_back_at_once(serve: Serve, files: str) -> None:
    server = serve(testfiles=files, limits={**GENEROUS, "downloads": 1})
    with contextlib.ExitStack() as stack:
        # The connections stay open; the last byte arrives a moment before its file is closed.
        for _ in range(5):
            assert soon(
                lambda: status_of(stack.enter_context(connect(server)), "/testfiles/small.bin") == 200
            )


def test_cheap_requests_are_limited_and_runs_and_health_are_not(serve: Serve) -> None:
    server = serve(trustproxy=True, limits={**GENEROUS, "requests": "5/second"})
    with connect(server) as connection:

        def ask(path: str, client: str = "192.0.2.1") -> tuple[int, bytes, bytes]:
            fields = f"Host: lg\r\nX-Forwarded-For: {client}"
            connection.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
            seen = b""
            while b"\r\n\r\n" not in seen:
                seen += connection.recv(65536)
            head, _, body = seen.partition(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
            while len(body) < int(length.split()[1]):
                body += connection.recv(65536)
            return int(head.split()[1]), head, body

        started = time.monotonic()
        seen = [ask(f"{V1}/cmd")[0] for _ in range(200)]
        assert 25 <= seen.count(200) <= 35 + 5 * (time.monotonic() - started)
        status, head, body = next(each for _ in range(200) if (each := ask("/"))[0] != 200)
        assert status == 429
        assert b"Retry-After: 1" in head
        envelope = json.loads(body)
        assert (envelope["status"], envelope["code"]) == ("error", 429)
        assert "5 requests in 1 s" in envelope["message"]
        assert [ask("/healthz")[0] for _ in range(50)] == [200] * 50
        assert [ask(f"{V1}/true")[0] for _ in range(3)] == [200] * 3
        assert ask("/", "192.0.2.2")[0] == 200
        assert soon(lambda: ask("/")[0] == 200)


def refused(turnstile: Turnstile, client: str) -> int:
    try:
        turnstile.request(client)
    except Refusal as refusal:
        return refusal.status
    return 0


def test_requests_are_admitted_at_their_rate_behind_the_burst() -> None:
    clock = Clock()
    turnstile = Turnstile(Limits(), clock)
    assert [refused(turnstile, "a") for _ in range(101)] == [0] * 100 + [429]
    for _ in range(50):
        clock.now += 0.05
        assert (refused(turnstile, "a"), refused(turnstile, "a")) == (0, 429)
    assert refused(turnstile, "b") == 0
    clock.now -= 3600  # which a monotonic clock never does
    assert refused(turnstile, "c") == 0


def test_request_that_takes_long_counts_as_several() -> None:
    turnstile = Turnstile(Limits(), Clock())
    assert refused(turnstile, "a") == 0
    turnstile.charge("a", 0.002)  # no more than each may take
    turnstile.charge("b", 1000.0)  # of whom nothing is known
    assert [refused(turnstile, "a") for _ in range(49)] == [0] * 49
    turnstile.charge("a", 0.1)  # as much as 40
    assert [refused(turnstile, "a") for _ in range(12)] == [0] * 11 + [429]


def test_48_that_walks_its_64s_asks_four_times_as_much_as_one_client() -> None:
    clock = Clock()
    turnstile = Turnstile(Limits(), clock)
    walk = [f"2001:db8:1:{each:x}::/64" for each in range(500)]
    assert [refused(turnstile, each) for each in walk] == [0] * 400 + [429] * 100
    assert refused(turnstile, "2001:db8:2::/64") == 0
    clock.now += 1
    assert [refused(turnstile, each) for each in walk].count(0) == 80
    clock.now += 10
    assert refused(turnstile, walk[0]) == 0
    turnstile.charge(walk[0], 2.0)  # as much as 800
    assert refused(turnstile, walk[1]) == 429
    assert refused(turnstile, "2001:db8:2::/64") == 0


def test_network_that_may_have_everything_asks_as_often_as_its_clients_may() -> None:
    turnstile = Turnstile(Limits(network_share=1), Clock())
    assert [refused(turnstile, f"192.0.2.{each}") for each in range(250) for _ in range(10)] == [0] * 2500


def test_client_cannot_keep_the_processor_busy_with_long_results() -> None:
    table = "for n in range(6000): print(f'10.{n >> 8}.{n & 255}.0/24 unicast [x] *')"
    commands = {"table": {"cmd": [*python(table)], "parser": "bird"}, "short": {"cmd": ["echo"]}}
    ask = asker(build({"commands": commands, "limits": {**GENEROUS, "requests": "20/second"}}))
    (short, long) = (
        ask(f"{V1}/{each}").json["data"]["result"].removeprefix("http://localhost")
        for each in ("short", "table")
    )
    page = "text/html"
    assert [ask(long, page).status for _ in range(60)].count(429) >= 20
    assert ask(short, page).status == 429
    assert [ask(short, page, REMOTE_ADDR="203.0.113.7").status for _ in range(10)] == [200] * 10
    assert ask(long, page, REMOTE_ADDR="203.0.113.8").status == 200


def test_table_of_clients_is_bounded_and_forgets_who_has_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile_module, "OWNERS", 100)
    clock = Clock()
    turnstile = Turnstile(Limits(), clock)
    assert [refused(turnstile, str(each)) for each in range(101)] == [0] * 100 + [503]
    clock.now += 1
    assert [refused(turnstile, f"again {each}") for each in range(200)].count(0) >= 100


def test_place_of_a_download_is_given_back_once() -> None:
    turnstile = Turnstile(Limits(downloads=1))
    lease: Lease = turnstile.download("192.0.2.1")
    for _ in range(2):
        lease.end()
    second = turnstile.download("192.0.2.1")
    with pytest.raises(Refusal, match="The limit is 1 download at once from your address"):
        turnstile.download("192.0.2.1")
    second.end()


def test_client_that_may_ask_once_is_told_so() -> None:
    turnstile = Turnstile(Limits(requests=Rate(1, 10.0)), Clock())
    turnstile.request("192.0.2.1")
    with pytest.raises(Refusal, match="The limit is 1 request in 10 s, 1 at once, from your address"):
        turnstile.request("192.0.2.1")


# --- clocks and disks

SET_BACK = """
import signal, time
real = time.time
def set_back(*_):
    time.time = lambda: real() - 3600
signal.signal(signal.SIGUSR1, set_back)
"""


def test_clock_that_is_set_back_an_hour_changes_nothing(serve: Serve, files: str) -> None:
    server = impatient(serve, SET_BACK, testfiles=files)
    with connect(server) as slow, connect(server) as idle, connect(server, buffer=4096) as stalled:
        slow.sendall(b"GET / HT")
        assert status_of(stalled, "/testfiles/big.bin") == 200
        server.process.send_signal(signal.SIGUSR1)
        started = time.monotonic()
        assert soon(lambda: is_closed(slow))
        assert soon(lambda: is_closed(idle))
        time.sleep(max(0.0, started + 3.5 - time.monotonic()))
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := stalled.recv(MIB):
                received += len(data)
        assert received < 64 * MIB
        assert server.json(f"{V1}/true")["data"]["runtime"] < 5


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Server]:
    """Yield a server whose TMPDIR is a file system without a free byte, in mounts of its own."""
    (tmp_path / "tmp").mkdir()
    folder = tmp_path / "files"
    folder.mkdir()
    with (folder / "big.bin").open("wb") as file:
        file.truncate(64 * MIB)
    config, port = configuration(tmp_path, testfiles=str(folder)), free_port()
    fill = 'mount -t tmpfs -o size=64k none "$0" && { cat /dev/zero >"$0/x" 2>/dev/null; exec "$@"; }'
    program = [sys.executable, "tinytracer.py", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    argv = ["unshare", "--mount", "sh", "-c", fill, str(tmp_path / "tmp"), *program]
    server = Server(argv, port, {"TMPDIR": str(tmp_path / "tmp")})
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.mark.lab
def test_full_tmpdir_does_not_matter(full: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(connect(full, buffer=4096))
            connection.sendall(b"GET /testfiles/big.bin HTTP/1.1\r\nHost: lg\r\n\r\n" * 2)
            assert connection.recv(12) == b"HTTP/1.1 200"
        upload = stack.enter_context(connect(full))
        upload.sendall(b"POST / HTTP/1.1\r\nHost: lg\r\nContent-Length: 4000\r\n\r\n" + bytes(4000))
        assert upload.recv(12) == b"HTTP/1.1 405"
        much = stack.enter_context(full.begin(f"{V1}/tick", "text/plain"))
        assert b"HTTP/1.1 200" in much.recv(4096)
        folder = Path(f"/proc/{full.process.pid}/fd")  # the first three are the tests' own
        opened = [os.readlink(each) for each in folder.iterdir() if int(each.name) > 2]
        assert not [name for name in opened if "(deleted)" in name and not name.startswith("/memfd:")]
        before = cpu_seconds(full.process.pid)
        time.sleep(1)
        assert cpu_seconds(full.process.pid) - before < 0.5
    assert full.get("/healthz")[0] == 200
    before = cpu_seconds(full.process.pid)
    time.sleep(1)
    assert cpu_seconds(full.process.pid) - before < 0.3  # also after the clients have left


def test_log_on_a_full_disk_does_not_matter(serve: Serve) -> None:
    full = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"
    server = impatient(serve, full)
    for _ in range(3):
        assert server.json(f"{V1}/true")["status"] == "success"
        assert server.get(f"{V1}/nothing")[0] == 404
