"""What several test files share: commands, servers, and ways to ask and to look at processes."""

from __future__ import annotations

import atexit
import contextlib
import copy
import gc
import http.client
import itertools
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from wsgiref.validate import validator

import jsonschema
import pytest
from hypothesis import settings
from webob import Request

from examples.lab.lab import Lab
from lookingglass import configuration as conf
from lookingglass.guard import Lease
from lookingglass.problems import Problem
from lookingglass.roll import PROGRAM
from lookingglass.runs import Viewer
from rfc8522 import SOURCES, End
from tinytracer import TinyTracer

V1 = "/.well-known/looking-glass/v1"
HERE = Path(__file__).parent.parent
SAMPLES = HERE / "examples" / "samples"
MEDIA = ("application/json", "text/plain", "text/event-stream")
GENEROUS = {
    **dict.fromkeys(("rate", "target_rate", "global_rate", "slot_seconds"), "1000000/minute"),
    "burst": 1000000,
    "requests": "100000/second",
    **dict.fromkeys(("per_client", "per_router", "downloads"), 1000),
    "network_share": 1,
}
TICKER = "import time\nfor _ in range(30): print(f'{time.time():.6f}', flush=True); time.sleep(0.1)"
ECHO_AND_WAIT = "import sys, time; print(sys.argv[1]); time.sleep(1000)"
COMMANDS: dict[str, Any] = {
    "ping": {
        "cmd4": ["ping", "-4", "-n", "-c", "3", "-i", "0.2", "{{TARGET}}"],
        "cmd6": ["ping", "-6", "-n", "-c", "3", "-i", "0.2", "{{TARGET}}"],
        "parser": "ping",
    },
    "long": {"cmd4": ["ping", "-4", "-n", "-c", "100", "{{TARGET}}"], "parser": "ping"},
    "tick": {"cmd": [sys.executable, "-c", TICKER]},
    "sleep": {"cmd": ["sleep", "1000"]},
    "pid": {"cmd": ["sh", "-c", "echo $$; exec sleep 1000"]},
    "wait": {"cmd": [sys.executable, "-uc", ECHO_AND_WAIT, "{{TARGET}}"]},
    "stubborn": {"cmd": ["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.1; done"]},
    "orphan": {"cmd": ["sh", "-c", "trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $!; wait"]},
    "true": {"cmd": ["true"]},
}
PRINTING: dict[str, Any] = {
    "echo": {
        "cmd4": ["echo", "four", "{{TARGET}}"],
        "cmd6": ["echo", "six", "{{TARGET}}"],
        "description": "Say it",
    },
    "only four": {"cmd4": ["echo", "{{TARGET}}"]},
    "show route": {"cmd": ["echo", "route {{TARGET}}"], "argument": "addr"},
    "show": {"cmd": ["echo", "show"]},
    "fail": {"cmd": ["sh", "-c", "echo no; exit 3"]},
    "lines": {"cmd": ["printf", "a\\n\\nb"]},
    "slow": {"cmd": ["sh", "-c", "echo begin; sleep 1000"]},
    "short": {"cmd": ["sh", "-c", "echo begin; sleep 1000"], "runtime": 0.5},
    "much": {"cmd": ["yes"]},
    "markup": {"cmd": ["printf", "<script>alert(1)</script>\\033[31m&"]},
    "missing": {"cmd": ["/no/such/program"]},
}
# Seconds in which what has to come has come, on a busy machine as well: what is wrong never comes.
PATIENT = 20.0
PORTS = 100  # for each process of tests
Ask = Callable[..., "Reply"]
Serve = Callable[..., "Server"]
T = TypeVar("T")


def sample(name: str) -> str:
    """Return what a real tool has printed."""
    return (SAMPLES / name).read_text()


