"""Ask for minutes as badly as clients can, and look whether everything is as before afterwards."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from tests.bench.servers import allow_many_files
from tests.soak.clients import FAULTS, Client, Tally, canonical, request
from tests.soak.glass import FIGURE, LIMITS, MARK, Inside, Program, Watched
from tests.soak.wire import Wire
from tests.support import V1, stat

REST = 15.0  # seconds in which everything has to come to rest
RESTART = 3.0  # seconds of work before a server is told to end
SAMPLES = 20  # of the memory, while clients are at work
FILLING = 16384  # KiB that the memory may grow by after settling: answers are kept up to 8 MiB
DRIFT = 4096  # KiB that the last quarter of the work may have more than the third one
FILLERS = 24  # networks, for half of the slots are kept for networks that hold none,
KEPT = 4  # and so is a quarter of the viewers' places
SHOWN = 20  # faults that are printed


class Soak:
    """Work a server, and gather what was wrong."""

    def __init__(self, watched: Watched, options: argparse.Namespace) -> None:
        self.watched = watched
        self.options = options
        self.tally = Tally()
        self.killed: Counter[str] = Counter()
        self.wrong = self.tally.wrong
        self.restarts = 0
        self.memory: list[int] = []  # KiB, over time
        self._lives = 0

    async def run(self) -> dict[str, object]:
        """Do everything, and return the figures."""
        watched, options = self.watched, self.options
        began = time.monotonic()
        for _ in range(options.restarts):
            await self._restart()
        watched.start()
        try:
            await self._work(options.settle)
            await self._rest("after settling", watched.threads(), 0)
            before = (watched.threads(), watched.files(), watched.memory())
            cpu = time.process_time()
            await self._work(options.seconds)
            cpu = time.process_time() - cpu
            await self._rest("after the work", before[0], before[1])
            after = (watched.threads(), watched.files(), watched.memory())
            inside = self._look_inside()
            if not options.inside:
                self._look_at_memory(after[2] - before[2])
            await self._look_at_figures()
            await self._fill()
            await self._rest("after filling up", before[0], before[1])
        finally:
            self.wrong += watched.stop()
        self._look_at_records()
        self.wrong += watched.faults()
        told = [f"{now} ({now - then:+})" for then, now in zip(before, after, strict=True)]
        tally = self.tally
        return {
            "seconds": round(time.monotonic() - began),
            "questions asked": len(tally.possible),
            "certainly answered": len(tally.answered),
            "records of the journal": sum(watched.records().values()),
            "statuses": dict(sorted(tally.statuses.items())),
            "outcomes": dict(sorted(watched.outcomes().items())),
            "acts": dict(sorted(tally.acts.items())),
            "faults of clients survived": sum(tally.acts[act.__name__] for act in FAULTS),
            "commands killed": dict(sorted(self.killed.items())),
            "restarts in mid-work": self.restarts,
            "children left": len(watched.children()) if options.inside else 0,
            "threads (drift)": told[0],
            "descriptors (drift)": told[1],
            "memory, KiB (drift)": told[2],
            "memory over time, KiB": self.memory,
            "counters inside that are not 0": inside,
            "exceptions in the log": len(watched.faults()),
            "processor seconds of the clients": round(cpu, 1),
            "seed": self.options.seed,
            "wrong": len(self.wrong),
        }

    # --- the work

    async def _restart(self) -> None:
        """Tell a server to end in the middle of its work."""
        self.watched.start()
        children: set[int] = set()

        async def end() -> None:
            await asyncio.sleep(RESTART)
            children.update(self.watched.children())
            self.tally.is_restarting = True
            self.wrong.extend(await asyncio.to_thread(self.watched.stop))
            is_over.set()

        is_over = asyncio.Event()
        await asyncio.gather(end(), self._clients(is_over))
        self.tally.is_restarting = False
        self.restarts += 1
        if marked():
            self.wrong.append(f"a server that ended has left {marked()}")

    async def _work(self, seconds: float) -> None:
        is_over = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, is_over.set)
        await asyncio.gather(
            self._clients(is_over), self._killer(is_over), self._sampler(is_over, seconds / SAMPLES)
        )

    async def _clients(self, is_over: asyncio.Event) -> None:
        options = self.options
        self._lives += 1
        seed = options.seed + self._lives
        clients = (
            Client(number, self.watched.port, seed, self.tally, options.pause)
            for number in range(options.clients)
        )
        await asyncio.gather(*(client.run(is_over) for client in clients))

    async def _killer(self, is_over: asyncio.Event) -> None:
        """Kill or stop one of the server's commands now and then."""
        chance = random.Random(self.options.seed)
        while not is_over.is_set():
            await asyncio.sleep(chance.uniform(0.1, 0.8))
            children = sorted(self.watched.children())
            if children:
                number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
                if send(number, chance.choice(children), self.watched.pid):
                    self.killed[number.name] += 1

    async def _sampler(self, is_over: asyncio.Event, seconds: float) -> None:
        """Note now and then how much memory the server has."""
        while not is_over.is_set():
            await asyncio.sleep(seconds)
            self.memory.append(self.watched.memory())

    # --- what has to be as before

    async def _rest(self, when: str, threads: int, files: int) -> None:
        """Wait until nothing runs any more, and as much is open as before; ``files`` 0: whatever it is."""
        watched = self.watched
        kept: list[tuple[int, int]] = []

        def is_at_rest() -> bool:
            kept.append((watched.threads(), watched.files()))
            if watched.children() or marked() or any(watched.inside().values()):
                return False
            if not files:  # then it only has to change no more
                return len(kept) > 20 and len(set(kept[-20:])) == 1
            return watched.threads() <= threads and watched.files() == files

        if not await soon(is_at_rest):
            self.wrong.append(
                f"{when}: {len(watched.children())} children, processes {marked()},"
                f" {watched.threads()} threads, {watched.files()} descriptors, {self._look_inside()};"
                f" expected {threads} and {files or 'any'}"
            )

    def _look_inside(self) -> dict[str, int]:
        return {name: count for name, count in self.watched.inside().items() if count}

    def _look_at_memory(self, grown: int) -> None:
        """Judge growth: at first tables and shelves fill, which are bounded; later there is none."""
        if grown > FILLING:
            self.wrong.append(f"memory has grown by {grown} KiB")
        if self.options.seconds >= 20 * SAMPLES:
            *_, third, last = (
                median(each) for each in zip(*[iter(self.memory)] * (SAMPLES // 4), strict=False)
            )
            if last - third > DRIFT:
                self.wrong.append(f"memory grows: {self.memory}")

    async def _look_at_figures(self) -> None:
        """Compare the server's own figures with the journal, for this life of the server."""
        async with Wire(self.watched.port) as wire:
            await wire.send(request("/metrics"))
            text = (await wire.answer()).body.decode()
        found: Counter[str] = Counter()
        for name, _, value in FIGURE.findall(text):
            found[name] += int(float(value))
        for name in ("tinytracer_runs", "tinytracer_viewers"):
            if found[name]:
                self.wrong.append(f"/metrics says {name} {found[name]}")
        if not self.restarts and found["tinytracer_answers"] != sum(self.watched.records().values()):
            self.wrong.append(f"/metrics says {found['tinytracer_answers']} answers")

    async def _fill(self) -> None:
        """Take every slot and then every place, which all have to be there, and one more, which is not."""
        await self._hold(LIMITS["concurrent"], lambda number: f"127.1.{number}.1", "slots")
        await self._rest("after filling the slots", self.watched.threads(), 0)
        await self._hold(LIMITS["viewers"], lambda number: "127.2.1.1", "viewers' places")

    async def _hold(self, count: int, target: Callable[[int], str], what: str) -> None:
        common = count - count // KEPT
        async with contextlib.AsyncExitStack() as stack:

            async def begin(number: int) -> bytes:
                wire = await stack.enter_async_context(Wire(self.watched.port))
                network = 0x100 + number % FILLERS if number < common else 0x200 + number
                who = f"2001:db8:{network:x}:{number:x}::{what[0].encode().hex()}"
                path = f"{V1}/hold/{target(number)}?routerindex={number % 2 if what == 'slots' else 0}"
                self.tally.possible.add(canonical(who))
                await wire.send(request(path, "text/plain", f"X-Forwarded-For: {who}\r\n"))
                seen = b""
                async with asyncio.timeout(REST):
                    while not (b"begin" in seen or b'"error"' in seen):
                        data = await wire.receive()
                        if not data:
                            break
                        seen += data
                self.tally.answered.add(canonical(who))
                return seen

            answers = [await begin(number) for number in range(count)]
            refused = [answer for answer in answers if b"begin" not in answer]
            if refused:
                self.wrong.append(f"{len(refused)} of {count} {what} are not there: {refused[0][-300:]!r}")
            elif f"All {what} are taken ({count})".encode() not in (more := await begin(count)):
                self.wrong.append(f"there are more than {count} {what}: {more[-300:]!r}")

    def _look_at_records(self) -> None:
        """Hold the journal against what clients know: one record for each question, never two."""
        records, tally = self.watched.records(), self.tally
        lost = tally.answered - set(records)
        twice = [who for who, count in records.items() if count > 1]
        unknown = set(records) - tally.possible
        for what, which in (("no record", lost), ("two records", twice), ("unasked records", unknown)):
            if which:
                self.wrong.append(f"{len(which)} questions have {what}: {sorted(which)[:3]}")


def marked() -> list[int]:
    """Return the processes of the soak's commands, whoever is their parent."""
    found = []
    for each in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if each.isdigit() and MARK.encode() in Path(f"/proc/{each}/cmdline").read_bytes():
                found.append(int(each))
    return found


def send(number: int, pid: int, parent: int) -> bool:
    """Send a signal to a process if it is still the parent's child, and tell whether it was."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        is_ours = stat(pid)[1:2] == [str(parent)]
        if is_ours:
            signal.pidfd_send_signal(descriptor, number)
        return is_ours
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


async def soon(condition: Callable[[], object], seconds: float = REST) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    return bool(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, print the figures, and return 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of work; default: 600")
    parser.add_argument("--settle", type=float, default=30, help="seconds of work before; default: 30")
    parser.add_argument("--clients", type=int, default=200, help="default: 200")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two acts; default: 1")
    parser.add_argument("--restarts", type=int, default=5, help="of the server before; default: 5")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100000)
    parser.add_argument("--inside", action="store_true", help="serve in this process, and look inside")
    options = parser.parse_args(arguments)
    options.restarts = 0 if options.inside else options.restarts
    allow_many_files()
    print(f"seed {options.seed}, {options.clients} clients, {options.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        watched = Inside(Path(folder)) if options.inside else Program(Path(folder))
        soak = Soak(watched, options)
        figures = asyncio.run(soak.run())
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    for fault, count in Counter(soak.wrong).most_common(SHOWN):
        print(f"WRONG ({count}): {fault}")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
