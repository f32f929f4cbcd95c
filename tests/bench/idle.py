"""What a server needs when nobody asks, and how soon it is there and lets go."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.servers import QUIET, V1, Server, both, eight, ours, request
from tests.bench.table import Case, Goal, Pair, Rounds, Row, alone
from tests.support import build_pyz

SETTLED = 1.0  # seconds after the last request, until a server is idle
DISCONNECTS = 7  # in each round
PATIENCE = 10.0  # seconds in which a process has to end
NONE = Goal("ours", "≤", 0, max)
SOON = Goal("ours", "≤", 0.45)
ACCEPTED = ("text/plain", "text/event-stream", "application/json")


def starts(_: float) -> Rounds:
    """Start the bare application and TinyTracer."""
    while True:
        with both(eight()) as servers:
            yield {Row("start to first answer, s"): Pair(*(each.started for each in servers))}


def starts_from_one_file(_: float) -> Rounds:
    """Start the one file with a Python that sees nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        file = build_pyz(Path(folder))
        config = file.parent / "config.json"
        config.write_text(json.dumps(eight()))
        while True:
            argv = ("-I", "-S", str(file), "--config", str(config), "--listen", "127.0.0.1:PORT")
            with Server(*argv) as server:
                yield {Row("one file: start to first answer, s", SOON): alone(server.started)}


def idle(seconds: float) -> Rounds:
    """Leave both alone that have answered, and have closed their connections."""
    with both(eight(), f"{V1}/true") as servers:
        for server in servers:
            server.get(f"{V1}/true")
            server.hang_up()
        time.sleep(SETTLED)
        while True:
            before = [(server.cpu(), server.wakeups()) for server in servers]
            time.sleep(seconds)
            after = [(server.cpu(), server.wakeups()) for server in servers]
            used, woken = zip(*(_less(*each) for each in zip(after, before, strict=True)), strict=True)
            yield {
                Row(f"idle for {seconds:.0f} s: CPU, s", NONE): Pair(*used),
                Row(f"idle for {seconds:.0f} s: wake-ups", NONE): Pair(*woken),
                Row("idle: memory (PSS), MiB"): Pair(*(server.pss() / 1024 for server in servers)),
                Row("idle: threads"): Pair(*(server.threads() for server in servers)),
            }


def leave(accept: str, _: float) -> Rounds:
    """Disconnect from a command that prints nothing."""
    title = f"leaving {accept} to end of process"
    with ours(eight()) as server:
        while True:
            delays = [1000 * until_end(server, accept) for _ in range(DISCONNECTS)]
            yield {
                Row(f"{title}: median, ms"): alone(statistics.median(delays)),
                Row(f"{title}: slowest, ms"): alone(max(delays)),
            }


def until_end(server: Server, accept: str) -> float:
    """Return the seconds from a disconnect to the end of the process that runs for it."""
    with server.connect() as connection:
        connection.sendall(request(f"{V1}/quiet", accept))
        process = os.pidfd_open(find("\0".join(QUIET)))
    began = time.perf_counter()
    ended, _, _ = select.select([process], [], [], PATIENCE)
    seconds = time.perf_counter() - began
    os.close(process)
    if not ended:
        raise SystemExit(f"A process lives {PATIENCE:.0f} s after its client has left.")
    return seconds


def find(command: str) -> int:
    """Return the number of the process that is called so, as soon as there is one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for each in Path("/proc").glob("[1-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if each.read_text(errors="replace").rstrip("\0") == command:
                    return int(each.parent.name)
    raise SystemExit("A command does not start.")


def _less(after: tuple[float, int], before: tuple[float, int]) -> tuple[float, int]:
    return after[0] - before[0], after[1] - before[1]


CASES: list[Case] = [starts, starts_from_one_file, idle]
LEAVE: list[Case] = [functools.partial(leave, accept) for accept in ACCEPTED]
