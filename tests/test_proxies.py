"""Real proxies: who the client is, what is forged, requests as bytes, and limits over killed instances."""

from __future__ import annotations

import collections
import contextlib
import http.client
import itertools
import os
import random
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.proxies import APPENDING, HALF, replace_once, site_of, start_haproxy, start_nginx
from tests.redis_server import RedisServer
from tests.support import GENEROUS, MEDIA, V1, Server, configuration, free_port, soon, soon_gone
from tests.test_http import FILES, STATUS, answers, bytes_of

OURS = ["127.0.0.1/32"]  # where our proxies are; visitors come from other addresses of this machine
ONE_ONLY = "http-request set-header X-Forwarded-For %[src]\n    http-request del-header Forwarded"
BY_THE_RFC = 'http-request del-header X-Forwarded-For\n    http-request set-header Forwarded "for=%[src]"'
APPENDING_BY_THE_RFC = BY_THE_RFC.replace("set-header", "add-header")
SET_BY_NGINX = "proxy_set_header X-Forwarded-For $remote_addr;"
APPENDED_BY_NGINX = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
FORGED = "198.51.100.66"
UNREADABLE = {"Forwarded": f'for={FORGED};x="'}
FORGERIES: list[dict[str, str]] = [
    {},
    {"X-Forwarded-For": FORGED},
    {"X-Forwarded-For": f"{FORGED}, 127.0.0.1"},
    {"X-Forwarded-For": f'", {FORGED}'},
    {"Forwarded": f"for={FORGED}"},
    UNREADABLE,
    {"Forwarded": f"for={FORGED}, for=127.0.0.1", "X-Forwarded-For": f"{FORGED}, 127.0.0.1"},
    {"X-Real-IP": FORGED, "X-Client-IP": FORGED, "Via": "1.1 x"},
]
STRICTER = {  # good requests that a proxy does not let through
    ("nginx", "200_run_with_1.0_and_no_host"),  # our file passes the host on, as it is
    ("HAProxy", "200_run_with_a_query_and_a_mark"),
}
Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Yield a function that starts one of our servers in a folder of its own; all end with the test."""
    with contextlib.ExitStack() as stack:

        def one(begin: Callable[[Path, int], Server]) -> Server:
            port = free_port()
            folder = tmp_path / str(port)
            folder.mkdir()
            server = begin(folder, port)
            stack.callback(server.stop)
            server.wait_until_ready()
            return server

        yield one


# On a busy machine a store answers late: what it has taken by then would be held and spent for nothing.
PATIENT_WITH_ITS_STORE = """
import sys, tinytracer
from lookingglass import in_redis, sharing
sharing.QUEUE = 10.0
in_redis.TIMEOUT = 10.0
tinytracer.main(sys.argv[1:])
"""


def glass(**document: Any) -> Callable[[Path, int], Server]:
    def begin(folder: Path, port: int) -> Server:
        config = configuration(folder, **{"trustproxy": OURS, **document})
        argv = [sys.executable, "-c", PATIENT_WITH_ITS_STORE, "--config", str(config)]
        return Server([*argv, "--listen", f"127.0.0.1:{port}"], port)

    return begin


def nginx(behind: Server, change: tuple[str, str] = ("", "")) -> Callable[[Path, int], Server]:
    def begin(folder: Path, port: int) -> Server:
        site = site_of("nginx.conf", port, behind.port)
        return start_nginx(folder, replace_once(site, *change) if any(change) else site, port)

    return begin


def haproxy(*behind: Server, headers: str = APPENDING) -> Callable[[Path, int], Server]:
    return lambda folder, port: start_haproxy(folder, port, [each.port for each in behind], headers)


# --- who the client is


def shown_to(port: int, client: str, headers: dict[str, str]) -> str:
    """Return the address that the page shows to a client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(client, 0))
    with contextlib.closing(connection):
        connection.request("GET", "/", headers=headers)
        page = connection.getresponse().read().decode()
    return page.partition('name="ip"')[2].partition('value="')[2].partition('"')[0]


