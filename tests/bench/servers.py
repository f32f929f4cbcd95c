"""Processes to measure: TinyTracer, the bare application beside it, and what /proc says about them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent.parent.parent
V1 = "/.well-known/looking-glass/v1"
TRUE = f"{V1}/true"
TARGET = "192.0.2.100"
TICKS_A_SECOND = 100  # of /proc/PID/stat
# Cores that the servers keep to. Python's threads on several cores fight for its lock, now more, now less: on
# one core figures are steadier, and higher.
CORES = {int(core) for core in os.environ.get("BENCH_CORES", "").split(",") if core}
START = 20.0  # seconds in which a server has to give its first answer
# Each line tells when it was printed, by a clock that all processes of the machine share.
TICKER = """\
import itertools, time
due = time.time()
for number in itertools.count():
    print(f"#{number} {time.time():.6f};", flush=True)
    due += 0.25
    time.sleep(max(0, due - time.time()))
"""
# The same, and replies of a ping, of which the page draws a picture.
PINGER = TICKER.replace(
    "flush=True",
    'f"64 bytes from 192.0.2.1: icmp_seq={number + 1} ttl=60 time=1.5 ms", sep="\\n", flush=True',
)
QUIET = ["sleep", f"1000.{os.getpid()}"]  # which no other process of the machine is called
LIMITS = {  # which nobody reaches; what is spent comes back as slowly as with limits that are meant
    **dict.fromkeys(("rate", "target_rate", "global_rate", "slot_seconds"), "1000000/day"),
    "burst": 1000000,
    "per_client": 16,
    "per_router": 1100,
    "network_share": 1,
    "concurrent": 32,
    "requests": "1000000/second",
}
MANY_VIEWERS = {**LIMITS, "viewers": 1100, "per_client": 1100, "runtime": 60, "max_runtime": 60}
EIGHT = {
    **json.loads((HERE / "config.json.template").read_text())["commands"],
    "true": {"cmd": ["/bin/true"], "description": "Do nothing"},
    "true to": {"cmd": ["/bin/true", "{{TARGET}}"], "argument": "addr", "description": "Do nothing to it"},
    "pinged": {
        "cmd": [sys.executable, "-ISc", PINGER, "-c", "30", "{{TARGET}}"],
        "argument": "addr",
        "parser": "ping",
    },
    "tick": {"cmd": [sys.executable, "-ISc", TICKER, "{{TARGET}}"], "argument": "addr"},
    "quiet": {"cmd": QUIET, "description": "Wait"},
}
SUMMED_UP = re.compile(r"^Pss: +(\d+) kB", re.MULTILINE)
THREADS = re.compile(r"^Threads:\s+(\d+)", re.MULTILINE)
SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)
LENGTH = re.compile(rb"^content-length: *(\d+)\r$", re.MULTILINE | re.IGNORECASE)
OF_SERVERS = {"connection", "content-length", "date", "transfer-encoding"}  # which each server sets by itself


class Reply(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def etag(self) -> str | None:
        return next((value for name, value in self.headers if name.lower() == "etag"), None)


class Server:
    """A server in a process of its own."""

    def __init__(self, *argv: str, program: str = sys.executable, folder: Path = HERE) -> None:
        self.port = free_port()
        self._kept: socket.socket | None = None
        self._began = time.perf_counter()
        words = [each.replace("PORT", str(self.port)) for each in (program, *argv)]
        nothing = subprocess.DEVNULL
        self.process = subprocess.Popen(words, cwd=folder, stdin=nothing, stdout=nothing, stderr=nothing)
        if CORES:
            os.sched_setaffinity(self.process.pid, CORES)

    def __enter__(self) -> Server:
        self.started = self._first_answer()
        return self

    def __exit__(self, *error: object) -> None:
        self.hang_up()
        self.process.terminate()
        self.process.wait()

    def _first_answer(self) -> float:
        """Return the seconds from the start to the first answer."""
        while (passed := time.perf_counter() - self._began) < START and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.ask_first()
                return passed
            time.sleep(0.002)
        self.process.kill()
        self.process.wait()
        raise SystemExit(f"The server does not start: {self.process.args!r}")

    def ask_first(self) -> None:
        """Ask for something; raises OSError as long as there is no answer."""
        self.seconds("/healthz")

    def get(self, path: str, etag: str | None = None) -> Reply:
        """Ask on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"If-None-Match": etag} if etag else {})
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read())

    def seconds(self, path: str) -> float:
        """Return the seconds that one request takes on a connection that stays open."""
        if self._kept is None:
            self._kept = self.connect()
        began = time.perf_counter()
        self._kept.sendall(request(path))
        answer = bytearray()
        while not _is_complete(answer):
            data = self._kept.recv(65536)
            if not data:
                raise ConnectionError(f"The server closed the connection while it answered {path}.")
            answer += data
        return time.perf_counter() - began

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def hang_up(self) -> None:
        """Close the connection that stays open otherwise."""
        if self._kept:
            self._kept.close()
            self._kept = None

    def pss(self) -> int:
        """Return the proportional set size in KiB."""
        return pss_of(self.process.pid)

    def cpu(self) -> float:
        """Return the seconds of CPU that the process has used; its children do not count."""
        user, system = self._proc("stat").rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / TICKS_A_SECOND

    def threads(self) -> int:
        return sum(map(int, THREADS.findall(self._proc("status"))))

    def wakeups(self) -> int:
        """Return how often threads of the process have waited for something, and have got it."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/status")
        return sum(int(count) for task in tasks for count in SWITCHES.findall(task.read_text()))

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()


def pss_of(pid: int) -> int:
    """Return the proportional set size of a process in KiB."""
    return sum(map(int, SUMMED_UP.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def request(path: str, accept: str = "*/*") -> bytes:
    """Return the bytes of a request."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: {accept}\r\n\r\n".encode()


