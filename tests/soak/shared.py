"""Ask several processes with one store at random while they are killed, and hold every limit against it.

Either gunicorn with two workers and SQLite, or two instances of ours behind HAProxy with Redis. Visitors ask,
join, leave and let end; a sampler looks all the while at what really runs. Afterwards nothing may be held,
and every slot has to be there, no more and no fewer.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import operator
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.proxies import start_haproxy
from tests.redis_server import RedisServer
from tests.support import GENEROUS, HERE, V1, configuration, free_port, soon, stat

THREADS = 12  # of visitors
PAUSE = 0.15  # seconds between two operations of a visitor, on average
EVERY = 1000  # operations, one process is killed
LOST, LEFT = 0, 1  # in place of a status: the connection was lost, the visitor has left
LEASE = 15.0  # seconds in which what killed processes held is free again
LIMITS: dict[str, Any] = {
    **GENEROUS,
    "concurrent": 16,
    "per_router": 10,
    "per_client": 2,
    "viewers": 24,
    "network_share": 0.5,
    "runtime": 3600,  # so that a long answer ends only when its visitor leaves
    "max_runtime": 3600,
    "rate": "60/minute",
    "burst": 12,
    "target_rate": "40/minute",
    "global_rate": "1200/minute",
}
SLOTS_OF_NETWORK, PLACES_OF_NETWORK = 8, 12
ROUTERS = ("r1", "r2")
CLIENTS = [f"127.0.{network}.{number}" for network in range(1, 7) for number in range(1, 9)]
TARGETS = 4  # networks that many ask for; all other targets are alone in theirs
# What the commands say of themselves, for whoever looks at their environment.
MARK = f"SOAK_{os.getpid()}"
COMMANDS = {"hold": "3600", "brief": "0.1", "briefer": "0"}
WORDS = {LOST: "lost", LEFT: "left"}
FAULTS = (b"Traceback", b"lines were lost", b" failed\n")


class Asked(NamedTuple):
    """Say who has asked for what."""

    client: str
    router: str
    target: int | None  # one of those that many ask for
    command: str
    address: str
    is_join: bool = False

    @property
    def network(self) -> str:
        """Return the client's /24."""
        return self.client.rpartition(".")[0]


def allowed(rate: str, seconds: float, burst: float | None = None) -> float:
    """Return how many tokens a bucket may have given in some seconds."""
    runs = int(rate.partition("/")[0])
    return (runs if burst is None else burst) + runs * seconds / 60


def too_many(of: Iterable[object], limit: float, what: str) -> list[str]:
    """Return a complaint about each thing that there is too often."""
    return [f"{n} {what} of {key}" for key, n in collections.Counter(of).items() if n > limit]


