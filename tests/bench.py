"""Measure what the README promises, beside a bare waitress application in the same run.

``make bench`` prints a table; nothing here fails a build, for machines differ: compare the ratios.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

RUN = "/.well-known/looking-glass/v1/true"
ROUNDS = 400
STARTS = 7
HERE = Path(__file__).parent.parent
BARE = """
import sys, waitress
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
waitress.serve(application, listen=sys.argv[1], threads=72, _quiet=True)
"""
SPAWN = """
import os, sys, time
for line in sys.stdin:
    began = time.perf_counter()
    pid = os.fork()
    if not pid:
        os.execv("/bin/true", ["true"])
    os.waitpid(pid, 0)
    print(time.perf_counter() - began, flush=True)
"""
COMPLETE = re.compile(rb".*?Content-Length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL)
LIMITS = {"rate": "1000000/second", "burst": 1000000, "per_client": 64}


class Server:
    """A server process on a port of its own."""

    def __init__(self, *argv: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.connection: socket.socket | None = None
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [each.replace("PORT", str(self.port)) for each in argv], cwd=HERE, stderr=subprocess.DEVNULL
        )

    def first_answer(self) -> float:
        """Return the seconds from the start to the first answer."""
        while time.perf_counter() - self.began < 20:
            with contextlib.suppress(OSError):
                self.timed("/healthz")
                return time.perf_counter() - self.began
            time.sleep(0.002)
        raise SystemExit("the server does not start")

    def timed(self, path: str) -> float:
        """Return the seconds that one request takes on a connection that stays open."""
        if self.connection is None:
            self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        began = time.perf_counter()
        self.connection.sendall(request)
        answer = self.connection.recv(65536)
        while not (match := COMPLETE.match(answer)) or len(answer) < match.end() + int(match[1]):
            answer += self.connection.recv(65536)
        return time.perf_counter() - began

    def pss(self) -> float:
        """Return the proportional set size in MiB."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        match = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
        return int(match[1]) / 1024 if match else float("nan")

    def stop(self) -> None:
        """End the server."""
        if self.connection:
            self.connection.close()
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def servers() -> Iterator[list[tuple[str, ...]]]:
    """Yield the command lines of the bare application and of TinyTracer."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.json")
        config.write_text(json.dumps({"commands": {"true": {"cmd": ["/bin/true"]}}, "limits": LIMITS}))
        listen = "127.0.0.1:PORT"
        yield [
            (sys.executable, "-c", BARE, listen),
            (sys.executable, "tinytracer.py", "--config", str(config), "--listen", listen),
        ]


def measure(argvs: list[tuple[str, ...]]) -> dict[str, list[float]]:
    """Return medians for the bare application and for TinyTracer, measured in turns."""
    starts: list[list[float]] = [[], []]
    for _ in range(STARTS):
        for number, argv in enumerate(argvs):
            server = Server(*argv)
            starts[number].append(server.first_answer())
            server.stop()
    running = [Server(*argv) for argv in argvs]
    for server in running:
        server.first_answer()
    time.sleep(1)
    memory = [server.pss() for server in running]
    requests: list[list[float]] = [[], []]
    runs: list[float] = []
    bare_spawns: list[float] = []
    spawner = subprocess.Popen(
        [sys.executable, "-c", SPAWN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    if not spawner.stdin or not spawner.stdout:
        raise SystemExit("no pipes")
    for _ in range(ROUNDS):
        for number, server in enumerate(running):
            requests[number].append(server.timed("/healthz"))
        print(file=spawner.stdin, flush=True)
        bare_spawns.append(float(spawner.stdout.readline()))
        runs.append(running[1].timed(RUN))
    spawner.stdin.close()
    spawner.wait()
    for server in running:
        server.stop()
    middle = statistics.median
    return {
        "idle memory (PSS), MiB": memory,
        "start to first answer, s": [middle(each) for each in starts],
        "request /healthz, ms": [1000 * middle(each) for each in requests],
        "fork and exec of /bin/true | a run of it, ms": [1000 * middle(bare_spawns), 1000 * middle(runs)],
    }


def main() -> None:
    with servers() as argvs:
        table = measure(argvs)
    print(f"{'':48}{'bare':>10}{'TinyTracer':>12}{'ratio':>8}")
    for name, (bare, ours) in table.items():
        print(f"{name:48}{bare:10.3f}{ours:12.3f}{ours / bare:8.2f}")
    spawn, run = table["fork and exec of /bin/true | a run of it, ms"]
    request = table["request /healthz, ms"][0]
    print(f"{'API overhead over fork and exec, ms':48}{'':10}{run - spawn:12.3f}")
    print(f"{'  of that, over a bare request as well, ms':48}{'':10}{run - spawn - request:12.3f}")
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {ROUNDS} rounds, medians")


if __name__ == "__main__":
    main()
