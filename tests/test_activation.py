"""Sockets that somebody else has opened: systemd, or what does the same."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import HERE, Server, configuration, free_port, soon

PROGRAM = [sys.executable, str(HERE / "tinytracer.py")]
# What systemd does between fork and exec: descriptors from 3 on, and whose they are.
START = """
import os, sys
for number, each in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(each, 100 + number)
for number, each in enumerate(sys.argv[1].split(",")):
    os.dup2(100 + number, 3 + number)
os.environ.update(LISTEN_PID=sys.argv[2] or str(os.getpid()), LISTEN_FDS=sys.argv[3], LISTEN_FDNAMES="a:b")
os.execv(sys.argv[4], sys.argv[4:])
"""


def argv(sockets: list[socket.socket], count: str, *arguments: str, pid: str = "") -> list[str]:
    numbers = ",".join(str(each.fileno()) for each in sockets)
    return [sys.executable, "-c", START, numbers, pid, count, *PROGRAM, *arguments]


def run(sockets: list[socket.socket], count: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(sockets, count, *arguments),
        pass_fds=[each.fileno() for each in sockets],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def healthz(family: socket.AddressFamily, where: object) -> bytes:
    with socket.socket(family) as connection:
        connection.settimeout(60)
        connection.connect(where)  # type: ignore[arg-type]
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(1000), b""))


def test_systemds_own_starter_hands_its_socket_over(tmp_path: Path) -> None:
    starter = shutil.which("systemd-socket-activate")
    assert starter
    port = free_port()
    options = ["--listen", f"127.0.0.1:{port}", "--setenv", "PYTHONWARNINGS"]
    argv = [starter, *options, *PROGRAM, "--config", str(configuration(tmp_path))]
    server = Server(argv, port)
    try:
        server.wait_until_ready()  # whose first request starts the program
        server.process.terminate()
        log = server.process.communicate(timeout=60)[1]
        assert server.process.returncode == 0
        assert f"Listening on http://127.0.0.1:{port}/" in log
        assert ":8080" not in log
    finally:
        server.stop()


def test_several_sockets_are_served_and_none_besides(tmp_path: Path, listening: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "socket"))
        other.listen()
        process = subprocess.Popen(
            argv([listening, other], "2", "--config", str(configuration(tmp_path))),
            pass_fds=[listening.fileno(), other.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            for each in (listening, other):
                assert healthz(each.family, each.getsockname()).endswith(b"ok")
            environ = Path(f"/proc/{process.pid}/fd")
            assert len(list(environ.iterdir())) > 4
        finally:
            process.terminate()
            log = process.communicate(timeout=60)[1]
        assert process.returncode == 0
        assert log.count("Listening on") == 2
        assert (tmp_path / "socket").exists()  # it is not ours to remove


def test_address_that_is_named_is_listened_on_as_well(tmp_path: Path, listening: socket.socket) -> None:
    port = free_port()
    options = ["--config", str(configuration(tmp_path)), "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        argv([listening], "1", *options), pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL
    )
    try:
        assert healthz(listening.family, listening.getsockname()).endswith(b"ok")
        assert healthz(socket.AF_INET, ("127.0.0.1", port)).endswith(b"ok")
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_sockets_for_another_process_are_not_touched(tmp_path: Path, listening: socket.socket) -> None:
    port = free_port()
    options = ["--config", str(configuration(tmp_path)), "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        argv([listening], "1", *options, pid=str(os.getpid())),
        pass_fds=[listening.fileno()],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert soon(lambda: _answers(port))
    finally:
        process.terminate()
        log = process.communicate(timeout=60)[1]
    assert log.count("Listening on") == 1


def _answers(port: int) -> bool:
    try:
        return healthz(socket.AF_INET, ("127.0.0.1", port)).endswith(b"ok")
    except OSError:
        time.sleep(0.05)
        return False


def test_what_does_not_listen_is_refused_with_the_cure(tmp_path: Path) -> None:
    config = ["--config", str(configuration(tmp_path))]
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        for each in (one, datagrams):
            done = run([each], "1", *config)
            assert done.returncode == 1
            assert "LISTEN_FDS: expected sockets that listen: ListenStream= and Accept=no" in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize("count", ["x", "-1", "", "99999"])
def test_number_that_is_none_is_refused(tmp_path: Path, listening: socket.socket, count: str) -> None:
    done = run([listening], count, "--config", str(configuration(tmp_path)))
    assert done.returncode == 1
    assert "LISTEN_FDS: expected a number of sockets" in done.stderr
