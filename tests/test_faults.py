"""No room on the machine, a missing program, a thread that dies: 503 at once, and well again later."""

from __future__ import annotations

import _thread
import ctypes
import errno
import gc
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lookingglass import children as children_module
from lookingglass import configuration as conf
from lookingglass import kernel
from lookingglass import loop as loop_module
from lookingglass.reloading import Newest
from tests.support import (
    GENEROUS,
    HERE,
    PATIENT,
    V1,
    Ask,
    Serve,
    asker,
    build,
    children,
    error,
    is_alive,
    open_files,
    soon,
)
from tinytracer import TinyTracer

ONE = {"concurrent": 1, "viewers": 1, "per_client": 1}  # whatever is not given back is missed at once
COMMANDS: dict[str, Any] = {
    "true": {"cmd": ["true"]},
    "slow": {"cmd": ["sh", "-c", "sleep 0.05; echo slow"]},
    "missing": {"cmd4": ["/no/such/program", "{{TARGET}}"]},
    "echo": {"cmd4": ["echo", "{{TARGET}}"]},
}
FORGED = r"printf 'no\033[2J\r\nERROR: forged\n\n caf\303\251 \342\200\256\377\tx' >&2; echo out; exit 3"
LedBy = Callable[..., Ask]


@pytest.fixture
def led_by(tmp_path: Path) -> Iterator[LedBy]:
    """Yield a function that asks a looking glass of one router, to which a script leads."""
    applications = []

    def lead(script: str, **limits: Any) -> Ask:
        way = tmp_path / "way"
        way.write_text(f"#!/bin/sh\n{script}\n")
        way.chmod(0o755)
        router = {"name": "r1", "via": [str(way)], "commands": {"x": {"cmd": ["x"]}}}
        document = {"routers": [router], "limits": {**GENEROUS, **limits}, "targets": {"deny": []}}
        applications.append(TinyTracer(conf.read(document, tmp_path)))
        return asker(applications[-1])

    yield lead
    for each in applications:
        each.close()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


@pytest.fixture
def application() -> Iterator[TinyTracer]:
    """Yield a looking glass with one place; afterwards no child and no descriptor of it is left."""
    before, files = children(), len(open_files())
    application = build({"commands": COMMANDS, "limits": {**GENEROUS, **ONE}})
    yield application
    application.close()
    assert soon(lambda: children() <= before)
    del application
    gc.collect()
    assert soon(lambda: len(open_files()) <= files + 2)


@pytest.fixture
def ask(application: TinyTracer) -> Ask:
    return asker(application)


# --- what leads to a router