class Crowd:
    """Visitors, what they have asked for, and whose answers they are reading."""

    def __init__(self, port: int) -> None:
        self.statuses: collections.Counter[int] = collections.Counter()
        self.wrong: list[str] = []
        self.samples = 0
        self.most = 0  # that ran at once
        self.asked: dict[str, Asked] = {}  # by target
        self.began = time.monotonic()
        self._ran: list[Asked] = []  # what certainly ran
        self._open: dict[socket.socket, Asked] = {}
        self._port = port
        self._lock = threading.Lock()
        self._number = 0

    def ask(self, asked: Asked, leaves: bool = False) -> int:
        """Ask for a run; return the status of the answer, LEFT or LOST."""
        connection = socket.socket()
        status = LEFT if leaves else LOST
        with contextlib.suppress(OSError):
            connection.settimeout(20)
            connection.bind((asked.client, 0))
            connection.connect(("127.0.0.1", self._port))
            line = f"GET {V1}/{asked.command}/{asked.address}?router={asked.router} HTTP/1.1"
            connection.sendall(
                f"{line}\r\nHost: lg\r\nAccept: text/plain\r\nConnection: close\r\n\r\n".encode()
            )
            if not leaves:
                status = int(connection.recv(65536)[9:12] or LOST)
            if status == 200 and asked.command == "hold":
                connection.setblocking(False)
        with self._lock:
            self.statuses[status] += 1
            if status == 200:
                self._ran += [] if asked.is_join else [asked]
                self._open[connection] = asked
        if status not in {LOST, LEFT, 200, 429, 502, 503}:
            self.wrong.append(f"an answer of {status}")
        if status != 200:
            connection.close()
        elif asked.command != "hold":
            with contextlib.suppress(OSError):
                while connection.recv(65536):
                    pass
            self.leave(connection)
        return status

    def come_in(self, chance: random.Random) -> None:
        """Wait until the house answers; what is counted begins then."""
        soon(lambda: self.ask(self.question(chance)) == 200, 30)
        self.leave_all()
        self.statuses.clear()
        self._ran.clear()
        self.began = time.monotonic()

    def question(self, chance: random.Random) -> Asked:
        """Make up a question that nobody has asked yet, or join one."""
        client = chance.choice(CLIENTS)
        with self._lock:
            if self._open and chance.random() < 0.2:
                other = chance.choice(list(self._open.values()))
                return other._replace(client=client, is_join=True)
            self._number += 1
            target = chance.choice([None, None, *range(TARGETS)])
            high, low = divmod(self._number, 250)
            address = f"{10 + high // 250}.{high % 250}.{low}.1"
            if target is not None:
                address = f"9.9.{target}.{self._number % 250}"
            command = chance.choice(list(COMMANDS))
            asked = Asked(client, chance.choice(ROUTERS), target, command, address)
            self.asked[address] = asked
        return asked

    def leave(self, connection: socket.socket | None = None) -> None:
        """Close a connection, or one of those that are open."""
        with self._lock:
            connection = connection or next(self._held(), None)
            if connection:
                self._open.pop(connection, None)
                connection.close()

    def leave_all(self) -> None:
        """Close all connections."""
        while any(self._held()):
            self.leave()

    def _held(self) -> Iterator[socket.socket]:
        """Return the connections of answers that do not end: of others the end may be known too late."""
        return (each for each in self._open if each.gettimeout() == 0)

    def check(self) -> None:
        """Hold what runs, who reads and what ran against every limit."""
        self.samples += 1
        running = [self.asked[address] for address in running_now() if address in self.asked]
        self.most = max(self.most, len(running))
        with self._lock:
            for connection in [each for each in self._held() if is_over(each)]:
                del self._open[connection]
                connection.close()
            reading = [self._open[each] for each in self._held()]
            ran = self._ran[:]
        seconds = time.monotonic() - self.began
        rate = LIMITS["target_rate"]
        targets = [each for each in ran if each.target is not None]
        self.wrong += [
            *too_many(("all" for _ in running), LIMITS["concurrent"], "commands"),
            *too_many((each.router for each in running), LIMITS["per_router"], "commands"),
            *too_many((each.network for each in running), SLOTS_OF_NETWORK, "commands"),
            *too_many((each.client for each in running), 2 * LIMITS["per_client"], "commands"),
            *too_many(("all" for _ in reading), LIMITS["viewers"], "answers"),
            *too_many((each.network for each in reading), PLACES_OF_NETWORK, "answers"),
            *too_many((each.client for each in reading), LIMITS["per_client"], "answers"),
            *too_many(
                (each.client for each in ran), allowed(LIMITS["rate"], seconds, LIMITS["burst"]), "runs"
            ),
            *too_many(("all" for _ in ran), allowed(LIMITS["global_rate"], seconds), "runs"),
            *too_many((each.target for each in targets), allowed(rate, seconds), "runs"),
            *too_many(((each.target, each.network) for each in targets), allowed(rate, seconds) / 4, "runs"),
        ]


def is_over(connection: socket.socket) -> bool:
    """Tell whether the other end of a connection has closed it."""
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def running_now() -> list[str]:
    """Return the targets of all commands that ran together at one moment."""
    before = commands()
    return [address for who, address in commands().items() if who in before]


