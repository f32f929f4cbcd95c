"""A process that takes and gives back at random, beside others, and notes it where all can see it.

Each worker has cells of its own in a file that all of them map: what it certainly holds of each key, what it
may hold, and how often it has begun to take. From them follows what the store must never have done.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import random
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lookingglass import in_redis, in_sqlite, sharing
from lookingglass.sharing import Shared
from lookingglass.store import Claim, Gone, Rate, Share, Token
from lookingglass.stores import open_store

WORKERS = 8
KEYS = {"a": 2, "b": 3, "c": 5, "d": 9}
BUCKET = Token("bucket", Rate(1, 86400.0), 100_000.0)
CERTAIN, POSSIBLE, BEGUN, SPENT = range(4)
CELLS = 4 * len(KEYS) * WORKERS
# How long a decision waits before it counts as refused: what a busy machine makes longer.
WAITS = ((sharing, "QUEUE"), (in_sqlite, "QUEUE"), (in_sqlite, "BUSY"), (in_redis, "TIMEOUT"))


def be_patient(put: Callable[[object, str, float], None]) -> None:
    """Have no store of this process be gone because the machine is busy; ``put`` is setattr, or a patch's."""
    for module, name in WAITS:
        put(module, name, 10.0)


class Cells:
    """Count, seen by all workers."""

    def __init__(self, path: Path, worker: int) -> None:
        if not path.exists():
            path.write_bytes(bytes(4 * CELLS))
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 4 * CELLS)
        self._worker = worker

    def close(self) -> None:
        self._map.close()
        self._file.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def add(self, what: int, key: int, change: int, worker: int | None = None) -> None:
        at = self._at(what, key, self._worker if worker is None else worker)
        struct.pack_into("i", self._map, at, struct.unpack_from("i", self._map, at)[0] + change)

    def total(self, what: int, key: int) -> int:
        return sum(self.of(what, key, worker) for worker in range(WORKERS))

    def of(self, what: int, key: int, worker: int) -> int:
        return int(struct.unpack_from("i", self._map, self._at(what, key, worker))[0])

    def forget(self, what: int, worker: int) -> None:
        """Set to nothing what a worker had; ``alone`` is for the caller."""
        for key in range(len(KEYS)):
            self.add(what, key, -self.of(what, key, worker), worker)

    def _at(self, what: int, key: int, worker: int) -> int:
        return 4 * ((what * len(KEYS) + key) * WORKERS + worker)


class Worker:
    """Take and give back at random."""

    def __init__(self, store: Shared, cells: Cells, seed: int) -> None:
        self.store = store
        self.cells = cells
        self.random = random.Random(seed)
        self.held: list[list[Claim]] = []
        self.counts = {"taken": 0, "refused": 0, "gone": 0, "given": 0}

    def step(self) -> None:
        if self.held and self.random.random() < 0.5:
            self.give()
        else:
            self.take()

    def take(self) -> None:
        names = self.random.sample(list(KEYS), self.random.randint(1, 3))
        claims: list[Claim] = [Share(name, KEYS[name]) for name in names]
        if self.random.random() < 0.5:
            claims.append(BUCKET)
        numbers = [list(KEYS).index(name) for name in names]
        with self.cells.alone():
            for key in numbers:
                self.cells.add(POSSIBLE, key, 1)
                self.cells.add(BEGUN, key, 1)
            bounds = {key: self._bound(key) for key in numbers}
        try:
            decision = self.store.take(claims)
        except Gone:
            self.counts["gone"] += 1
            with self.cells.alone():
                self._drop(POSSIBLE, numbers)
            return
        with self.cells.alone():
            if decision.refused is None:
                self._took(claims, numbers)
            else:
                key = list(KEYS).index(decision.refused.key)
                most = bounds[key] + self.cells.total(BEGUN, key)
                assert most > KEYS[decision.refused.key], "it has refused what was free"
                self._drop(POSSIBLE, numbers)
                self.counts["refused"] += 1

    def give(self) -> None:
        claims = self.held.pop(self.random.randrange(len(self.held)))
        numbers = [list(KEYS).index(claim.key) for claim in claims if isinstance(claim, Share)]
        refund = self.random.random() < 0.3
        with self.cells.alone():
            self._drop(CERTAIN, numbers)
            if refund and BUCKET in claims:
                self.cells.add(SPENT, 0, -1)
        self.store.give(claims, refund)
        self.settle()
        self.counts["given"] += 1
        with self.cells.alone():
            self._drop(POSSIBLE, numbers)

    def settle(self) -> None:
        """Have the store know at once what it would learn in a moment."""
        store = self.store
        with store._lock:
            store._tend()

    def _bound(self, key: int) -> int:
        return self.cells.total(POSSIBLE, key) - self.cells.total(BEGUN, key)

    def _took(self, claims: list[Claim], numbers: list[int]) -> None:
        self.held.append(claims)
        self.counts["taken"] += 1
        for key in numbers:
            self.cells.add(CERTAIN, key, 1)
            name = list(KEYS)[key]
            assert self.cells.total(CERTAIN, key) <= KEYS[name], "more is held than the limit"
        if BUCKET in claims:
            self.cells.add(SPENT, 0, 1)

    def _drop(self, what: int, numbers: list[int]) -> None:
        for key in numbers:
            self.cells.add(what, key, -1)


def main(where: str, path: str, number: str, steps: str) -> None:
    """Make some steps and print what came of them; with no steps, hold all there is of "a" for ever."""
    be_patient(setattr)
    store = open_store(where)
    assert isinstance(store, Shared)
    cells = Cells(Path(path), int(number))
    worker = Worker(store, cells, int(number))
    if steps == "0":
        for _ in range(KEYS["a"]):
            assert store.take([Share("a", KEYS["a"])]).refused is None
        print("holding", flush=True)
        sys.stdin.read()
        os._exit(0)
    for _ in range(int(steps)):
        worker.step()
    while worker.held:
        worker.give()
    store.close()
    print(json.dumps(worker.counts), flush=True)
    cells.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
