"""The program as a server: live output, clients that leave, limits under load, signals, the command line."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import waitress.parser
from waitress import rfc7230

from lookingglass import messages
from tests.support import (
    COMMANDS,
    GENEROUS,
    HERE,
    MEDIA,
    PATIENT,
    V1,
    Serve,
    Server,
    configuration,
    connections_to,
    cpu_seconds,
    free_port,
    gone_within,
    is_alive,
    read_until,
    soon,
    soon_gone,
)

WAITRESS_FIELD: Any = rfc7230.HEADER_FIELD_RE
WAITRESS_LINE: Any = waitress.parser.first_line_re


def test_ping_of_both_families_has_facts(serve: Serve) -> None:
    server = serve()
    for path in ("ping/127.0.0.1", "PING/::1"):
        data = server.json(f"{V1}/{path}")["data"]
        assert data["rate"] == 100
        assert 0 < data["min"] <= data["avg"] <= data["max"] < 1000
        assert all(isinstance(line, str) for line in data["output"])


def test_runtime_ends_a_long_ping_in_time_and_leaves_none(serve: Serve) -> None:
    server = serve()
    started = time.monotonic()
    status, _, body = server.get(f"{V1}/long/127.0.0.1?runtime=1")
    assert time.monotonic() - started < PATIENT  # of hundred replies
    envelope = json.loads(body)
    assert (status, envelope["status"]) == (504, "error")
    assert any("icmp_seq=1" in line for line in envelope["data"]["output"])
    assert server.children() == set()


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
def test_every_line_arrives_when_it_is_printed(serve: Serve, accept: str) -> None:
    connection = serve().begin(f"{V1}/tick", accept)
    delays: list[float] = []
    while len(delays) < 30:
        data = connection.recv(65536)
        now = time.time()
        assert data
        delays += [now - float(moment) for moment in re.findall(rb"\d{10}\.\d{6}", data)]
    connection.close()
    assert statistics.median(delays[:30]) < 1  # it is printed for three seconds


def test_two_viewers_of_one_question_share_one_process(serve: Serve) -> None:
    server = serve()
    first = server.begin(f"{V1}/pid", "text/plain")
    pid = read_until(first, rb"\r\n(\d+)\n")[1]
    second = server.begin(f"{V1}/pid", "text/event-stream")
    assert read_until(second, rb'"text": "(\d+)')[1] == pid
    assert len(server.children()) == 1
    first.close()
    assert not gone_within(0.5, int(pid))
    second.close()
    assert soon_gone(int(pid))


def threads_of(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"^Threads:\s+(\d+)$", status, re.MULTILINE)[0])


def test_two_hundred_live_viewers_leave_the_threads_as_they_were(serve: Serve) -> None:
    commands = {f"tick{number}": COMMANDS["tick"] for number in range(2)}
    server = serve(commands=commands, limits={**GENEROUS, "viewers": 300})
    server.get(f"{V1}/tick0?runtime=0.1")
    before = threads_of(server)
    viewers = [
        server.begin(f"{V1}/tick{number % 2}", ("text/plain", "text/event-stream")[number % 2])
        for number in range(200)
    ]
    for viewer in viewers:
        read_until(viewer, rb"\d{10}\.\d{6}")
    assert len(server.children()) <= 2
    assert threads_of(server) == before
    for viewer in viewers:
        with viewer:
            rest = b"".join(iter(lambda viewer=viewer: viewer.recv(65536), b""))  # type: ignore[misc]
            assert rest.endswith(b"0\r\n\r\n")
    assert threads_of(server) == before
    records = [line for line in log_of(server).splitlines() if "outcome=success" in line]
    assert len(records) == 200
    assert all("shared=" in line for line in records)


def log_of(server: Server) -> str:
    """Stop a server and return what it has logged."""
    server.process.terminate()
    return str(server.process.communicate(timeout=60)[1])


@pytest.mark.parametrize("accept", MEDIA)
def test_silent_command_ends_when_its_only_client_leaves(serve: Serve, accept: str) -> None:
    server = serve()
    connection = server.begin(f"{V1}/sleep", accept)
    children = server.wait_for_children()
    assert len(children) == 1
    connection.close()
    assert soon_gone(*children)


@pytest.mark.parametrize("command", ["stubborn", "orphan"])
@pytest.mark.parametrize("accept", MEDIA)
def test_stubborn_children_end_when_the_client_leaves(serve: Serve, accept: str, command: str) -> None:
    server = serve()
    connection = server.begin(f"{V1}/{command}", accept)
    children = server.wait_for_children(more_than=1)
    connection.close()
    assert soon_gone(*children)


def test_half_closed_connection_is_a_client_that_left(serve: Serve) -> None:
    server = serve()
    connection = server.begin(f"{V1}/sleep")
    children = server.wait_for_children()
    connection.shutdown(socket.SHUT_WR)
    assert soon_gone(*children)
    connection.close()


def test_seventeenth_run_is_refused_at_once_and_the_page_still_answers(serve: Serve) -> None:
    server = serve(limits={**GENEROUS, "concurrent": 16})
    taken = [server.begin(f"{V1}/wait/127.0.0.{number}", "text/plain") for number in range(16)]
    for connection in taken:
        read_until(connection, rb"127\.0\.0\.")
    for path, expected in ((f"{V1}/wait/127.0.1.1", 503), ("/", 200)):
        status, headers, _ = server.get(path)  # what runs goes on for ever
        assert status == expected
        assert expected == 200 or int(headers["Retry-After"]) >= 1
    joined = server.begin(f"{V1}/wait/127.0.0.3", "text/plain")  # needs no slot
    read_until(joined, rb"127\.0\.0\.3")
    for connection in [*taken, joined]:
        connection.close()
    assert soon(lambda: server.get(f"{V1}/true")[0] == 200)


def test_two_hundred_visitors_at_once_get_an_answer_or_a_refusal(serve: Serve) -> None:
    server = serve()
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        asked = [pool.submit(server.get, f"{V1}/ping/127.0.0.{number}") for number in range(1, 201)]
        statuses = [each.result()[0] for each in asked]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 16
    assert server.children() == set()


def test_slow_reader_does_not_hold_the_others(serve: Serve) -> None:
    server = serve(commands={"much": {"cmd": ["yes"]}, "true": {"cmd": ["true"]}})
    idle = [server.begin(f"{V1}/much", "text/plain") for _ in range(20)]
    assert server.get(f"{V1}/true")[0] in {200, 503}
    assert server.get("/")[0] == 200
    for connection in idle:
        connection.close()


def test_stalled_downloads_do_not_hold_the_others(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    with (tmp_path / "files" / "big.bin").open("wb") as file:
        file.truncate(64 << 20)
    server = serve(limits={**GENEROUS, "viewers": 4}, testfiles=str(tmp_path / "files"))
    request = b"GET /testfiles/big.bin HTTP/1.1\r\nHost: lg\r\nRange: bytes=0-60000000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(2 * (4 + 8)):  # more than there are threads
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            connection.sendall(request)
            assert connection.recv(20).startswith(b"HTTP/1.1 206")
        assert server.get("/healthz")[0] == 200


def test_killed_child_is_a_failure_and_the_server_goes_on(serve: Serve) -> None:
    server = serve()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.json, f"{V1}/sleep")
        (child,) = server.wait_for_children()
        os.kill(child, signal.SIGKILL)
        assert asked.result()["status"] == "fail"
    assert server.get("/healthz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_impatient_signals_leave_no_child(serve: Serve, number: signal.Signals) -> None:
    server = serve()
    connection = server.begin(f"{V1}/stubborn")
    children = server.wait_for_children()
    for _ in range(4):
        server.process.send_signal(number)
        time.sleep(0.2)
    assert server.process.wait(PATIENT) == 0
    assert not any(map(is_alive, children))
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signal_ends_server_and_children_soon(serve: Serve, number: signal.Signals) -> None:
    inherited = signal.signal(
        signal.SIGQUIT, signal.SIG_DFL
    )  # it is ignored where nohup has started the tests
    server = serve()
    signal.signal(signal.SIGQUIT, inherited)
    connections = [
        server.begin(f"{V1}/{name}", media) for name in ("stubborn", "orphan", "pid") for media in MEDIA
    ]
    children = server.wait_for_children(more_than=4)
    started = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(PATIENT) == 0
    assert time.monotonic() - started < 10  # it is less than 2 s where the machine is idle
    assert not any(map(is_alive, children))
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_nohup_is_heeded(serve: Serve, number: signal.Signals) -> None:
    inherited = signal.signal(number, signal.SIG_IGN)
    server = serve()
    signal.signal(number, inherited)
    server.process.send_signal(number)
    time.sleep(0.3)
    assert server.get("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x00\xff\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nsecret=<b>\r\n\r\n", 400),
        (b"secret<b> / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: secret\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"GET http://[secret HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: secret\r\n\r\n", 501),
    ],
)
def test_broken_request_is_an_error_in_json_and_repeats_nothing(serve: Serve, sent: bytes, code: int) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(sent)
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    envelope = json.loads(body)
    assert (envelope["status"], envelope["code"]) == ("error", code)
    assert envelope["data"]["failure_source"] == "visitor"
    assert re.match(rb"HTTP/1\.[01] %d " % code, head)
    assert b"Content-Type: application/json" in head
    assert b"nosniff" in head
    assert b"secret" not in head + body
    assert server.get("/healthz")[0] == 200


def test_blanks_in_headers_do_not_stop_the_server(serve: Serve) -> None:
    server = serve()
    blanks = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX:" + b" " * 15800 + b"x\r\n\r\n"
    with contextlib.ExitStack() as stack:
        started = cpu_seconds(server.process.pid)
        for _ in range(20):  # waitress by itself needs seconds for each
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            connection.sendall(blanks)
        assert server.get("/healthz", timeout=100)[0] == 200
        assert cpu_seconds(server.process.pid) - started < 5
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("value", [b"a  b", b"  a  ", b"", b"\ta\t\tb\t", b"\xff"])
def test_header_is_read_as_waitress_reads_it(value: bytes) -> None:
    line = b"X-Y:" + value
    ours, theirs = (each.match(line) for each in (messages.HEADER_FIELD, WAITRESS_FIELD))
    assert ours
    assert theirs
    assert ours.groupdict() == theirs.groupdict()


@pytest.mark.parametrize("line", [b"X", b"X Y: a", b": a", b"X: a\x00", b"X: \x7f"])
def test_header_is_refused_as_waitress_refuses_it(line: bytes) -> None:
    assert not messages.HEADER_FIELD.match(line)
    assert not WAITRESS_FIELD.match(line)


def test_digits_in_a_request_line_do_not_stop_the_server(serve: Serve) -> None:
    server = serve()
    started = cpu_seconds(server.process.pid)
    for line in (b"GET x://" + b"1" * 15900 + b" x", b"GET " + b"a" * 8000 + b"://" + b"1" * 7900 + b" x"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=100) as connection:
            connection.sendall(line + b"\r\n\r\n")  # waitress by itself needs half a minute
            assert connection.recv(100).startswith(b"HTTP/1.0 400")
    assert cpu_seconds(server.process.pid) - started < 5


GOOD_LINES = (
    b"GET / HTTP/1.1|GET /a?b#c HTTP/1.0|GET http://lg.example:80/a HTTP/1.1|GET /|* *|G x://1".split(b"|")
)
BAD_LINES = b"|GET|GET  /|GET / HTTP/11|GET / HTTP/1.1 |G(T / HTTP/1.1|G a b| G a".split(b"|")


@pytest.mark.parametrize("line", GOOD_LINES + BAD_LINES)
def test_request_line_is_read_as_waitress_reads_it(line: bytes) -> None:
    ours, theirs = (each.fullmatch(line) for each in (messages.FIRST_LINE, WAITRESS_LINE))
    assert bool(ours) == (line in GOOD_LINES)
    assert (ours and ours.groupdict()) == (theirs and theirs.groupdict())


IMPATIENT = """
import sys, tinytracer; from lookingglass import connections, serving
connections.REQUEST = connections.STALLED = connections.DOWNLOAD = 1.0
serving.SWEEP_EVERY = 0.2
tinytracer.main(sys.argv[1:])
"""


def test_connections_on_which_nothing_goes_on_are_closed(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    with (tmp_path / "files" / "big.bin").open("wb") as file:
        file.truncate(64 << 20)
    server = serve(program=("-c", IMPATIENT), testfiles=str(tmp_path / "files"))
    where = ("127.0.0.1", server.port)
    slow, idle, stalled, busy = (socket.create_connection(where, timeout=60) for _ in range(4))
    busy.sendall(f"GET {V1}/sleep HTTP/1.1\r\nHost: lg\r\n\r\n".encode())
    stalled.sendall(b"GET /testfiles/big.bin HTTP/1.1\r\nHost: lg\r\n\r\n")
    end = time.monotonic() + PATIENT
    with contextlib.suppress(OSError):  # one byte at a time
        while time.monotonic() < end:
            slow.sendall(b"G")
            time.sleep(0.1)
    assert time.monotonic() < end
    assert idle.recv(1) == b""
    assert soon(lambda: connections_to(server.port) == 1)  # the one that is busy
    received = 0
    with contextlib.suppress(OSError):
        while data := stalled.recv(1 << 20):
            received += len(data)
    assert received < 64 << 20
    assert len(server.children()) == 1  # a run that says nothing is none of these
    for connection in (slow, idle, stalled, busy):
        connection.close()


SHARED_OUT = """
import sys, tinytracer
tinytracer.TinyTracer.is_proxy = lambda self, peer: peer != "127.0.0.2"
tinytracer.main(sys.argv[1:])
"""


def test_one_client_has_its_share_of_connections_and_others_have_theirs(serve: Serve) -> None:
    server = serve(program=("-c", SHARED_OUT), limits={**GENEROUS, "connections": 5})
    where = ("127.0.0.1", server.port)
    with contextlib.ExitStack() as stack:
        greedy = [
            stack.enter_context(socket.create_connection(where, 60, ("127.0.0.2", 0))) for _ in range(8)
        ]
        alive = 0
        for connection in greedy:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: lg\r\n\r\n")
                alive += bool(connection.recv(100))
        assert alive == 5
        assert server.get("/healthz")[0] == 200


def test_one_network_has_its_share_of_connections_and_others_have_theirs(serve: Serve) -> None:
    share = {"connections": 2, "network_share": 0.01, "viewers": 88}  # of 600
    program = SHARED_OUT.replace('peer != "127.0.0.2"', 'not peer.startswith("127.0.9.")')
    server = serve(program=("-c", program), limits={**GENEROUS, **share})
    where = ("127.0.0.1", server.port)
    with contextlib.ExitStack() as stack:

        def is_served(client: str) -> bool:
            connection = stack.enter_context(socket.create_connection(where, 60, (client, 0)))
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: lg\r\n\r\n")
                return bool(connection.recv(100))
            return False

        assert [is_served(f"127.0.9.{number}") for number in range(1, 11)] == [True] * 6 + [False] * 4
        assert is_served("127.0.8.1")


@pytest.mark.parametrize("accept", MEDIA)
def test_client_that_leaves_a_request_behind_has_gone(serve: Serve, accept: str) -> None:
    server = serve()
    connection = server.begin(f"{V1}/sleep", accept)
    children = server.wait_for_children()
    connection.sendall(f"GET {V1}/sleep HTTP/1.1\r\nHost: lg\r\n\r\n".encode() * 2)
    time.sleep(0.2)
    connection.close()
    assert soon_gone(*children)


def test_many_requests_at_once_on_one_connection_are_not_queued(serve: Serve) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: lg\r\n\r\n" * 300)
        with contextlib.suppress(OSError):
            answers = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answers.count(b"HTTP/1.1 200") <= 10
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: lg\r\n\r\n" * 3)
        seen = b""
        while seen.count(b"HTTP/1.1 200") < 3:
            seen += connection.recv(65536)


def run(*arguments: str, cwd: Path = HERE, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(HERE / "tinytracer.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, **environ},
        check=False,
    )


def test_connection_is_accepted_as_soon_as_the_address_is_logged(tmp_path: Path) -> None:
    script = """\
