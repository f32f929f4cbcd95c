"""Other looking glasses, as far as this machine has them: how they start, rest and give their page.

None is asked to run anything, for what they run, and how they are told to, has little in common. One that
needs a configuration has it where it looks for it, or is left out.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench.idle import SETTLED
from tests.bench.pages import load
from tests.bench.servers import Server, eight, ours, pss_of
from tests.bench.table import Case, Pair, Rounds, Row


class Peer(NamedTuple):
    """Say how to start a looking glass at 127.0.0.1:PORT, and where its page is."""

    name: str
    program: str
    options: tuple[str, ...]
    path: str = "/"
    environment: tuple[str, ...] = ()  # NAME=VALUE
    folder: str = ""  # the variable of the environment that says where it lies; "": it has none

    def is_there(self) -> bool:
        """Tell whether this machine has it."""
        return bool(shutil.which(self.program)) and bool(not self.folder or os.environ.get(self.folder))


PEERS = (
    Peer(
        "Flask program of the same name",
        "gunicorn",
        ("--workers=2", "--bind=127.0.0.1:PORT", "tinytracer:app"),
        folder="BENCH_FLASK",
    ),
    Peer(
        "hyperglass",
        "hyperglass",
        ("start",),
        environment=("HYPERGLASS_HOST=127.0.0.1", "HYPERGLASS_PORT=PORT"),
    ),
    Peer("bird-lg-go", "bird-lg-go", ("--servers=bench", "--listen=127.0.0.1:PORT"), "/summary/ipv4/bench"),
    Peer("bird-lg-go, its proxy", "lgproxy", ("--listen=127.0.0.1:PORT",), "/bird?q=show+status"),
)


class PeerServer(Server):
    """A peer, and all the processes that it has started."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        folder = Path(os.environ.get(peer.folder, "/") if peer.folder else "/")
        super().__init__(*peer.environment, peer.program, *peer.options, program="env", folder=folder)

    def ask_first(self) -> None:
        """Ask for its page; an error is an answer."""
        self.get(self.peer.path)

    def pss(self) -> int:
        """Return the proportional set size of all its processes in KiB."""
        return sum(pss_of(pid) for pid in tree(self.process.pid))


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = " ".join(each.read_text() for each in threads).split()
    return [pid, *(each for child in children for each in tree(int(child)))]


def beside(peer: Peer, seconds: float) -> Rounds:
    """Start a peer and TinyTracer, and ask both for their pages in turns."""
    while True:
        try:
            with PeerServer(peer) as theirs, ours(eight()) as one:
                rates = Pair(_rate(theirs, seconds, peer.path), _rate(one, seconds, "/"))
                time.sleep(SETTLED)
                memory = Pair(theirs.pss() / 1024, one.pss() / 1024)
                yield {
                    Row(f"{peer.name} | ours: start to first answer, s"): Pair(theirs.started, one.started),
                    Row(f"{peer.name} | ours: page, a second"): rates,
                    Row(f"{peer.name} | ours: memory (PSS), MiB"): memory,
                }
        except SystemExit as error:
            print(f"{peer.name} is left out: {error}", file=sys.stderr)
            return


def _rate(server: Server, seconds: float, path: str) -> float:
    """Return the answers a second; NaN where they are errors."""
    with contextlib.suppress(SystemExit):
        return load(server, seconds, path=path).rate
    return math.nan


CASES: list[Case] = [functools.partial(beside, peer) for peer in PEERS if peer.is_there()]