CHAINS: dict[str, Callable[[Start, Server], Server]] = {
    "nginx": lambda start, behind: start(nginx(behind)),
    "HAProxy": lambda start, behind: start(haproxy(behind, headers=APPENDING)),
    "HAProxy, set": lambda start, behind: start(haproxy(behind, headers=ONE_ONLY)),
    "HAProxy by RFC 7239": lambda start, behind: start(haproxy(behind, headers=BY_THE_RFC)),
    "HAProxy, nginx": lambda start, behind: start(
        haproxy(start(nginx(behind, (SET_BY_NGINX, APPENDED_BY_NGINX))))
    ),
    "nginx, HAProxy": lambda start, behind: start(nginx(start(haproxy(behind)))),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_true_client_is_found_and_nothing_forged_changes_that(start: Start, chain: str) -> None:
    behind = start(glass(showip=True))
    front = CHAINS[chain](start, behind)
    for number, headers in enumerate(FORGERIES, 2):
        shown = shown_to(front.port, f"127.0.1.{number}", headers)
        assert shown == f"127.0.1.{number}", headers


def test_proxy_that_lets_one_header_through_names_itself_and_nobody_forged(start: Start) -> None:
    front = start(haproxy(start(glass(showip=True)), headers=HALF))
    for headers in FORGERIES:
        honest = "127.0.0.1" if "Forwarded" in headers else "127.0.1.2"
        assert shown_to(front.port, "127.0.1.2", headers) == honest


def test_proxy_that_adds_to_what_cannot_be_read_names_itself_and_nobody_forged(start: Start) -> None:
    front = start(haproxy(start(glass(showip=True)), headers=APPENDING_BY_THE_RFC))
    for headers in FORGERIES:
        honest = "127.0.0.1" if headers == UNREADABLE else "127.0.1.2"
        assert shown_to(front.port, "127.0.1.2", headers) == honest


@pytest.mark.parametrize("chain", CHAINS)
def test_limits_count_the_true_client_whatever_it_forges(start: Start, chain: str) -> None:
    limits = {**GENEROUS, "rate": "2/day", "burst": 2}
    front = CHAINS[chain](start, start(glass(limits=limits)))

    def status(client: str, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection(
            "127.0.0.1", front.port, timeout=60, source_address=(client, 0)
        )
        with contextlib.closing(connection):
            connection.request("GET", f"{V1}/true", headers=headers)
            return connection.getresponse().status

    greedy = [status("127.0.1.2", {**FORGERIES[number % len(FORGERIES)]}) for number in range(12)]
    assert greedy == [200] * 2 + [429] * 10
    assert status("127.0.1.3", {"X-Forwarded-For": "127.0.1.2"}) == 200


@pytest.mark.parametrize("accept", MEDIA)
def test_visitor_who_leaves_haproxy_ends_the_command(start: Start, accept: str) -> None:
    """Without abortonclose HAProxy tells nobody until there is something to write."""
    behind = start(glass())
    connection = start(haproxy(behind)).begin(f"{V1}/sleep", accept)
    children = behind.wait_for_children()
    connection.close()
    assert soon_gone(*children)


# --- requests as bytes


def by_line(text: bytes) -> list[bytes]:
    return re.findall(rb"[^\n]*\n|[^\n]+", text)


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Server], Path]]:
    """Yield nginx and HAProxy before a glass whose command leaves a mark, and the file of the marks."""
    with contextlib.ExitStack() as stack:

        def begin(begin: Callable[[Path, int], Server]) -> Server:
            port = free_port()
            server = begin(tmp_path_factory.mktemp("proxy"), port)
            stack.callback(server.stop)
            server.wait_until_ready()
            return server

        file = tmp_path_factory.mktemp("marks") / "marks"
        script = f"open({str(file)!r}, 'a').write('x')"
        behind = begin(glass(commands={"mark": {"cmd": [sys.executable, "-Sc", script]}}))
        yield {"nginx": begin(nginx(behind)), "HAProxy": begin(haproxy(behind))}, file