import logging, socket, sys
import tinytracer
class Connect(logging.Handler):
    def emit(self, record):
        if "Listening" in record.getMessage():
            socket.create_connection(("127.0.0.1", int(sys.argv[1])))
            print("connected", flush=True)
            tinytracer.os.kill(tinytracer.os.getpid(), 15)
logging.getLogger("tinytracer").addHandler(Connect())
tinytracer.main(["--config", sys.argv[2], "--listen", f"127.0.0.1:{sys.argv[1]}"])
"""
    argv = [sys.executable, "-c", script, str(free_port()), str(configuration(tmp_path))]
    done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "connected\n", done.stderr


def test_listens_on_several_addresses_and_says_so(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    path = tmp_path / "socket"
    leftover = socket.socket(socket.AF_UNIX)
    leftover.bind(str(path))
    leftover.close()
    port = free_port()
    listen = [f"127.0.0.1:{port}", f"[::1]:{port}", f"unix:{path}"]
    argv = [sys.executable, "tinytracer.py", "serve", "--config", str(config)]
    server = Server([*argv, *(part for each in listen for part in ("--listen", each))], port)
    server.wait_until_ready()
    for family, where in ((socket.AF_INET6, ("::1", port)), (socket.AF_UNIX, str(path))):
        with socket.socket(family) as connection:
            connection.connect(where)
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.0 200")
    server.process.terminate()
    _, log = server.process.communicate(timeout=60)
    assert server.process.returncode == 0
    assert f"http://127.0.0.1:{port}/" in log
    assert f"http://[::1]:{port}/" in log
    assert f"unix:{path}" in log


@pytest.mark.parametrize(
    ("listen", "told"),
    [
        *((listen, "expected HOST:PORT") for listen in ("8080", "127.0.0.1:http", "127.0.0.1:99999", ":")),
        ("nosuch.invalid:80", "not known"),
        ("203.0.113.200:80", "choose an address that this machine has"),
        ("unix:/no/such/x", "No such file"),
        ("unix:/no/such/x", "make its folder first"),
    ],
)
def test_bad_listen_address_says_what_is_wrong(tmp_path: Path, listen: str, told: str) -> None:
    done = run("--config", str(configuration(tmp_path)), "--listen", listen)
    assert done.returncode == 1
    assert f"--listen {listen}: " in done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_unix_path_with_a_file_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    done = run("--config", str(configuration(tmp_path)), "--listen", f"unix:{file}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert file.read_text() == "precious"


def test_exit_status_is_known_where_sigchld_was_ignored(tmp_path: Path) -> None:
    port = free_port()
    config = configuration(tmp_path, commands={"no": {"cmd": ["false"]}})
    ignore = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    start = f"{ignore}; os.execv(sys.argv[1], sys.argv[1:])"
    program = [sys.executable, "tinytracer.py", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    server = Server([sys.executable, "-c", start, *program], port)
    server.wait_until_ready()
    try:
        assert json.loads(server.get(f"{V1}/no")[2])["status"] == "fail"
    finally:
        server.stop()


def test_port_in_use_is_said_and_ends_with_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(
            "--config", str(configuration(tmp_path)), "--listen", f"127.0.0.1:{taken.getsockname()[1]}"
        )
    assert done.returncode == 1
    assert "in use" in done.stderr


def test_check_accepts_what_works_and_names_what_is_missing(tmp_path: Path) -> None:
    assert run("check", "--config", str(configuration(tmp_path))).returncode == 0
    commands = {
        "one": {"cmd": ["no-such-tool"]},
        "two": {"cmd4": ["/no/such/tool", "{{TARGET}}"]},
        "ok": {"cmd": ["true"]},
    }
    done = run("check", "--config", str(configuration(tmp_path, commands=commands)))
    assert done.returncode == 1
    assert "commands.one.cmd" in done.stderr
    assert "commands.two.cmd4" in done.stderr
    assert "commands.ok" not in done.stderr


def test_every_error_of_a_configuration_is_listed_with_its_path(tmp_path: Path) -> None:
    commands = {"ping": {"cmd4": "cat /etc/passwd; ping {{TARGET}}"}, "mtr": {"cmd4": 5}}
    config = configuration(tmp_path, commands=commands, nonsense=1)
    for action, status, mark in (("check", 2, "ERROR: "), ("serve", 1, "")):
        done = run(action, "--config", str(config))
        assert done.returncode == status
        for path in ("commands.ping.cmd4: ", "commands.mtr.cmd4: ", "nonsense: "):
            assert any(line.startswith(mark + path) for line in done.stderr.splitlines()), done.stderr


def test_missing_configuration_file_is_an_error_when_it_was_named(tmp_path: Path) -> None:
    done = run("--config", str(tmp_path / "none.json"))
    assert done.returncode == 1
    assert "none.json" in done.stderr
    assert run("check", TINYTRACER_CONFIG=str(tmp_path / "none.json")).returncode == 2


def test_version_and_help() -> None:
    assert re.fullmatch(r"TinyTracer \d+\.\d+\.\d+\n", run("--version").stdout)
    assert {"serve", "check"} <= set(run("--help").stdout.split())
    assert "--listen" in run("serve", "--help").stdout
    assert "--listen" not in run("check", "--help").stdout


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_server_whose_starter_has_closed_its_streams_runs_commands(tmp_path: Path, closed: str) -> None:
    port = free_port()
    commands = {"say": {"cmd": ["sh", "-c", "cat; echo out; echo error >&2"]}}
    config = str(configuration(tmp_path, commands=commands, limits=GENEROUS))
    argv = [sys.executable, "tinytracer.py", "--config", config, "--listen", f"127.0.0.1:{port}"]
    server = Server(["sh", "-c", f'exec "$@" {closed}', "sh", *argv], port)
    try:
        server.wait_until_ready()
        assert server.json(f"{V1}/say")["data"]["output"] == ["out", "error"]
        streams = [os.readlink(f"/proc/{server.process.pid}/fd/{number}") for number in range(3)]
        assert not any(each.startswith(("socket", "anon_inode")) for each in streams), streams
    finally:
        server.stop()
    assert server.process.returncode == 0


def test_nothing_is_read_or_built_at_import(tmp_path: Path) -> None:
    script = "import tinytracer, sys; print('waitress' in sys.modules, 'argparse' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE), "TINYTRACER_CONFIG": "/no/such/file"},
    )
    assert done.stdout == "False False\n"


def test_log_that_nobody_reads_holds_nothing_up(serve: Serve) -> None:
    server = serve()
    for _ in range(1000):  # each leaves a line of more than 100 bytes, and a pipe takes 65,536
        assert server.get(f"{V1}/nosuch")[0] == 404
    server.process.terminate()
    log = server.process.communicate(timeout=60)[1]
    assert 60_000 < len(log) <= 65_536
    lines = log.partition("INFO: Listening")[2].splitlines()[1:-1]
    assert len(lines) > 300
    assert all(line.startswith("time=") for line in lines)
