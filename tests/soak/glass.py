"""The looking glass under test: as a program of its own, or inside this process, to look deeper."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lookingglass import configuration as conf
from lookingglass import journal, serving
from lookingglass.roll import Roll
from tests.bench.servers import SUMMED_UP, THREADS
from tests.support import HERE, free_port, soon, stat, watchers
from tinytracer import TinyTracer

LIMITS: dict[str, Any] = {
    "runtime": 2,
    "max_runtime": 60,
    "concurrent": 24,
    "per_router": 16,
    "viewers": 90,
    "per_client": 3,
    "network_share": 0.25,
    "rate": "240/minute",
    "burst": 40,
    "target_rate": "3000/minute",
    "global_rate": "30000/minute",
    "slot_seconds": "1200/minute",
}
MARK = f"1000.{os.getpid()}"  # seconds; no other process of the machine sleeps as long
RECORD = re.compile(r"^time=\S+ client=(\S+) .*outcome=(\w+)", re.MULTILINE)
FAULT = re.compile(  # with the traceback behind it
    r"^.*(?:a callback failed|a request failed|an answer in progress failed|lines were lost)"
    r".*(?:\n(?!time=|INFO|WARNING|ERROR).*)*|^Traceback.*(?:\n(?!time=|INFO|WARNING|ERROR).*)*",
    re.MULTILINE,
)
FIGURE = re.compile(r"^(tinytracer_\w+?)(?:_total)?(?:\{(.*)\})? ([0-9.e+-]+)$", re.MULTILINE)


def commands() -> dict[str, Any]:
    """Return commands that behave as badly as children can."""

    def shell(script: str, **more: Any) -> dict[str, Any]:
        return {"cmd": ["sh", "-c", script], **more}

    def at(script: str) -> dict[str, Any]:  # a shell may not see the target, but its arguments may differ
        return {"cmd": [sys.executable, "-ISc", script, "{{TARGET}}"], "argument": "host", "probes": False}

    ping = ["ping", "-4", "-n", "-c", "5", "-i", "0.2", "{{TARGET}}"]
    six = ["ping", "-6", "-n", "-c", "5", "-i", "0.2", "{{TARGET}}"]
    return {
        "ping": {"cmd4": ping, "cmd6": six, "parser": "ping"},
        "echo": {"cmd": ["echo", "{{TARGET}}"], "argument": "host", "probes": True},
        "lines": at(
            "import time\nfor n in range(20): print('line', n, flush=True); time.sleep(0.05)\nprint('end')"
        ),
        "sleep": shell(f"echo begin; exec sleep {MARK}"),
        "hold": {**at(f"import time\nprint('begin', flush=True)\ntime.sleep({MARK})"), "runtime": 60},
        "stubborn": shell("trap '' TERM; echo begin; while :; do sleep 0.1; done", runtime=0.5),
        "flood": {"cmd": ["yes", "so long a line that a little of them is much"]},
        "stream": shell("while :; do echo so long a line that a few of them are much; sleep 0.001; done"),
        "mute": shell("echo last; exec >&- 2>&-; sleep 0.7"),
        "mute long": shell(f"echo last; exec >&- 2>&-; exec sleep {MARK}"),
        "orphan": shell(f"(trap '' TERM; exec sleep {MARK}) & echo began"),
        "fail": shell("echo no; exit 3"),
        "die": shell("echo no; kill -9 $$"),
        "missing": {"cmd": ["/no/such/program"]},
    }


def document(folder: Path) -> dict[str, Any]:
    """Return the configuration of two routers."""
    files = folder / "testfiles"
    files.mkdir(exist_ok=True)
    (files / "1MB.bin").write_bytes(os.urandom(1 << 20))
    routers = [{"name": f"r{number}.example.net", "commands": commands()} for number in (1, 2)]
    return {
        "routers": routers,
        "limits": LIMITS,
        "targets": {"deny": []},
        "trustproxy": True,
        "log_clients": "full",
        "metrics": ["127.0.0.0/8"],
        "testfiles": str(files),
    }


class Watched:
    """A server that is running, what it logs, and what it holds."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "log"
        self.document = document(folder)
        self.config = folder / "config.json"
        self.config.write_text(json.dumps(self.document))
        self.pid = 0
        self._starts = 0

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> list[str]:
        """End it, and return what was wrong with its end."""
        raise NotImplementedError

    def inside(self) -> dict[str, int]:
        """Return how many of each it holds, all of which have to be 0 at rest."""
        return {}

    def children(self) -> set[int]:
        """Return its children, zombies included, but not its watcher."""
        parent = [str(self.pid)]
        found = {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and stat(pid)[1:2] == parent}
        return found - watchers(self.pid)

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return sum(map(int, THREADS.findall(Path(f"/proc/{self.pid}/status").read_text())))

    def memory(self) -> int:
        """Return the proportional set size in KiB."""
        return sum(map(int, SUMMED_UP.findall(Path(f"/proc/{self.pid}/smaps_rollup").read_text())))

    def records(self) -> Counter[str]:
        """Return how many records of the journal each address has."""
        return Counter(client for client, _ in RECORD.findall(self.log.read_text()))

    def outcomes(self) -> Counter[str]:
        return Counter(word for _, word in RECORD.findall(self.log.read_text()))

    def faults(self) -> list[str]:
        return FAULT.findall(self.log.read_text())

    def wait_until_ready(self) -> None:
        """Wait until it listens, for the first time or once more."""
        self._starts += 1
        says = f"127.0.0.1:{self.port}/"
        assert soon(lambda: self.log.read_text().count(says) == self._starts, 20), self.log.read_text()[-500:]