def commands() -> dict[tuple[int, str], str]:
    """Return the targets of commands, whoever is their parent, by process and moment of birth."""
    found = {}
    for each in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            words = Path(f"/proc/{each}/environ").read_bytes().split(b"\0")
            for address in (word.partition(b"=")[2] for word in words if word.startswith(MARK.encode())):
                if (fields := stat(each)) and fields[0] not in "ZX":
                    found[int(each), fields[19]] = address.decode()
    return found


class Gunicorn:
    """gunicorn with two workers that share a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "limits.db"
        config = written(folder, f"sqlite:{self._file}")
        self.port = free_port()
        options = ["--workers=2", "--threads=64", f"--bind=127.0.0.1:{self.port}"]
        argv = [sys.executable, "-m", "gunicorn", "--config=examples/gunicorn.conf.py", *options]
        self._log = folder / "log"
        environ = {**os.environ, "TINYTRACER_CONFIG": str(config)}
        self._process = begin([*argv, "tinytracer:application"], self._log, environ)

    def kill(self, chance: random.Random) -> None:
        """Kill a worker; gunicorn starts another one."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        workers = [
            int(each) for each in children if b"gunicorn" in Path(f"/proc/{each}/cmdline").read_bytes()
        ]
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)

    def held(self) -> int:
        """Return how many shares are held."""
        with contextlib.closing(sqlite3.connect(self._file, timeout=5)) as database:
            living = "SELECT total(count) FROM held JOIN holder USING (holder) WHERE expires > ?"
            return int(database.execute(living, (time.clock_gettime(time.CLOCK_BOOTTIME),)).fetchone()[0])

    def log(self) -> bytes:
        """Return all that was logged."""
        return self._log.read_bytes()

    def stop(self) -> None:
        """End it."""
        end(self._process)


class Instances:
    """Two instances behind HAProxy, which share a Redis."""

    def __init__(self, folder: Path) -> None:
        self._redis = RedisServer(folder)
        self._config = written(folder, self._redis.url, trustproxy=["127.0.0.1/32"])
        self._folder = folder
        self._ports = [free_port(), free_port()]
        self._processes = [self._begin(port) for port in self._ports]
        self.port = free_port()
        self._proxy = start_haproxy(folder, self.port, self._ports)

    def kill(self, chance: random.Random) -> None:
        """Kill an instance, and start it again."""
        which = chance.randrange(2)
        self._processes[which].kill()
        self._processes[which].wait(20)
        time.sleep(chance.random())
        self._processes[which] = self._begin(self._ports[which])

    def held(self) -> int:
        """Return how many shares are held."""
        keys: Any = self._redis.client.keys("*:held:*")
        counts: Any = [self._redis.client.hvals(key) for key in keys]
        return sum(int(each) for values in counts for each in values)

    def log(self) -> bytes:
        """Return all that was logged."""
        return b"".join((self._folder / f"{port}.log").read_bytes() for port in self._ports)

    def stop(self) -> None:
        """End all of it."""
        self._proxy.stop()
        for each in self._processes:
            end(each)
        self._redis.kill()

    def _begin(self, port: int) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "tinytracer.py", f"--config={self._config}", f"--listen=127.0.0.1:{port}"]
        return begin(argv, self._folder / f"{port}.log", dict(os.environ))


House = Gunicorn | Instances
HOUSES: dict[str, Callable[[Path], House]] = {"sqlite": Gunicorn, "redis": Instances}


def written(folder: Path, store: str, **more: Any) -> Path:
    """Write a configuration with the commands that are asked for."""
    commands = {
        name: {
            "cmd": ["env", f"{MARK}={{{{TARGET}}}}", "sh", "-c", f"echo; exec sleep {seconds}"],
            "argument": "address",
        }
        for name, seconds in COMMANDS.items()
    }
    routers = [{"name": name, "commands": commands} for name in ROUTERS]
    return configuration(folder, routers=routers, limits=LIMITS, store=store, **more)


