"""A server that reads its configuration again: nothing is lost, and a broken file changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from lookingglass import configuration as conf
from lookingglass.reloading import Newest, changes, running, summary
from tests.support import (
    GENEROUS,
    HERE,
    PATIENT,
    V1,
    Serve,
    Server,
    asker,
    configuration,
    error,
    free_port,
    is_alive,
    read_until,
    soon,
    soon_gone,
)
from tinytracer import TinyTracer

RELOADED = "The configuration is reloaded."
HOLD = {"cmd": ["sh", "-c", "echo begun; exec sleep 1000"]}
FEW = {**GENEROUS, "burst": 2, "rate": "2/day"}


class Watched:
    """A server, whose log is read as it comes."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.server.process.stderr
        self.lines.extend(iter(self.server.process.stderr.readline, ""))

    def says(self, text: str, times: int = 1) -> bool:
        return soon(lambda: sum(text in line for line in self.lines) >= times)

    def reload(self) -> None:
        self.server.process.send_signal(signal.SIGHUP)

    def ask(self, path: str) -> Any:
        return self.server.json(f"{V1}/{path}")

    def stop(self) -> None:
        self.server.process.terminate()
        self.server.process.wait(10)
        self._reader.join(10)
        assert self.server.process.stderr
        self.server.process.stderr.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configuration(tmp_path, commands={"one": {"cmd": ["echo", "one"]}, "hold": HOLD})


@pytest.fixture
def watched(serve: Serve, config: Path) -> Any:
    watched = Watched(serve(**json.loads(config.read_text())))
    yield watched
    watched.stop()
    watched.server.process.stderr = None


def write(config: Path, **changed: Any) -> None:
    """Put another file in the place of a configuration, as editors and installers do."""
    document = {**json.loads(config.read_text()), **changed}
    new = config.with_suffix(".new")
    new.write_text(json.dumps(document))
    os.replace(new, config)


def test_reload_offers_what_the_file_says_now(watched: Watched, config: Path) -> None:
    assert watched.ask("one")["data"]["output"] == ["one"]
    write(config, commands={"two": {"cmd": ["echo", "two"]}}, info={"title": "New"})
    watched.reload()
    assert watched.says(RELOADED)
    assert watched.ask("two")["data"]["output"] == ["two"]
    assert watched.ask("one")["code"] == 404
    assert b"<h1>New</h1>" in watched.server.get("/")[2]
    (line,) = [line for line in watched.lines if RELOADED in line]
    for key in ("commands.one", "commands.two", "info.title"):
        assert key in line


def test_broken_file_is_refused_with_every_mistake_and_changes_nothing(
    watched: Watched, config: Path
) -> None:
    write(config, nonsense=1, limits={"burst": "x"}, commands={"two": {"cmd": ["echo", "two"]}})
    watched.reload()
    assert watched.says("The configuration is not reloaded")
    assert watched.says("nonsense: ")
    assert watched.says("limits.burst: ")
    assert watched.ask("one")["data"]["output"] == ["one"]
    assert watched.ask("two")["code"] == 404
    config.write_text('{"commands": {},}')
    watched.reload()
    assert watched.says("line 1 column 16: the comma before a closing bracket")
    config.unlink()
    watched.reload()
    assert watched.says("cannot be read")
    assert watched.ask("one")["data"]["output"] == ["one"]
    assert not any(RELOADED in line for line in watched.lines)


def test_named_pipe_in_the_place_of_the_file_is_refused_and_holds_no_reload(
    watched: Watched, config: Path
) -> None:
    document = config.read_bytes()
    config.unlink()
    os.mkfifo(config)
    watched.reload()
    assert watched.says(f"{config}: cannot be read: it is a named pipe; expected a regular file")
    assert watched.ask("one")["data"]["output"] == ["one"]
    config.unlink()
    config.write_bytes(document)
    watched.reload()
    assert watched.says(RELOADED)


