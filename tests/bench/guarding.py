"""What the guard costs a run, by where its counts are kept."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import ipaddress
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

from lookingglass.guard import Guard, Limits
from lookingglass.store import Rate
from lookingglass.stores import open_store
from tests.bench.servers import free_port
from tests.bench.table import Case, Pair, Rounds, Row, percentile

RUNS_A_SECOND = 100  # of each store; fast enough for a round, and slow enough for the slowest disk
PATIENCE = 5.0  # seconds in which a store has to answer
ENDLESS = Rate(1000000, 86400.0)
ROOMY = Limits()._replace(
    rate=ENDLESS,
    target_rate=ENDLESS,
    global_rate=ENDLESS,
    slot_seconds=ENDLESS,
    burst=ENDLESS.runs,
    network_share=1.0,
)
CLIENT = "192.0.2.1"
TARGET = ipaddress.ip_network("198.51.100.0/24")


@contextlib.contextmanager
def in_memory() -> Iterator[str]:
    yield "memory"


@contextlib.contextmanager
def in_file() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:{folder}/limits"


@contextlib.contextmanager
def in_server() -> Iterator[str]:
    """Start a redis-server that keeps nothing on the disk."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
            try:
                yield f"redis://127.0.0.1:{port}"
            finally:
                process.terminate()


def has_redis() -> bool:
    """Tell whether the server is installed, and the optional package that reaches it."""
    return bool(shutil.which("redis-server") and importlib.util.find_spec("redis"))


STORES = {"memory": in_memory, "SQLite": in_file, **({"Redis": in_server} if has_redis() else {})}


@contextlib.contextmanager
def guarding(name: str) -> Iterator[Callable[[], float]]:
    """Yield a function that admits and ends a run, and returns the seconds that it has waited for that."""
    with STORES[name]() as where:
        store = open_store(where)
        guard = Guard(ROOMY, store)

        def run() -> float:
            began = time.perf_counter()
            place = guard.place(CLIENT)
            slot = guard.slot(TARGET, CLIENT, "r1")
            slot.end()
            place.end()
            return time.perf_counter() - began

        with contextlib.closing(store):
            wait_for(run)
            yield run


def wait_for(run: Callable[[], float]) -> None:
    """Run until the store is there."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            run()
            return
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def price(name: str, seconds: float) -> Rounds:
    """Admit and end runs one after the other, in memory and in another store in turns."""
    count = max(5, round(RUNS_A_SECOND * seconds))
    with guarding("memory") as memory, guarding(name) as other:
        while True:
            columns = zip(*((1e6 * memory(), 1e6 * other()) for _ in range(count)), strict=True)
            times = [(statistics.median(column), percentile(column, 99)) for column in columns]
            medians, slowest = (Pair(*pair) for pair in zip(*times, strict=True))
            yield {
                Row(f"guard of a run, memory | {name}: median, µs"): medians,
                Row(f"guard of a run, memory | {name}: p99, µs"): slowest,
            }


CASES: list[Case] = [functools.partial(price, name) for name in STORES if name != "memory"]