def examples(count: int) -> int:
    """Return how many examples a property gets that has ``count`` where others have 100."""
    return max(1, count * (settings.default or settings()).max_examples // 100)


def is_part(part: Any, whole: Any) -> bool:
    """Tell whether a part says nothing that the whole does not say; lists grow at their end."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and is_part(value, whole[key]) for key, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) <= len(whole) and all(map(is_part, part, whole))
    return bool(part == whole)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)


class ClosedFile:
    """What a server may hand over: a file that is closed."""

    def fileno(self) -> int:
        raise ValueError("I/O operation on closed file")

    def read(self, size: int) -> bytes:
        return b""

    readline = readlines = __iter__ = read  # as the validator wants it


def build(document: dict[str, Any] | None = None) -> TinyTracer:
    base = {"commands": PRINTING, "limits": GENEROUS, "targets": {"deny": []}}
    return TinyTracer(conf.read({**base, **(document or {})}, Path()))


def asker(application: TinyTracer, prefix: str = "") -> Ask:
    checked = validator(application)

    def ask(path: str, accept: str | None = None, method: str = "GET", **environ: str) -> Reply:
        where: Any = {"SCRIPT_NAME": prefix, "REMOTE_ADDR": "198.51.100.7"}
        request = Request.blank(path, method=method, environ=where)
        if accept is not None:
            request.headers["Accept"] = accept
        request.environ.update(environ)
        response = request.get_response(checked)
        return Reply(response.status_code, dict(response.headers), response.body)

    return ask


def error(reply: Reply, status: int) -> str:
    """Check that a reply is an error envelope and return its message."""
    assert reply.status == status
    assert reply.json["status"] == "error"
    assert reply.json["code"] == status
    assert reply.json["data"]["failure_source"] in SOURCES
    message: str = reply.json["message"]
    assert message
    return message


def sh(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


# --- runs


class Slots:
    """Hand out slots and count them; with a ``refusal`` it hands out none."""

    def __init__(self, refusal: Problem | None = None) -> None:
        self.taken = 0
        self.returned = 0
        self.refusal = refusal

    def __call__(self) -> Lease:
        if self.refusal:
            raise self.refusal
        self.taken += 1
        return Lease(self._give_back)

    def _give_back(self, refund: bool) -> None:
        self.returned += 1

    def are_back(self) -> bool:
        """Tell whether all slots have been given back, or are so soon."""
        return soon(lambda: self.taken == self.returned)


class Latch:
    """Hold scripts up at numbered places until the test lets them go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, number: int = 1) -> str:
        """Return what a script waits with."""
        return f"until [ -e '{self._folder}/{number}' ]; do sleep 0.02; done"

    def open(self, number: int = 1) -> None:
        (self._folder / str(number)).touch()


def hold_up(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> tuple[threading.Event, threading.Event]:
    """Have all calls of a method wait; return the events that one has come, and that they may go."""
    has_come, may_go, method = threading.Event(), threading.Event(), getattr(owner, name)

    def slowly(*arguments: Any) -> Any:
        has_come.set()
        may_go.wait(PATIENT)
        return method(*arguments)

    monkeypatch.setattr(owner, name, slowly)
    return has_come, may_go


def soon(condition: Callable[[], object], seconds: float = PATIENT) -> bool:
    """Tell whether something is so, or comes to be so in time; it is not asked again when it is."""
    end = time.monotonic() + seconds
    while not (is_so := bool(condition())) and time.monotonic() < end:
        time.sleep(0.01)
    return is_so


def at_once(number: int, visit: Callable[[int], T]) -> list[T]:
    """Call something in as many threads, which begin together and have numbers; return what it returns."""
    together = threading.Barrier(number)

    def begin(each: int) -> T:
        together.wait(60)
        return visit(each)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(begin, range(number)))


def await_text(viewer: Viewer) -> str:
    """Return the next text of a viewer; "" when there is none in time, or at the end."""
    end = time.monotonic() + PATIENT
    while (text := viewer.read()) == "" and time.monotonic() < end:
        viewer.wait(0.2)
    return text or ""


def read_out(viewer: Viewer, seconds: float = PATIENT) -> tuple[str, End]:
    """Read to the end without leaving."""
    end = time.monotonic() + seconds
    while viewer.read() is not None:
        assert time.monotonic() < end, "the viewer waits for ever"
        viewer.wait(max(0.0, end - time.monotonic()))
    return viewer.result()


def to_the_end(viewer: Viewer) -> tuple[str, End]:
    """Read to the end, and leave."""
    try:
        return read_out(viewer)
    finally:
        viewer.close()


def first_number(viewer: Viewer) -> int:
    """Wait for a number in the output, the pid that a child tells."""
    text = ""
    while "\n" not in text:
        more = await_text(viewer)
        assert more, f"no number in {text!r}"
        text += more
    return int(text)