def test_pipe_of_a_shell_is_not_read_again(config: Path) -> None:
    port = free_port()
    program = shlex.join([sys.executable, "tinytracer.py", "--listen", f"127.0.0.1:{port}", "--config"])
    server = Server(["bash", "-c", f"exec {program} <(cat {shlex.quote(str(config))})"], port)
    try:
        server.wait_until_ready()
        watched = Watched(server)
        watched.reload()
        assert watched.says("a pipe can be read only once, at the start")
        assert watched.ask("one")["data"]["output"] == ["one"]
        assert not any(RELOADED in line for line in watched.lines)
        watched.stop()
    finally:
        server.process.kill()
        server.process.wait(10)


def test_results_outlive_a_reload(watched: Watched, config: Path) -> None:
    result = watched.ask("one")["data"]["result"]
    write(config, results={"keep": "2 days"})
    watched.reload()
    assert watched.says("results: it cannot change while the server runs; restart the server")
    write(config, results={}, showip=False)
    watched.reload()
    assert watched.says(RELOADED)
    assert watched.server.json(urllib.parse.urlsplit(result).path)["data"]["output"] == ["one"]


def test_results_are_as_long_as_the_output_may_be_now(watched: Watched, config: Path) -> None:
    large = {"large": {"cmd": [sys.executable, "-c", "print('x' * 6_000_000)"]}}
    write(config, commands=large, limits={**GENEROUS, "output_kib": 8192})
    watched.reload()
    assert watched.says(RELOADED)
    assert watched.server.get(urllib.parse.urlsplit(watched.ask("large")["data"]["result"]).path)[0] == 200


def test_store_cannot_change_while_the_server_runs(watched: Watched, config: Path, tmp_path: Path) -> None:
    write(config, store=f"sqlite:{tmp_path / 'limits'}")
    watched.reload()
    assert watched.says("store: it cannot change while the server runs; restart the server")
    assert watched.ask("one")["status"] == "success"


def test_run_goes_on_and_ends_as_it_began(watched: Watched, config: Path) -> None:
    with watched.server.begin(f"{V1}/hold", "text/plain") as connection:
        read_until(connection, b"begun")
        (child,) = watched.server.wait_for_children()
        write(config, commands={"one": {"cmd": ["echo", "1"]}}, limits={**GENEROUS, "output_kib": 1})
        watched.reload()
        assert watched.says(RELOADED)
        assert watched.ask("hold")["code"] == 404
        assert is_alive(child)
        os.kill(child, signal.SIGTERM)
        read_until(connection, b"0\r\n\r\n")
    assert watched.says("command=hold outcome=fail status=200")


def test_visitor_who_asks_the_same_after_a_reload_shares_the_run(watched: Watched, config: Path) -> None:
    with watched.server.begin(f"{V1}/hold", "text/plain") as first:
        read_until(first, b"begun")
        (child,) = watched.server.wait_for_children()
        write(config, info={"title": "New"})
        watched.reload()
        assert watched.says(RELOADED)
        with watched.server.begin(f"{V1}/hold", "text/plain") as second:
            read_until(second, b"begun")
            assert watched.server.children() == {child}
            first.close()
            time.sleep(0.3)
            assert is_alive(child)
    assert soon_gone(child)


def test_limits_go_on_counting(watched: Watched, config: Path) -> None:
    write(config, limits=FEW)
    watched.reload()
    assert watched.says(RELOADED)
    assert [watched.ask("one")["status"] for _ in range(2)] == ["success", "success"]
    assert watched.ask("one")["code"] == 429
    write(config, info={"title": "New"})
    watched.reload()
    assert watched.says(RELOADED, 2)
    assert watched.ask("one")["code"] == 429


def test_slots_that_are_held_count_for_the_new_limits(watched: Watched, config: Path) -> None:
    with watched.server.begin(f"{V1}/hold", "text/plain") as connection:
        read_until(connection, b"begun")
        write(config, limits={**GENEROUS, "concurrent": 1, "viewers": 4})
        watched.reload()
        assert watched.says(RELOADED)
        assert watched.ask("one")["code"] == 503
    assert soon(lambda: watched.ask("one")["status"] == "success")