def eight(**limits: Any) -> dict[str, Any]:
    """Return a configuration as real ones are: one router with eight commands."""
    return {"commands": EIGHT, "limits": {**LIMITS, **limits}, "targets": {"deny": []}}


def routers(count: int) -> dict[str, Any]:
    """Return a configuration of so many routers, each with twelve commands."""
    commands = {
        f"show item{number}": {
            "cmd": ["/bin/true", "{{TARGET}}"],
            "argument": "addr",
            "description": f"Show item {number} of the address",
        }
        for number in range(12)
    }
    listed = [{"name": f"r{number}.lg.example.net", "commands": commands} for number in range(count)]
    return {"routers": listed, "limits": LIMITS, "targets": {"deny": []}}


@contextlib.contextmanager
def ours(document: dict[str, Any]) -> Iterator[Server]:
    """Start TinyTracer with a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        config.write_text(json.dumps(document))
        with Server("tinytracer.py", "--config", str(config), "--listen", "127.0.0.1:PORT") as server:
            yield server


@contextlib.contextmanager
def bare(replies: Mapping[str, Sequence[Reply]], threads: int) -> Iterator[Server]:
    """Start the bare application, which gives the replies that TinyTracer has given."""
    rows = [
        (path.removesuffix(f"/{TARGET}"), asked, status, _own(headers), body.decode("latin-1"))
        for path, (full, *conditional) in replies.items()
        for asked, (status, headers, body) in ((None, full), *((full.etag, each) for each in conditional))
    ]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.json")
        table.write_text(json.dumps(rows))
        with Server("-m", "tests.bench.bare", "127.0.0.1:PORT", str(threads), str(table)) as server:
            yield server


@contextlib.contextmanager
def both(document: dict[str, Any], *paths: str) -> Iterator[tuple[Server, Server]]:
    """Start a bare application and TinyTracer, with as many threads and the same answers at ``paths``."""
    with ours(document) as one:
        replies = {}
        for path in ("/", "/healthz", *paths):
            full = one.get(path)
            replies[path] = [full, one.get(path, full.etag)] if full.etag else [full]
        with bare(replies, max(1, one.threads() - 1)) as other:
            yield other, one


def allow_many_files() -> None:
    """Raise the limit on open files as far as this user may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _is_complete(answer: bytearray) -> bool:
    header, end, body = answer.partition(b"\r\n\r\n")
    length = LENGTH.search(header + b"\r\n") if end else None
    return length is not None and len(body) >= int(length[1])


def _own(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in OF_SERVERS]