def test_complaints_of_what_leads_to_a_router_are_lines_that_nobody_can_forge(
    led_by: LedBy, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    reply = led_by(FORGED)(f"{V1}/x")
    assert reply.json["data"]["output"] == ["out"]
    assert "forged" not in reply.text
    assert complaints(caplog) == ["r1: no␛[2J", "r1: ERROR: forged", "r1:  café ��\tx"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "script", ["head -c 100000 /dev/zero >&2", "yes no >&2", "yes no >&2 & sleep 0.1; echo x"]
)
def test_flood_of_complaints_is_cut_and_holds_nobody(
    led_by: LedBy, script: str, caplog: pytest.LogCaptureFixture
) -> None:
    ask = led_by(script)
    before = time.process_time()
    reply = ask(f"{V1}/x?runtime=1")
    assert time.process_time() - before < 0.8
    assert reply.json["data"]["output"] in ([], ["x"])
    said = complaints(caplog)
    assert said[-1] == "r1: (there was more, after 4096 bytes)"
    assert 1000 < sum(len(each.removeprefix("r1: ")) for each in said[:-1]) <= 4096


def test_complaints_of_a_run_that_hangs_are_logged_and_no_thread_waits_for_them(
    led_by: LedBy, caplog: pytest.LogCaptureFixture
) -> None:
    ask = led_by("echo 'the host key has changed' >&2; sleep 1000")
    before = len(os.listdir("/proc/self/task"))
    asking = threading.Thread(target=ask, args=(f"{V1}/x?runtime=0.5",))
    asking.start()
    time.sleep(0.3)
    assert len(os.listdir("/proc/self/task")) <= before + 2  # the one that asks, and the loop's
    asking.join()
    assert complaints(caplog) == ["r1: the host key has changed"]


def test_router_whose_way_complains_of_nothing_leaves_no_line(
    led_by: LedBy, caplog: pytest.LogCaptureFixture
) -> None:
    assert led_by("echo out")(f"{V1}/x").json["status"] == "success"
    assert complaints(caplog) == []


# --- a missing program


def test_program_that_disappears_is_502_and_one_that_hangs_in_its_place_is_504(
    serve: Serve, tmp_path: Path
) -> None:
    program = tmp_path / "program"

    def put(script: str) -> None:
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    put("echo well")
    server = serve(commands={"run": {"cmd": [str(program)], "runtime": 0.5}})
    assert server.get(f"{V1}/run")[0] == 200
    program.unlink()
    assert server.get(f"{V1}/run")[0] == 502
    put("trap '' TERM; while :; do sleep 0.1; done")
    assert server.get(f"{V1}/run")[0] == 504
    assert soon(lambda: not server.children())
    put("echo well again")
    assert server.json(f"{V1}/run")["data"]["output"] == ["well again"]


def test_missing_program_costs_the_target_network_nothing() -> None:
    answered = []
    for missing in (0, 5):
        application = build({"commands": COMMANDS, "limits": {**GENEROUS, "target_rate": "4/minute"}})
        ask = asker(application)
        for _ in range(missing):
            assert "no program" in error(ask(f"{V1}/missing/192.0.2.1"), 502)
        answered.append([ask(f"{V1}/echo/192.0.2.1").status for _ in range(5)])
        application.close()
    assert answered[0] == answered[1]
    assert answered[0][0] == 200
    assert answered[0][-1] == 429


# --- no room on this machine


def refuse(what: int | Exception) -> Callable[..., Any]:
    def refusing(*arguments: Any, **named: Any) -> Any:
        raise OSError(what, os.strerror(what)) if isinstance(what, int) else what

    return refusing


def after(calls: int, call: Callable[..., Any], refusing: Callable[..., Any]) -> Callable[..., Any]:
    """Let some calls pass before one is refused."""
    left = [calls]

    def counting(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        return (call if left[0] >= 0 else refusing)(*arguments, **named)

    return counting


STEPS: dict[str, tuple[Any, str, int]] = {
    "pipe": (os, "pipe", 0),
    "set_blocking": (os, "set_blocking", 0),
    "spawn": (children_module, "spawn", 0),
    "fstat": (os, "fstat", 0),
    "pidfd_open": (os, "pidfd_open", 0),
    "poll": (select, "poll", 0),
    "watch the output": (loop_module.Loop, "watch", 0),
    "watch the exit": (loop_module.Loop, "watch", 1),
    "call_at": (loop_module.Loop, "call_at", 0),
}


@pytest.mark.parametrize("what", [errno.ENOMEM, errno.EAGAIN, MemoryError()], ids=str)
@pytest.mark.parametrize("step", STEPS)
def test_step_that_finds_no_room_is_503_at_once_and_the_next_run_works(
    application: TinyTracer, ask: Ask, monkeypatch: pytest.MonkeyPatch, step: str, what: int | Exception
) -> None:
    assert ask(f"{V1}/true").status == 200  # the watcher runs, and the loop
    before = children()
    where, name, calls = STEPS[step]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, after(calls, getattr(where, name), refuse(what)))
        reply = ask(f"{V1}/slow")
    assert "cannot run more commands now" in error(reply, 503)
    assert int(reply.headers["Retry-After"]) > 0
    assert soon(lambda: {each for each in children() if is_alive(each)} <= before)
    assert ask(f"{V1}/slow").json["data"]["output"] == ["slow"]


@pytest.mark.parametrize("what", [errno.ENOMEM, errno.ENOSPC, MemoryError()], ids=str)
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_no_room_for_watching_what_leads_to_a_router_is_503_as_well(
    led_by: LedBy, monkeypatch: pytest.MonkeyPatch, calls: int, what: int | Exception
) -> None:
    ask = led_by("sleep 0.05; echo x", **ONE)
    assert ask(f"{V1}/x").status == 200
    files, before = open_files(), children()
    watch = loop_module.Loop.watch
    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "watch", after(calls, watch, refuse(what)))
        error(ask(f"{V1}/x"), 503)
    assert open_files() == files
    assert soon(lambda: children() <= before)
    assert ask(f"{V1}/x").status == 200