def test_server_ends_with_all_children_after_many_reloads(watched: Watched, config: Path) -> None:
    with watched.server.begin(f"{V1}/hold", "text/plain") as connection:
        read_until(connection, b"begun")
        children = watched.server.wait_for_children()
        for number in range(5):
            write(config, info={"title": str(number)})
            watched.reload()
            assert watched.says(RELOADED, number + 1)
        before = len(os.listdir(f"/proc/{watched.server.process.pid}/fd"))
        for _ in range(20):
            watched.reload()
        assert soon(lambda: len(os.listdir(f"/proc/{watched.server.process.pid}/fd")) <= before)
        watched.server.process.terminate()
        assert watched.server.process.wait(60) == 0
        assert soon_gone(*children)


def test_reloads_that_are_asked_for_meanwhile_become_one() -> None:
    first = TinyTracer(read())
    begun: list[str] = []
    may_end = threading.Event()

    def load() -> conf.Configuration:
        begun.append(threading.current_thread().name)
        assert may_end.wait(PATIENT)
        return read(info={"title": str(len(begun))})

    newest = Newest(first, load, TinyTracer, "")
    threads = [threading.Thread(target=newest.reload) for _ in range(50)]
    threads[0].start()
    assert soon(lambda: begun)
    for each in threads[1:]:
        each.start()
    assert soon(lambda: sum(each.is_alive() for each in threads) == 2)  # no thread waits for nothing
    may_end.set()
    for each in threads:
        each.join(60)
    assert len(begun) == 2
    assert newest._application.configuration.info["title"] == "2"
    newest.close()


def test_hundred_requests_a_second_and_a_run_lose_nothing(watched: Watched, config: Path) -> None:
    seconds, rate, threads = 4.0, 100, 4
    wrong: list[object] = []
    served: list[int] = []
    end = time.monotonic() + seconds

    def ask(number: int) -> None:
        """Ask for a page, a list or a run at each of a thread's moments, whether or not that is late."""
        moments = int(seconds * rate / threads)
        for each in range(moments):
            time.sleep(max(0.0, end - seconds + each * threads / rate - time.monotonic()))
            path = ("/healthz", f"{V1}/cmd", "/", f"{V1}/one")[(number + each) % 4]
            try:
                status, _, body = watched.server.get(path)
            except Exception as failure:
                wrong.append(failure)
                return
            served.append(status)
            if status != 200 or not body or (path.endswith("one") and b'"success"' not in body):
                wrong.append((path, status, body[:200]))

    with watched.server.begin(f"{V1}/hold", "text/plain") as connection:
        read_until(connection, b"begun")
        children = watched.server.wait_for_children()
        visitors = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
        for each in visitors:
            each.start()
        for number in range(10):
            time.sleep(0.2)
            write(config, info={"title": str(number)}, limits={**GENEROUS, "burst": 1000000 + number})
            watched.reload()
        for each in visitors:
            each.join(60)
        assert watched.says(RELOADED)
        assert wrong == []
        assert len(served) == seconds * rate
        assert children <= watched.server.children()
    assert soon_gone(*children)