class Program(Watched):
    """tinytracer.py."""

    def start(self) -> None:
        argv = [sys.executable, "tinytracer.py", "--config", str(self.config)]
        listen = ["--listen", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*argv, *listen], cwd=HERE, stderr=log)
        self.pid = self._process.pid
        self.wait_until_ready()

    def stop(self) -> list[str]:
        if self._process.poll() is not None:
            return [f"the server has ended with {self._process.returncode}"]
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return ["the server did not end in 30 s"]
        seconds = time.monotonic() - began
        wrong = [f"the server ended with {status}"] if status else []
        return wrong + ([f"the server took {seconds:.1f} s to end"] if seconds > 4 else [])


class Inside(Watched):
    """The same server in a thread of this process."""

    def start(self) -> None:
        self.pid = os.getpid()
        logging.basicConfig(filename=self.log, level=logging.INFO, format="%(message)s", force=True)
        journal.log.propagate = True
        self._glass = TinyTracer(conf.read(self.document, self.config.parent))
        settings = serving.Settings(
            serving._connections(LIMITS["viewers"]), 1000, 1000, self._glass.is_proxy, serving.THREADS
        )
        sockets = serving.open_sockets([f"127.0.0.1:{self.port}"], "")
        self._server = serving.Server(self._glass, sockets, settings)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        logging.info("http://127.0.0.1:%d/", self.port)
        self.wait_until_ready()

    def stop(self) -> list[str]:
        self._server.stop()
        self._thread.join()
        self._glass.close()
        self._server.close()
        return []

    def inside(self) -> dict[str, int]:
        gc.collect()
        glass, server = self._glass._glass, self._server
        runs, resolver, store = glass.runs, glass._aimer._resolver, glass._guard._store
        turnstile = self._glass._turnstile
        listening = len(server._sockets)
        held: Any = store._held  # type: ignore[attr-defined]
        callbacks = [*runs.loop._callbacks.values(), *runs.loop._moments]
        wanted = [each for each in callbacks if not isinstance(getattr(each, "__self__", None), Roll)]
        return {
            "connections": len(server.channels),
            "clients of connections": len(server._clients),
            "connections to pump": len(server._waiting) + server._pumps,
            "descriptors of the server's loop": len(server.loop._callbacks) - listening,
            "moments of the server's loop": len(server.loop._moments),
            "runs": len(runs.alive) + len(runs._runs),
            "callbacks of the runs' loop": len(wanted),
            "open records": len(glass.journal.open),
            "look-ups": len(resolver._under_way) + resolver._places.taken,
            "shares": len(held),
            "downloads": len(turnstile._held) + len(turnstile._held_by_network),
        }