@pytest.mark.parametrize("what", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_no_room_for_the_thread_is_503_at_once_and_the_next_run_works(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, what: int | Exception
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refuse(what))
        error(ask(f"{V1}/true"), 503)
    assert ask(f"{V1}/true").status == 200


def test_thread_that_dies_before_it_has_begun_holds_nobody(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a thread does that finds no memory: threading's own start() waits for it for ever."""
    monkeypatch.setattr(loop_module, "BEGINNING", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", lambda *arguments: 1)
        error(ask(f"{V1}/true"), 503)
        error(ask("/healthz"), 503)
    assert ask(f"{V1}/true").status == 200
    assert ask("/healthz").status == 200


@pytest.mark.parametrize(
    ("where", "name"), [(os, "memfd_create"), (os, "pwrite"), (os, "dup"), (socket, "socketpair")], ids=str
)
def test_no_room_for_the_watcher_stops_no_run(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: Any, name: str
) -> None:
    monkeypatch.setattr(where, name, refuse(errno.ENOMEM))
    for _ in range(3):
        assert ask(f"{V1}/true").status == 200
    assert caplog.text.count("The watcher cannot be") == 1


def test_python_that_was_built_for_an_old_kernel_runs_all(
    application: TinyTracer,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.delattr(os, "memfd_create")
    for _ in range(2):
        assert ask(f"{V1}/true").status == 200
    with pytest.raises(ProcessLookupError):
        kernel.end_of(2**22 + 1)
    assert not caplog.records
    Newest(application, lambda: application.configuration, TinyTracer, "")


def test_c_library_without_a_call_of_the_kernel_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: object())
    with pytest.raises(OSError, match="Function not implemented"):
        kernel.file_in_memory("roll")


def test_loop_goes_on_after_it_found_no_memory(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(f"{V1}/slow").status == 200
    refused: list[int] = []
    turn = loop_module.Loop._turn

    def scant(loop: loop_module.Loop) -> None:
        if len(refused) < 3:
            refused.append(1)
            raise MemoryError
        turn(loop)

    monkeypatch.setattr(loop_module.Loop, "_turn", scant)
    assert ask(f"{V1}/slow").status == 200
    assert ask(f"{V1}/slow").status == 200
    assert len(refused) == 3
    assert ask("/healthz").status == 200


LIMITED = """
import gc, os, resource, sys, time
from tests.support import GENEROUS, asker, build, children, soon
name, values = sys.argv[1], range(*map(int, sys.argv[2:]))
limit = getattr(resource, "RLIMIT_" + name)
commands = {"true": {"cmd": ["true"]}, "slow": {"cmd": ["sh", "-c", "sleep 0.05; echo slow"]}}
ones = {"concurrent": 1, "viewers": 1, "per_client": 1}
_, hard = resource.getrlimit(limit)
for value in values:
    for path in ("true", "slow"):
        app = build({"commands": commands, "limits": {**GENEROUS, **ones}})
        ask = asker(app)
        before = set(os.listdir("/proc/self/fd"))
        base = int(open("/proc/self/statm").read().split()[0]) * 4096 if name == "AS" else 0
        resource.setrlimit(limit, (base + value, hard))
        began = time.monotonic()
        try:
            status = ask("/.well-known/looking-glass/v1/" + path).status
        finally:
            resource.setrlimit(limit, (hard, hard))
        later = ask("/.well-known/looking-glass/v1/" + path)
        print(status, later.status, time.monotonic() - began < 20)
        app.close()
        del app, ask
        gc.collect()
        soon(lambda: len(os.listdir("/proc/self/fd")) <= len(before) and not children())
        print(len(os.listdir("/proc/self/fd")) - len(before), len(children()))
"""


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("NOFILE", (4, 28)),
        ("AS", (0, 40 << 20, 2 << 20)),
        pytest.param("NPROC", (1, 6), marks=pytest.mark.lab),
    ],
)
def test_limits_of_the_system_are_503_and_leave_nothing(name: str, values: tuple[int, ...]) -> None:
    user = ["setpriv", "--reuid=64123", "--regid=64123", "--clear-groups"] if name == "NPROC" else []
    packages = ":".join([str(HERE), *(each for each in sys.path if each.endswith("-packages"))])
    python = "/usr/bin/python3" if user else sys.executable
    done = subprocess.run(
        [*user, python, "-c", LIMITED, name, *map(str, values)],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": packages},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    answers, leftovers = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
    assert len(answers) == len(leftovers) == 2 * len(range(*values)), done.stderr
    assert set(answers) == {"503 200 True", "200 200 True"}
    assert answers[-1] == "200 200 True"
    assert set(leftovers) == {"0 0"}


# --- the health check


def test_health_is_503_once_the_application_is_closing(application: TinyTracer, ask: Ask) -> None:
    for path in (None, f"{V1}/true"):
        assert path is None or ask(path).status == 200
        reply = ask("/healthz")
        assert (reply.status, reply.body, reply.headers["Cache-Control"]) == (200, b"ok", "no-store")
    application.close()
    assert "stopping" in error(ask("/healthz"), 503)
    assert "stopping" in error(ask(f"{V1}/true"), 503)


def test_health_is_503_when_the_thread_of_the_runs_has_died(application: TinyTracer, ask: Ask) -> None:
    assert ask(f"{V1}/slow").status == 200
    loop = application._glass.runs.loop

    def die() -> None:
        raise SystemExit

    loop.call_soon(die)
    assert soon(lambda: ask("/healthz").status == 503)
    assert ask(f"{V1}/slow").status == 200  # with a new thread
    assert ask("/healthz").status == 200


@pytest.mark.parametrize("is_due", [False, True])
def test_health_is_503_while_the_thread_of_the_runs_hangs(
    application: TinyTracer, ask: Ask, monkeypatch: pytest.MonkeyPatch, is_due: bool
) -> None:
    monkeypatch.setattr(loop_module, "LATE", 1.5)
    assert ask(f"{V1}/slow").status == 200
    loop = application._glass.runs.loop
    may_go = threading.Event()

    def hang() -> None:
        may_go.wait(PATIENT)

    if is_due:
        loop.call_at(time.monotonic(), hang)
    else:
        loop.call_soon(hang)
    assert ask("/healthz").status == 200
    time.sleep(1.6)
    error(ask("/healthz"), 503)
    may_go.set()
    assert soon(lambda: ask("/healthz").status == 200)


def test_health_of_an_idle_application_costs_nothing(
    application: TinyTracer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(f"{V1}/slow").status == 200
    loop = application._glass.runs.loop
    turn, turns = loop._turn, []
    monkeypatch.setattr(loop, "_turn", lambda: turns.append(1) or turn())  # type: ignore[func-returns-value]
    time.sleep(0.5)
    for _ in range(20):
        assert ask("/healthz").status == 200
    assert len(turns) <= 1