def open_files() -> set[str]:
    """Return what this process has open, beside what only waits for the collector of cycles."""
    gc.collect()
    found = set()
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{each} {os.readlink(f'/proc/self/fd/{each}')}")
    return found


def stat(pid: int | str) -> list[str]:
    """Return a process's state, parent and so on; nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    return stat(pid)[:1] not in ([], ["Z"])


def gone_within(seconds: float, *pids: int) -> bool:
    """Tell whether processes end in time; it is for those that have to stay."""
    return soon(lambda: not any(map(is_alive, pids)), seconds)


def soon_gone(*pids: int) -> bool:
    """Tell whether processes have ended, or do so soon."""
    return gone_within(PATIENT, *pids)


def children() -> set[int]:
    """Return this process's children, zombies included."""
    parent = [str(os.getpid())]
    return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and stat(pid)[1:2] == parent}


def lab_prefix() -> str:
    """Return what no other lab on this machine begins its names with."""
    return f"t{secrets.token_hex(2)}-"


def effort(run: Callable[[], object]) -> float:
    """Return the seconds of CPU that the quickest of three runs takes in this thread."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        run()
        times.append(time.thread_time() - began)
    return min(times)


def cpu_seconds(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connections_to(port: int) -> int:
    """Count the connections that a server has not closed, by their states in /proc/net/tcp."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] in {"01", "08"} for row in rows)


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Yield a new folder that is a file system of its own; it needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _claim_ports() -> int:
    """Return the first port of a block that no other process of tests in this network has.

    A block belongs to whoever has bound its name. It is below the ports that the kernel gives to clients.
    """
    for first in range(20000, 32000, PORTS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0ports of tests from {first}")
        except OSError:
            claim.close()
            continue
        atexit.register(claim.close)
        return first
    raise RuntimeError("too many tests run at once")


FIRST_PORT, NEXT_PORT = _claim_ports(), itertools.count()


def free_port() -> int:
    """Return a port that nobody else is given before a server has taken it."""
    for _ in range(PORTS):
        port = FIRST_PORT + next(NEXT_PORT) % PORTS
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("all ports are taken")


def descendants(pid: int) -> set[int]:
    """Return all living processes below ``pid``."""
    parents = {
        int(each): int(fields[1]) for each in os.listdir("/proc") if each.isdigit() and (fields := stat(each))
    }
    found: set[int] = set()
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found |= level
    return {each for each in found if is_alive(each)}


def is_copy_of_its_parent(pid: int) -> bool:
    """Tell whether a process was forked and runs no program of its own yet."""
    with contextlib.suppress(OSError, IndexError):
        parent = Path(f"/proc/{stat(pid)[1]}/cmdline").read_bytes()
        return Path(f"/proc/{pid}/cmdline").read_bytes() == parent
    return False


def watchers(pid: int) -> set[int]:
    """Return the watchers that a process or a child of it has, by their command line."""
    found = set()
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            if PROGRAM in Path(f"/proc/{each}/cmdline").read_text(errors="replace"):
                found.add(each)
    return found


def commands_of(pid: int) -> set[int]:
    """Return what runs below a process, without watchers."""
    return descendants(pid) - watchers(pid)


def configuration(folder: Path, **document: Any) -> Path:
    path = folder / "config.json"
    base: dict[str, Any] = {"commands": COMMANDS, "limits": GENEROUS, "targets": {"deny": []}}
    path.write_text(json.dumps({**base, **document}))
    return path


def read_until(connection: socket.socket, pattern: bytes) -> re.Match[bytes]:
    seen = b""
    while not (match := re.search(pattern, seen)):
        data = connection.recv(65536)
        assert data, f"ended with {seen[-200:]!r}"
        seen += data
    return match


class Server:
    """A server in a process of its own, and ways to ask it."""

    def __init__(
        self,
        argv: list[str],
        port: int,
        environ: dict[str, str] | None = None,
        prefix: str = "",
        cwd: Path = HERE,
    ) -> None:
        self.port = port
        self.prefix = prefix
        self.process = subprocess.Popen(
            argv, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})}, cwd=cwd
        )

    def wait_until_ready(self) -> None:
        end = time.monotonic() + 2 * PATIENT
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/healthz")[0] == 200:
                    return
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(f"the server does not answer: {self.process.communicate()[1]}")

    def get(
        self, path: str, accept: str = "*/*", timeout: float = PATIENT
    ) -> tuple[int, dict[str, str], bytes]:
        return self._ask("GET", path, accept, timeout)

    def post(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return self._ask("POST", path, "*/*", PATIENT)

    def _ask(self, method: str, path: str, accept: str, timeout: float) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, self.prefix + path, headers={"Accept": accept})
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        return json.loads(self.get(path)[2])

    def begin(self, path: str, accept: str = "*/*") -> socket.socket:
        """Send a request and leave the connection to the caller."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENT)
        request = f"GET {self.prefix}{path} HTTP/1.1\r\nHost: lg\r\nAccept: {accept}\r\n\r\n"
        connection.sendall(request.encode())
        return connection

    def children(self) -> set[int]:
        """Return what runs below the server, without watchers."""
        return commands_of(self.process.pid)

    def wait_for_children(self, more_than: int = 0) -> set[int]:
        soon(lambda: len(self.children()) > more_than)
        found: set[int] = set()
        # A watcher is told from a command when it has begun; workers of gunicorn always look like copies.
        soon(lambda: not any(map(is_copy_of_its_parent, self.children())), 2)
        while found != (found := self.children()):
            time.sleep(0.05)
        return found

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=PATIENT)


def build_pyz(folder: Path, **environ: str) -> Path:
    """Build the one file, which stands alone in a folder then."""
    file = folder / "one" / "tinytracer.pyz"
    file.parent.mkdir()
    argv = ["make", "pyz", f"BUILD={folder}", f"PYZ={file}"]
    subprocess.run(
        argv, cwd=HERE, env={**os.environ, **environ}, check=True, capture_output=True, timeout=180
    )
    return file


class Glass:
    """TinyTracer in the lab's looking glass host, asked from there."""

    def __init__(self, lab: Lab, config: Path, port: int = 8080) -> None:
        self.lab = lab
        self.home = f"http://127.0.0.1:{port}"
        program = [sys.executable, str(HERE / "tinytracer.py")]
        argv = [*program, "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen([*lab.enter("lg"), *argv], stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 2 * PATIENT
        while lab.exec("lg", ["curl", "-sf", f"{self.home}/healthz"]).stdout != "ok":
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise AssertionError(f"TinyTracer does not start in the lab: {self.process.communicate()[1]}")
            time.sleep(0.05)

    def get(self, path: str, *options: str) -> str:
        url = f"{self.home}{V1}/{path}"
        return self.lab.exec("lg", ["curl", "-sN", *options, url]).stdout

    def ask(self, path: str) -> tuple[str, dict[str, Any]]:
        envelope = json.loads(self.get(path))
        status = envelope["status"]
        return status, envelope if status == "error" else envelope["data"]

    def arrivals(self, path: str, part: str) -> list[float]:
        """Return when each line with ``part`` arrived, by the monotonic clock."""
        argv = [*self.lab.enter("lg"), "curl", "-sN", "-H", "Accept: text/plain", f"{self.home}{V1}/{path}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            return [time.monotonic() for line in process.stdout or () if part in line]

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=PATIENT)


# --- configurations, right and wrong

SCHEMA_TEXT: dict[str, Any] = json.loads((HERE / "config.schema.json").read_text())
SCHEMA = jsonschema.Draft202012Validator(SCHEMA_TEXT)
PING = {"cmd4": ["ping", "-4", "{{TARGET}}"], "cmd6": ["ping", "-6", "{{TARGET}}"]}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return a good configuration, but with ``value`` at a path such as ``commands/ping/cmd4``."""
    document: dict[str, Any] = {"commands": {"ping": copy.deepcopy(PING)}}
    inner = document
    *keys, last = path.split("/")
    for key in keys:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return document


def errors_of(document: object, folder: Path = HERE) -> tuple[str, ...]:
    """Return what is wrong with a configuration, which has to be something."""
    with pytest.raises(conf.ConfigurationError) as caught:
        conf.read(document, folder)
    assert caught.value.errors
    return caught.value.errors
