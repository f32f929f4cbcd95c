"""The soak in short, and what it has found: nothing is left of an answer, and nobody has to wait for that."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import subprocess
import sys
import time
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lookingglass import children, glass, runs, several
from lookingglass.answers import Body
from lookingglass.connections import Channel
from lookingglass.guard import Guard, Limits, Rate
from lookingglass.loop import Loop
from lookingglass.tasks import Task
from tests.soak.clients import request
from tests.soak.glass import Inside
from tests.soak.wire import Wire
from tests.support import HERE, MEDIA, V1, soon

MANY = 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--restarts=1"], ["--inside"]], ids=["program", "inside"])
def test_everything_is_as_before_after_a_short_soak(options: list[str]) -> None:
    short = ["--seconds=4", "--settle=3", "--clients=40", "--pause=0.5", *options]
    argv = [sys.executable, "-m", "tests.soak", *short]
    done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nexceptions in the log: 0\n" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_limits_hold_exactly_over_processes_that_are_killed(store: str) -> None:
    argv = [sys.executable, "-m", "tests.soak.shared", "--operations=400", f"--store={store}"]
    done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 1 processes killed" in done.stdout


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Inside]:
    server = Inside(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def born(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Any]]:
    """Return a list of all that is made for answers from now on, none of which it keeps alive."""
    found: list[weakref.ref[Any]] = []

    def watch(kind: type) -> None:
        initialise = kind.__init__  # type: ignore[misc]

        def noted(self: Any, *arguments: Any, **named: Any) -> None:
            found.append(weakref.ref(self))
            initialise(self, *arguments, **named)

        monkeypatch.setattr(kind, "__init__", noted)

    # A thread keeps its last Channel until it has another one.
    # What pytest keeps of the log has errors in it.
    monkeypatch.setattr(children.log, "disabled", True)
    for each in (Task, Body, several.Several, several.RouterAnswer, glass.Answer, runs.Run, runs.Viewer):
        watch(each)
    return found


async def ask(port: int, path: str, accept: str, leaves: bool) -> None:
    async with Wire(port) as wire:
        await wire.send(request(path, accept))
        if leaves:
            await wire.first()
        else:
            await wire.answer()


CASES = [
    *((f"{V1}/flood", accept, False) for accept in MEDIA),
    *((f"{V1}/flood?routers=*&view=1", accept, False) for accept in MEDIA),
    (f"{V1}/sleep?routers=*", MEDIA[1], True),
    (f"{V1}/missing?routers=*", MEDIA[2], False),
    (f"{V1}/echo/localhost?routers=*", MEDIA[2], False),
    (f"{V1}/echo/localhost?view=1", MEDIA[2], False),
    ("/?cmd=flood&routers=*&run=1", "text/html", False),
    (f"{V1}/fail", MEDIA[2], False),
    (f"{V1}/missing", MEDIA[0], False),
    (f"{V1}/echo/localhost", MEDIA[0], False),
    (f"{V1}/sleep", MEDIA[1], True),
    ("/?cmd=echo&ip=localhost&run=1", "text/html", False),
    ("/healthz", "*/*", False),
    ("/testfiles/1MB.bin", "*/*", False),
]


@pytest.mark.parametrize(("path", "accept", "leaves"), CASES)
def test_nothing_of_an_answer_waits_for_the_collector_of_cycles(
    inside: Inside, born: list[weakref.ref[Any]], path: str, accept: str, leaves: bool
) -> None:
    gc.collect()
    gc.disable()
    try:
        asyncio.run(ask(inside.port, path, accept, leaves))
        assert born
        assert soon(lambda: not any(each() for each in born)), {type(each()).__name__ for each in born}
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "error", [ValueError("the loop has ended"), OSError(errno.ENOSPC, "no room")], ids=str
)
def test_connection_that_cannot_be_watched_is_closed(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    watch = Loop.watch

    def fails_for_connections(loop: Loop, descriptor: int, events: int, callback: Any) -> None:
        if getattr(callback, "__func__", None) is Channel.on_events:
            raise error
        watch(loop, descriptor, events, callback)

    monkeypatch.setattr(Loop, "watch", fails_for_connections)
    with socket.create_connection(("127.0.0.1", inside.port), timeout=60) as client:
        assert client.recv(1) == b""
    assert not inside.inside()["connections"]
    assert not inside.faults()
    monkeypatch.undo()
    asyncio.run(ask(inside.port, "/healthz", "*/*", False))


def test_many_clients_that_ask_once_cost_little_memory() -> None:
    limits = Limits(rate=Rate(MANY, 1.0), target_rate=Rate(MANY, 1.0), global_rate=Rate(MANY, 1.0))
    guard = Guard(limits._replace(slot_seconds=Rate(MANY, 1.0)))
    tracemalloc.start()
    try:
        for number in range(5000):
            client = f"2001:db8:{number:x}:1::/64"
            place = guard.place(client)
            guard.slot(None, client, "r").end()
            place.end()
        time.sleep(0.1)  # until the buckets are full again
        guard.place("192.0.2.1").end()
        assert tracemalloc.get_traced_memory()[0] < 4 << 20
    finally:
        tracemalloc.stop()