def test_closed_terminal_does_not_stop_a_server(tmp_path: Path) -> None:
    port = free_port()
    config = configuration(tmp_path, commands={"one": {"cmd": ["echo", "one"]}})
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - another process
        argv = [sys.executable, str(HERE / "tinytracer.py"), "--config", str(config)]
        os.execv(sys.executable, [*argv, "--listen", f"127.0.0.1:{port}"])
    seen = b""
    with contextlib.suppress(OSError):
        while b"Listening" not in seen:
            seen += os.read(terminal, 4096)
    os.close(terminal)  # the kernel sends SIGHUP to its session

    def get(path: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))

    try:
        time.sleep(0.5)
        for _ in range(20):  # each leaves a line that nobody can read any more
            assert b'"success"' in get(f"{V1}/one")
        assert get("/healthz").endswith(b"ok")
    finally:
        os.kill(pid, signal.SIGTERM)
        status = os.waitpid(pid, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0


def test_application_that_took_over_ends_what_the_first_began() -> None:
    base = {"commands": {"hold": HOLD}, "limits": GENEROUS}
    first = TinyTracer(conf.read(base, HERE))
    ask = asker(first)
    second = TinyTracer(conf.read({**base, "commands": {"one": {"cmd": ["true"]}}}, HERE), first)
    assert not first.close.alive
    second.close()
    assert error(ask(f"{V1}/hold"), 503)


def test_figures_go_on_and_know_the_new_commands() -> None:
    base = {"limits": GENEROUS, "metrics": ["198.51.100.0/24"]}
    first = TinyTracer(conf.read({**base, "commands": {"one": {"cmd": ["true"]}}}, HERE))
    asker(first)(f"{V1}/one")
    second = TinyTracer(conf.read({**base, "commands": {"two": {"cmd": ["true"]}}}, HERE), first)
    ask = asker(second)
    ask(f"{V1}/two")
    figures = ask("/metrics").text
    for command in ("one", "two"):
        assert f'command="{command}",outcome="success"' in figures.replace(", ", ",")
    third = TinyTracer(conf.read({"limits": GENEROUS, "commands": {"two": {"cmd": ["true"]}}}, HERE), second)
    assert asker(third)("/metrics").status == 404
    third.close()


# --- what differs


def read(**document: Any) -> conf.Configuration:
    return conf.read({"commands": {"one": {"cmd": ["true"]}}, **document}, HERE)


ROUTERS: list[dict[str, Any]] = [
    {"name": "a", "commands": {"one": {"cmd": ["true"]}}},
    {"name": "b", "commands": "linux"},
]
SOURCES = {"source4": "192.0.2.1", "source6": "2001:db8::1"}


@pytest.mark.parametrize(
    ("document", "keys"),
    [
        ({}, []),
        ({"$comment": "why"}, []),
        ({"showip": True}, []),
        ({"debug": True}, ["debug"]),
        ({"limits": {"burst": 3}}, ["limits.burst"]),
        ({"info": {"title": "x"}}, ["info.title"]),
        ({"cors": ["https://a.example", "https://b.example"]}, ["cors"]),
        ({"targets": {"deny": []}}, ["deny"]),
        ({"trustproxy": True}, ["trustproxy"]),
        ({"capabilities": {"ipv6": False}}, ["capabilities.ipv6"]),
        ({"store": "memory"}, []),
    ],
)
def test_changed_keys_are_named(document: dict[str, Any], keys: list[str]) -> None:
    assert changes(summary(read()), summary(read(**document))) == keys
    assert changes(summary(read(**document)), summary(read(**document))) == []


def test_changed_routers_and_commands_are_named() -> None:
    old = read(routers=[ROUTERS[0], {**ROUTERS[1], **SOURCES}])
    new = read(routers=[{**ROUTERS[0], "city": "Kiel"}, {**ROUTERS[1], **SOURCES, "commands": "frr"}])
    found = changes(summary(old), summary(new))
    assert "routers.a" in found
    assert {"routers.b.commands.mtr", "routers.b.commands.show bgp"} <= set(found)
    assert "routers.a.commands.one" not in found


def test_running_server_shows_what_it_has_loaded(watched: Watched, config: Path) -> None:
    (found,) = running(str(config))
    assert found.pid == watched.server.process.pid
    loaded = summary(conf.load(config))
    assert found.summary == loaded
    write(config, debug=True)
    assert changes(next(running(str(config))).summary, summary(conf.load(config))) == ["debug"]
    watched.reload()
    assert watched.says(RELOADED)
    assert next(running(str(config))).summary == summary(conf.load(config))
    assert list(running(str(config.parent / "other.json"))) == []


def test_children_do_not_inherit_what_the_server_shows(watched: Watched, config: Path) -> None:
    with watched.server.begin(f"{V1}/hold", "text/plain") as connection:
        read_until(connection, b"begun")
        (child,) = watched.server.wait_for_children()
        shown = subprocess.run(["ls", "-l", f"/proc/{child}/fd"], capture_output=True, text=True, check=True)
        assert "memfd" not in shown.stdout
        assert len(list(running(str(config)))) == 1