def begin(argv: list[str], log: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server, whose log is appended to."""
    with log.open("ab") as file:
        return subprocess.Popen(argv, cwd=HERE, env=environ, stdout=file, stderr=file)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server, by force where it has to be."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def storm(crowd: Crowd, operations: Iterator[int], seed: int) -> None:
    """Do some of the operations."""
    chance = random.Random(seed)
    for _ in operations:
        time.sleep(2 * PAUSE * chance.random())
        if chance.random() < 0.35:
            crowd.leave()
        else:
            crowd.ask(crowd.question(chance), leaves=chance.random() < 0.1)


def watch(crowd: Crowd, is_over: threading.Event) -> None:
    """Look again and again at what runs."""
    while not is_over.wait(0.02):
        crowd.check()


def besiege(house: House, crowd: Crowd, number: int, seed: int) -> int:
    """Have all operations done, and kill meanwhile; return how often."""
    operations = iter(range(number))  # of which each thread takes the next, one at a time
    over, kills = threading.Event(), 0
    threads = [
        threading.Thread(target=storm, args=(crowd, operations, seed + each)) for each in range(THREADS)
    ]
    watcher = threading.Thread(target=watch, args=(crowd, over))
    for thread in (*threads, watcher):
        thread.start()
    chance = random.Random(seed)
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.05)
        if number - operator.length_hint(operations) >= min(EVERY, number) * (kills + 0.5):
            house.kill(chance)
            kills += 1
    over.set()
    watcher.join()
    return kills


def fills(crowd: Crowd) -> int:
    """Return how many slots there are for those who come one after the other."""
    chance = random.Random(0)
    taken = 0
    for network in range(60):
        asked = crowd.question(chance)._replace(client=f"127.1.{network}.1", router=ROUTERS[network % 2])
        asked = asked._replace(command="hold", target=None, address=f"8.{network}.{int(crowd.began) % 250}.1")
        crowd.asked[asked.address] = asked
        taken += crowd.ask(asked) == 200
    crowd.check()
    crowd.leave_all()
    return taken


def soak(name: str, number: int, seed: int) -> list[str]:
    """Soak one kind of several processes; print the figures and return what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        house = HOUSES[name](Path(folder))
        try:
            crowd = Crowd(house.port)
            crowd.come_in(random.Random(seed))
            kills = besiege(house, crowd, number, seed)
            seconds = time.monotonic() - crowd.began
            crowd.leave_all()
            if not soon(lambda: not house.held() and not commands(), LEASE):
                crowd.wrong.append(f"{house.held()} shares are held, {len(commands())} commands run")
            statuses = dict(sorted(crowd.statuses.items()))
            slots = fills(crowd)
            if slots != LIMITS["concurrent"]:
                crowd.wrong.append(f"{slots} of {LIMITS['concurrent']} slots are there")
            if not soon(lambda: not house.held(), LEASE):
                crowd.wrong.append(f"{house.held()} shares are held in the end")
            crowd.wrong += [
                f"{house.log().count(fault)} times {fault!r} in the log"
                for fault in FAULTS
                if fault in house.log()
            ]
        finally:
            house.stop()
    answers = ", ".join(f"{WORDS.get(status, status)} {count:,}" for status, count in statuses.items())
    print(f"{name}: {number:,} operations in {seconds:.0f} s, {kills} processes killed, seed {seed}")
    print(f"  {answers}; at most {crowd.most} commands at once in {crowd.samples:,} samples")
    wrong = (f"{count} times: {what}" for what, count in collections.Counter(crowd.wrong).most_common(10))
    print(f"  wrong: {len(crowd.wrong)}", *wrong, sep="\n    ", flush=True)
    return crowd.wrong


def main() -> int:
    """Soak, and return 0 when every limit held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.shared", description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000, help="default: 10,000")
    parser.add_argument("--seed", type=int, default=random.randrange(100_000))
    parser.add_argument("--store", dest="houses", action="append", choices=HOUSES, help="default: each")
    options = parser.parse_args()
    wrong = [soak(name, options.operations, options.seed) for name in options.houses or HOUSES]
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())