def told_in(received: bytes) -> int:
    return received.count(b'"command": "mark"')


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["nginx", "HAProxy"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_request_through_a_proxy_runs_nothing_unseen(
    marks: tuple[dict[str, Server], Path], proxy: str, file: Path
) -> None:
    """Whole, by line and by byte; and the next visitor's answer is that visitor's own.

    A proxy may make a good request of a bad one. Then it runs, once, and whoever has sent it is answered.
    """
    proxies, marked = marks
    text = bytes_of(file)
    runs = "_run" in file.stem and (proxy, file.stem) not in STRICTER
    for pieces in ([text], by_line(text), [text[at : at + 1] for at in range(len(text))][:1000]):
        marked.write_text("")
        received = answers(proxies[proxy], pieces, 1.0, lambda seen: told_in(seen) >= runs)
        told = told_in(received)
        assert marked.read_text() == told * "x", (
            received
        )  # nothing runs whose answer is not for who has asked
        if runs:
            assert told == 1
        assert told <= 1
        assert all(100 <= int(status) < 600 for status in STATUS.findall(received))
        for path, body in (("/healthz", b"ok"), ("/api/capabilities", b'{"ipv4": true, "ipv6": true}\n')):
            assert proxies[proxy].get(path)[::2] == (200, body)


# --- limits over instances that are killed

# What it writes into its file says who was let through; the process is known by what it was given.
HOLD = """
import sys, time
open({file!r}, "a").write(sys.argv[1] + "\\n")
print(flush=True)
time.sleep({seconds})
"""
# Runs to one target network: of all, of four networks (what is kept gives each one), and of one.
PER_TARGET, OF_FOUR_NETWORKS, OF_ONE_NETWORK = 16, 12, 4
LIMITS: dict[str, Any] = {
    **GENEROUS,
    "concurrent": 5,
    "per_router": 4,
    "per_client": 2,
    "viewers": 8,
    "network_share": 0.5,
    "target_rate": f"{PER_TARGET}/day",
}
SLOTS_OF_ONE_NETWORK = 3
CLIENTS = [[f"127.0.{network}.{number}" for number in range(1, 11)] for network in range(1, 5)]
TARGETS = range(3)  # networks; all other targets are alone in theirs
OPERATIONS = 400
KILLS = 3


class Asked(NamedTuple):
    """Say who has asked for what."""

    client: str
    router: str
    target: int | None

    @property
    def network(self) -> str:
        return self.client.rpartition(".")[0]


class Crowd:
    """Visitors who ask and leave, and what of it runs and ran; each question has a target of its own."""

    def __init__(self, port: int, begun: Path) -> None:
        self.port = port
        self.open: dict[str, socket.socket] = {}
        self.statuses: collections.Counter[int] = collections.Counter()
        self._asked: dict[str, Asked] = {}
        self._begun = begun
        self._numbers: dict[int | None, Iterator[int]] = collections.defaultdict(itertools.count)

    def ask(self, client: str, router: str, command: str = "hold", target: int | None = None) -> int:
        """Return the status; 0: the connection was lost."""
        high, low = divmod(next(self._numbers[target]), 250)
        address = f"10.{high}.{low}.1" if target is None else f"11.{target}.{high}.{low}"
        self._asked[address] = Asked(client, router, target)
        connection = socket.create_connection(("127.0.0.1", self.port), 60, (client, 0))
        status = 0
        with contextlib.suppress(OSError):
            line = f"GET {V1}/{command}/{address}?router={router} HTTP/1.1"
            connection.sendall(f"{line}\r\nHost: lg\r\nAccept: text/plain\r\n\r\n".encode())
            match = re.match(rb"HTTP/1.1 ([0-9]{3}) ", connection.recv(65536))
            status = int(match[1]) if match else 0
        self.statuses[status] += 1
        if status == 200:
            self.open[address] = connection
        else:
            connection.close()
        return status

    def leave_all(self) -> None:
        while self.open:
            self.open.popitem()[1].close()

    def begun(self) -> list[Asked]:
        """Return what was begun, ever."""
        return [self._asked[address] for address in self._begun.read_text().split()]

    def running(self) -> list[Asked]:
        """Return what runs now, also below an instance that was killed."""
        found = []
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = each.read_bytes().decode(errors="replace").split("\0")
                if len(words) > 3 and str(self._begun) in words[2]:
                    found.append(self._asked[words[3]])
        return found

    def check(self) -> None:
        """Hold what runs, and what has run, against every limit."""
        running = self.running()
        assert len(running) <= LIMITS["concurrent"]
        assert most(each.router for each in running) <= LIMITS["per_router"]
        assert most(each.network for each in running) <= SLOTS_OF_ONE_NETWORK
        begun = [each for each in self.begun() if each.target is not None]
        assert most(each.target for each in begun) <= PER_TARGET
        assert most((each.target, each.network) for each in begun) <= OF_ONE_NETWORK


def most(of: Iterable[object]) -> int:
    return max(collections.Counter(of).values(), default=0)


@pytest.mark.slow
def test_limits_hold_exactly_behind_haproxy_while_instances_are_killed(start: Start, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.touch()
    commands = {
        name: {
            "cmd": [sys.executable, "-Sc", HOLD.format(file=str(begun), seconds=seconds), "{{TARGET}}"],
            "argument": "address",
        }
        for name, seconds in (("hold", 1000), ("brief", 0.2))
    }
    routers = [{"name": name, "commands": commands} for name in ("r1", "r2")]
    redis = RedisServer(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(redis.kill)
        begin = glass(routers=routers, limits=LIMITS, store=redis.url)
        instances = [start(begin), start(begin)]
        crowd = Crowd(start(haproxy(*instances)).port, begun)
        stack.callback(crowd.leave_all)
        ask_at_random(crowd, instances, lambda each: begin(tmp_path / str(each.port), each.port), stack)
        assert min(crowd.statuses[status] for status in (200, 429, 503)) > 10, crowd.statuses
        assert soon(lambda: fills_exactly(crowd))
        spend_all(crowd)
        runs = collections.Counter(each.target for each in crowd.begun() if each.target is not None)
        # An instance that is killed between a decision and the start of a process has spent for nothing.
        assert all(OF_FOUR_NETWORKS - KILLS <= runs[target] <= OF_FOUR_NETWORKS for target in TARGETS), runs


def ask_at_random(
    crowd: Crowd, instances: list[Server], begin: Callable[[Server], Server], stack: contextlib.ExitStack
) -> None:
    """Ask, leave, and kill instances; each comes back."""
    chance = random.Random(9)
    kills = sorted(chance.sample(range(50, OPERATIONS - 50), KILLS))
    for number in range(OPERATIONS):
        if number in kills:
            victim = chance.randrange(2)
            os.kill(instances[victim].process.pid, signal.SIGKILL)
            instances[victim].process.wait(60)
        elif number - 40 in kills:
            dead = next(each for each in instances if each.process.poll() is not None)
            instances[instances.index(dead)] = fresh = begin(dead)
            stack.callback(fresh.stop)
        elif crowd.open and chance.random() < 0.3:
            crowd.open.pop(chance.choice(list(crowd.open))).close()
        else:
            client, target = chance.choice(chance.choice(CLIENTS)), chance.choice([None, None, *TARGETS])
            crowd.ask(client, chance.choice(["r1", "r2"]), chance.choice(["hold", "brief"]), target)
        crowd.check()


def fills_exactly(crowd: Crowd) -> bool:
    """Tell whether all slots are free, no more and no less, once those that were there have left."""
    crowd.leave_all()
    time.sleep(0.5)
    wanted = [(0, "r1"), (0, "r1"), (1, "r1"), (2, "r1"), (3, "r1"), (3, "r2"), (0, "r2")]
    rows = enumerate(wanted)
    statuses = [crowd.ask(CLIENTS[network][number], router) for number, (network, router) in rows]
    crowd.check()
    crowd.leave_all()
    return statuses == [200, 200, 200, 200, 503, 200, 503]


def spend_all(crowd: Crowd) -> None:
    """Have every network ask for every target until it is refused."""
    for target, network in itertools.product(TARGETS, CLIENTS):
        for client in network[: OF_ONE_NETWORK + 1]:
            crowd.ask(client, "r1", "brief", target)
            crowd.check()
            crowd.leave_all()
            assert soon(lambda: not crowd.running())
