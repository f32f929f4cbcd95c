"""What is left for everybody while many commands run, and what each of them takes."""

from __future__ import annotations

import contextlib
import functools
import socket

from tests.bench.live import PAGE, PAUSE, WARM, page_times
from tests.bench.servers import V1, Server, both, eight, request
from tests.bench.table import Case, Rounds, Row, alone

COUNTS = (2, 32, 200)  # of commands that run at once
MANY = COUNTS[-1]  # for which the memory of one can be told
# A ping of this machine every 0.25 s; each has an address of its own, for equal questions would share a Run.
PINGS = {"pings": {"cmd": ["ping", "-n", "-i", "0.25", "{{TARGET}}"], "argument": "addr"}}
LIMITS = {"concurrent": MANY, "viewers": 2 * MANY, "per_client": MANY, "runtime": 60, "max_runtime": 60}


def busy(count: int, seconds: float) -> Rounds:
    """Ask for the page while commands run, each of which has one viewer."""
    document = eight(**LIMITS)
    document["commands"] = {**document["commands"], **PINGS}
    title = f"{count} running commands"
    while True:
        with both(document) as servers, contextlib.ExitStack() as viewers:
            ours = servers[1]
            page_times(servers, WARM)
            memory = ours.pss()
            for connection in [viewers.enter_context(_begin(ours, number)) for number in range(count)]:
                connection.recv(1)  # it runs
            times = page_times(servers, seconds / PAUSE)
            memory = ours.pss() - memory
        yield {
            Row(f"{title}: / meanwhile, p99, ms", PAGE): times,
            **({Row(f"{title}: memory (PSS) of each, KiB"): alone(memory / count)} if count == MANY else {}),
        }


def _begin(server: Server, number: int) -> socket.socket:
    connection = server.connect()
    connection.sendall(request(f"{V1}/pings/127.0.2.{1 + number}", "text/plain"))
    return connection


CASES: list[Case] = [functools.partial(busy, count) for count in COUNTS]
