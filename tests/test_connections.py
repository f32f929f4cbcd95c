"""Connections in this process: live answers without a thread, and what clients and answers may do to them."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import re
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lookingglass import connections, guard, loop, output, registry, runs, serving, tasks
from lookingglass.serving import Server, Settings
from tests.support import GENEROUS, MEDIA, PATIENT, V1, Latch, build, hold_up, open_files, read_until, soon
from tinytracer import TinyTracer

Application = Callable[[dict[str, Any], Any], Any]


class Here:
    """A server in threads of this process."""

    def __init__(self, application: Application, threads: int = 4, connections: int = 500) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.where = self.listening.getsockname()
        self.server = Server(
            application,
            [self.listening],
            Settings(connections, connections, connections, lambda peer: True, threads),
        )
        self.server.loop.open()
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        self._clients: list[socket.socket] = []

    def connect(self, client: str = "127.0.0.1") -> socket.socket:
        self._clients.append(socket.create_connection(self.where, 60, (client, 0)))
        return self._clients[-1]

    def send(self, request: str) -> socket.socket:
        connection = self.connect()
        connection.sendall(request.replace("\n", "\r\n").encode("latin-1"))
        return connection

    def get(self, path: str, *headers: str) -> socket.socket:
        """Send a request and leave the connection to the caller."""
        return self.send("\n".join((f"GET {path} HTTP/1.1", "Host: lg", *headers, "", "")))

    def stop(self) -> None:
        for each in self._clients:
            each.close()
        self.server.stop()
        self.thread.join(60)
        self.server.close()


@pytest.fixture
def here() -> Iterator[Callable[..., Here]]:
    """Yield a function that serves an application here; afterwards nothing of it is left."""
    threads, files = set(threading.enumerate()), len(open_files())
    started: list[Here] = []

    def start(application: Application, **settings: int) -> Here:
        started.append(Here(application, **settings))
        return started[-1]

    yield start
    for each in started:
        each.stop()
        assert not each.server.channels
        assert not each.server._clients
    assert soon(lambda: set(threading.enumerate()) <= threads)
    assert soon(lambda: len(open_files()) <= files + 4)  # the loops' own, until they are collected


@pytest.fixture
def glass() -> Iterator[Callable[..., TinyTracer]]:
    made: list[TinyTracer] = []

    def make(**document: Any) -> TinyTracer:
        made.append(build(document))
        return made[-1]

    yield make
    for each in made:
        each.close()


def to_the_end(connection: socket.socket) -> bytes:
    with connection, contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: connection.recv(65536), b""))
    return b""


class Live:
    """A live answer that the test feeds."""

    is_waiting = False  # it may have more

    def __init__(self, length: int | None = None) -> None:
        self._length = [] if length is None else [("Content-Length", str(length))]
        self._start: Callable[[], Any] | None = None
        self.pieces: list[bytes | None] = []
        self.notify: Callable[[], None] = lambda: None
        self.is_closed = 0
        self.pull_fails = self.close_fails = False

    def application(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/live":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"no"]
        headers = [("Content-Type", "text/plain"), *self._length]
        self._start = lambda: start_response("200 OK", headers)
        taken: list[bytes] = environ["lookingglass.task"].take_over(self)
        return taken

    def feed(self, piece: bytes | None) -> None:
        self.pieces.append(piece)
        self.notify()

    def pull(self) -> bytes | None:
        if self.pull_fails:
            raise RuntimeError("secret")
        if self.pieces and self._start:
            self._start()
            self._start = None
        return self.pieces.pop(0) if self.pieces else b""

    def on_news(self, notify: Callable[[], None]) -> None:
        self.notify = notify

    def close(self) -> None:
        self.is_closed += 1
        if self.close_fails:
            raise RuntimeError("secret")


# --- live answers


@pytest.mark.parametrize("length", [None, 6])
def test_pieces_arrive_as_they_come(here: Any, length: int | None) -> None:
    live = Live(length)
    server = here(live.application)
    connection = server.get("/live")
    assert soon(lambda: live.notify.__name__ == "notify")
    live.feed(b"one")
    read_until(connection, rb"one")
    live.feed(b"two")
    read_until(connection, rb"two")
    live.feed(None)
    assert soon(lambda: live.is_closed)
    if length is None:  # waitress keeps no connection on which it has sent chunks
        assert to_the_end(connection).endswith(b"0\r\n\r\n")
        return
    connection.sendall(b"GET / HTTP/1.1\r\nHost: lg\r\n\r\n")
    read_until(connection, rb"\r\n\r\nno")


def test_request_behind_a_live_answer_is_answered_after_it(here: Any) -> None:
    live = Live(3)
    server = here(live.application)
    connection = server.send("GET /live HTTP/1.1\nHost: lg\n\n" + "GET / HTTP/1.1\nHost: lg\n\n" * 2)
    assert soon(lambda: live.notify.__name__ == "notify")
    live.feed(b"one")
    live.feed(None)
    read_until(connection, rb"(?s)\r\n\r\none.*\r\n\r\nno.*\r\n\r\nno$")


def test_live_answer_to_http_1_0_ends_with_the_connection(here: Any) -> None:
    live = Live()
    connection = here(live.application).send("GET /live HTTP/1.0\n\n")
    assert soon(lambda: live.notify.__name__ == "notify")
    live.feed(b"one")
    live.feed(None)
    assert to_the_end(connection).endswith(b"\r\n\r\none")


@pytest.mark.parametrize("accept", MEDIA)
def test_answer_that_joined_a_run_that_cannot_be_started_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, here: Any, glass: Any, accept: str
) -> None:
    monkeypatch.setattr(connections, "SIGN_OF_LIFE", 1000.0)  # which would end it as well
    application = glass(commands={"gone": {"cmd": ["no-such-program"]}})
    has_come, may_go = hold_up(monkeypatch, application._glass._guard, "slot")
    server = here(application)
    first = server.get(f"{V1}/gone", f"Accept: {accept}", "Connection: close")
    assert has_come.wait(PATIENT)
    joined = server.get(f"{V1}/gone", f"Accept: {accept}", "Connection: close")
    assert soon(
        lambda: any(each.is_waiting for run in application._glass.runs.alive for each in run._viewers)
    )
    may_go.set()
    for connection in (first, joined):
        connection.settimeout(PATIENT)
        assert b"no program" in to_the_end(connection)


def test_late_news_of_an_answer_that_has_ended_do_not_give_the_next_one_a_second_thread(
    monkeypatch: pytest.MonkeyPatch, here: Any
) -> None:
    live = Live(3)
    server = here(live.application)
    connection = server.get("/live")
    assert soon(lambda: live.notify.__name__ == "notify")
    live.feed(b"one")
    assert soon(lambda: live.is_closed)
    read_until(connection, b"one")
    pumped: list[Any] = []
    monkeypatch.setattr(server.server, "pump_soon", pumped.append)
    live.notify()
    assert not pumped


def test_live_answers_hold_no_thread(here: Any) -> None:
    lives = [Live() for _ in range(20)]
    waiting = iter(lives)
    server = here(lambda environ, start: next(waiting).application(environ, start), threads=2)
    before = threading.active_count()
    held = [server.get("/live") for _ in lives]
    assert soon(lambda: all(each.notify.__name__ == "notify" for each in lives))
    assert threading.active_count() <= before
    for number, live in enumerate(lives):
        live.feed(b"=%d=" % number)
    seen = {read_until(connection, rb"=(\d+)=")[1] for connection in held}
    assert len(seen) == 20
    for connection in held:
        connection.close()
    assert soon(lambda: all(each.is_closed for each in lives))


def test_live_answer_keeps_nothing_of_its_request_and_its_header(here: Any) -> None:
    live = Live()
    server = here(live.application)
    connection = server.get("/live", "X-Long: " + 1000 * "x")
    assert soon(lambda: live.notify.__name__ == "notify")
    live.feed(b"one")
    read_until(connection, b"one")
    (channel,) = server.server.channels.values()
    task, _ = channel._live
    assert soon(lambda: (task.environ, task.response_headers, task.request.headers) == (None, [], {}))
    live.feed(None)
    assert to_the_end(connection).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("how", ["close", "half", "reset"])
def test_client_that_leaves_closes_its_live_answer_once(here: Any, how: str) -> None:
    live = Live()
    connection = here(live.application).get("/live")
    assert soon(lambda: live.notify.__name__ == "notify")
    if how == "half":
        connection.shutdown(socket.SHUT_WR)
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if how != "half":
        connection.close()
    assert soon(lambda: live.is_closed)
    live.feed(b"late")  # harms nobody
    time.sleep(0.05)
    assert live.is_closed == 1
    connection.close()


def test_client_that_leaves_before_the_answer_begins_closes_it(here: Any) -> None:
    live, may_go = Live(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Any) -> Any:
        may_go.wait(PATIENT)
        return live.application(environ, start_response)

    server = here(slow)
    connection = server.get("/live")
    assert soon(lambda: server.server.channels)
    time.sleep(0.1)
    connection.close()
    time.sleep(0.1)
    may_go.set()
    assert soon(lambda: live.is_closed)
    assert soon(lambda: not server.server.channels)


def test_client_that_reads_nothing_holds_nobody_and_gets_everything_later(here: Any) -> None:
    live, other = Live(), Live()
    answers = iter((live, other))
    server = here(lambda environ, start: next(answers).application(environ, start), threads=1)
    stalled = server.get("/live")
    assert soon(lambda: live.notify.__name__ == "notify")
    pieces = [b"%06d" % number * 1000 for number in range(1000)]  # 6 MB
    live.pieces.extend(pieces)
    live.feed(None)
    time.sleep(0.2)
    (channel,) = server.server.channels.values()
    assert channel.total_outbufs_len < 2 * tasks.BEHIND + 6000  # the rest was not asked for
    reader = server.get("/live")
    assert soon(lambda: other.notify.__name__ == "notify")
    other.feed(b"at once")
    read_until(reader, b"at once")
    seen = b""
    while not seen.endswith(b"0\r\n\r\n"):
        seen += stalled.recv(1 << 20)
    body = b"".join(re.findall(rb"\r\n1770\r\n(.{6000})", seen, re.DOTALL))
    assert body == b"".join(pieces)
    for each in (stalled, reader):
        each.close()


def test_whole_answer_that_nobody_reads_has_ended_for_whoever_made_it(here: Any) -> None:
    live = Live(length=4_000_000)
    connection = here(live.application).get("/live")
    assert soon(lambda: live.notify.__name__ == "notify")
    live.feed(bytes(4_000_000))
    assert soon(lambda: live.is_closed == 1)  # its place is given back
    head, _, body = read_until(connection, rb"(?s)\r\n\r\n").string.partition(b"\r\n\r\n")
    assert b"Content-Length: 4000000" in head
    size = len(body)
    while size < 4_000_000:
        size += len(connection.recv(1 << 20))
    connection.sendall(b"GET /other HTTP/1.1\r\nHost: lg\r\n\r\n")  # which the connection goes on with
    read_until(connection, b"no")


def test_answers_that_nobody_reads_are_bounded_in_all_and_for_a_network(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "UNREAD", 30_000_000)
    monkeypatch.setattr(serving, "UNREAD_OF_NETWORK", 9_000_000)
    monkeypatch.setattr(serving, "SWEEP_EVERY", 0.05)

    def large(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4000000")])
        return [bytes(4_000_000)]

    it = here(large)
    it.server.settings = it.server.settings._replace(is_proxy=lambda peer: False)

    def asks(network: int, number: int) -> list[socket.socket]:
        asked = [it.connect(f"127.0.{network}.1") for _ in range(number)]
        for each in asked:
            each.sendall(b"GET / HTTP/1.1\r\nHost: lg\r\n\r\n")
        return asked

    def unread() -> dict[str, int]:
        sizes = collections.Counter[str]()
        for each in list(it.server.channels.values()):
            sizes[each.network] += each.unread
        return sizes

    asks(1, 6)
    assert soon(lambda: 3_000_000 < unread()["127.0.1.0/24"] <= 9_000_000)
    (honest,) = asks(9, 1)
    for network in range(2, 7):
        asks(network, 6)
    assert soon(lambda: 9_000_000 < sum(unread().values()) <= 30_000_000)
    size = 0
    while size < 4_000_000 and (data := honest.recv(1 << 20)):  # though it reads late
        size += len(data)
    assert size >= 4_000_000


def test_client_that_reads_slowly_is_busier_than_a_later_one_that_does_not_read(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is not closed in place of the other one, although its kernel has room for more only rarely."""
    monkeypatch.setattr(serving, "SWEEP_EVERY", 1000.0)  # the test looks itself

    def large(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4000000")])
        return [bytes(4_000_000)]

    it = here(large)

    def ask() -> tuple[socket.socket, Any]:
        connection = clients.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(it.where)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: lg\r\n\r\n")
        assert soon(lambda: connection.getsockname() in {each.addr for each in it.server.channels.values()})
        channels = {each.addr: each for each in it.server.channels.values()}
        return connection, channels[connection.getsockname()]

    with contextlib.ExitStack() as clients:
        slow, busy = ask()
        _, idle = ask()
        for each in (busy, idle):
            assert soon(lambda each=each: each.unread)  # type: ignore[misc]
            each.look(time.monotonic())
        latest, sent = max(busy.last_activity, idle.last_activity), busy._sent
        slow.recv(10_000, socket.MSG_WAITALL)
        assert soon(lambda: busy.look(time.monotonic()) or busy.last_activity > latest)
        assert busy._sent == sent


@pytest.mark.parametrize("when", ["first", "later"])
def test_live_answer_that_fails_ends_its_connection_and_no_other(
    here: Any, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    live = Live()
    server = here(live.application)
    live.pull_fails = when == "first"
    connection = server.get("/live")
    if when == "later":
        assert soon(lambda: live.notify.__name__ == "notify")
        live.feed(b"one")
        read_until(connection, b"one")
        live.pull_fails = True
        live.feed(b"two")
    rest = to_the_end(connection)
    assert b"secret" not in rest
    assert (b"HTTP/1.1 500" in rest) == (when == "first")
    assert not rest.endswith(b"0\r\n\r\n")
    assert live.is_closed == 1
    assert "a request failed" in caplog.text
    read_until(server.get("/", "Connection: close"), b"no")


def test_close_that_fails_takes_no_thread_from_the_others(
    here: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure used up one of the threads that may write live answers: after PUMPS none was left."""
    lives = [Live() for _ in range(serving.PUMPS + 2)]
    waiting = iter(lives)
    server = here(lambda environ, start: next(waiting).application(environ, start), threads=8)
    for live in lives[:-1]:
        live.close_fails = True
        connection = server.get("/live")
        assert soon(lambda live=live: live.notify.__name__ == "notify")  # type: ignore[misc]
        live.feed(None)
        assert soon(lambda live=live: live.is_closed)  # type: ignore[misc]
        connection.close()
    connection = server.get("/live")
    assert soon(lambda: lives[-1].notify.__name__ == "notify")
    lives[-1].feed(b"still here")
    read_until(connection, b"still here")
    connection.close()
    assert caplog.text


def test_many_threads_notify_and_no_piece_is_lost_or_doubled(here: Any) -> None:
    live = Live()
    connection = here(live.application, threads=4).get("/live")
    assert soon(lambda: live.notify.__name__ == "notify")

    def feed(number: int) -> None:
        for turn in range(200):
            live.feed(b"<%d.%d>" % (number, turn))

    threads = [threading.Thread(target=feed, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    seen = b""
    while len(found := re.findall(rb"<(\d+\.\d+)>", seen)) < 1600:
        seen += connection.recv(1 << 20)
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1600
    connection.close()


# --- what clients may do


def test_expectation_without_a_body_gets_the_answer(here: Any) -> None:
    server = here(Live().application)
    for more in ([], ["Content-Length: 0"]):
        connection = server.get("/", "Expect: 100-continue", "Connection: close", *more)
        assert to_the_end(connection).startswith(b"HTTP/1.1 200")


def test_expectation_with_a_body_gets_100_and_then_the_answer(here: Any) -> None:
    server = here(Live().application)
    connection = server.send("POST / HTTP/1.1\nHost: lg\nExpect: 100-continue\nContent-Length: 5\n\n")
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"hello")
    read_until(connection, rb"HTTP/1.1 200")
    connection.close()


def test_expectation_behind_another_request_gets_100_after_its_answer(here: Any) -> None:
    server = here(Live().application)
    connection = server.send(
        "GET / HTTP/1.1\nHost: lg\n\nPOST / HTTP/1.1\nHost: lg\nExpect: 100-continue\nContent-Length: 5\n\n"
    )
    read_until(connection, rb"(?s)HTTP/1.1 200.*HTTP/1.1 100 Continue\r\n\r\n")
    connection.sendall(b"hello")
    read_until(connection, rb"HTTP/1.1 200")
    connection.close()


@pytest.mark.parametrize("path", ["/", "/healthz", f"{V1}/cmd", "/nothing"])
def test_half_closed_client_of_a_page_gets_its_answer(here: Any, glass: Any, path: str) -> None:
    server = here(glass())
    connection = server.get(path)
    connection.shutdown(socket.SHUT_WR)
    answer = to_the_end(connection)
    assert re.match(rb"HTTP/1.1 (200|404)", answer)
    length = re.search(rb"Content-Length: (\d+)", answer)
    assert length
    assert len(answer.partition(b"\r\n\r\n")[2]) == int(length[1])


def test_half_closed_client_of_a_slow_page_gets_its_answer(here: Any) -> None:
    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        time.sleep(0.3)
        start_response("200 OK", [("Content-Length", "3000000")])
        return [b"x" * 3_000_000]

    connection = here(slow).get("/")
    connection.shutdown(socket.SHUT_WR)
    assert len(to_the_end(connection).partition(b"\r\n\r\n")[2]) == 3_000_000


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "text/event-stream"])
def test_half_closed_client_of_a_run_has_left(here: Any, glass: Any, accept: str) -> None:
    application = glass()
    connection = here(application).get(f"{V1}/slow", f"Accept: {accept}")
    assert soon(lambda: application._glass.runs.alive)
    connection.shutdown(socket.SHUT_WR)
    assert soon(lambda: not application._glass.runs.alive)
    connection.close()


def test_error_is_read_by_a_client_that_has_sent_more_than_is_taken(here: Any) -> None:
    server = here(Live().application)
    for _ in range(10):  # without care a reset destroys the answer
        connection = server.send(f"GET /{'a' * 60_000} HTTP/1.1\nHost: lg\n\n")
        answer = to_the_end(connection)
        assert re.match(rb"HTTP/1\.[01] 431", answer)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == 431


def test_machine_without_descriptors_accepts_again_later(here: Any) -> None:
    server = here(Live().application)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = socket.socket()
    late.settimeout(60)
    filling: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                filling.append(socket.socket())
        late.connect(server.where)
        late.sendall(b"GET / HTTP/1.1\r\nHost: lg\r\nConnection: close\r\n\r\n")
        used = time.process_time()
        time.sleep(1)
        assert time.process_time() - used < 0.5  # it does not spin
    finally:
        for each in filling:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert to_the_end(late).endswith(b"no")


def test_clients_that_reset_before_they_are_accepted_harm_nobody(
    here: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = here(Live().application)
    server.server.loop.call_soon(lambda: time.sleep(0.3))
    for _ in range(50):
        connection = server.get("/")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    assert to_the_end(server.get("/", "Connection: close")).endswith(b"no")
    assert soon(lambda: not server.server.channels)
    assert not caplog.text


def test_full_server_answers_a_newcomer_at_the_cost_of_one_idle_connection(here: Any) -> None:
    server = here(Live().application, connections=16)
    taken = [server.connect() for _ in range(16)]
    assert soon(lambda: len(server.server.channels) == 16)
    assert to_the_end(server.get("/", "Connection: close")).endswith(b"no")
    assert soon(lambda: len(server.server.channels) == 15)
    closed = select.select(taken, [], [], 0.3)[0]
    assert [each.recv(1) for each in closed] == [b""]


# --- the whole


class Witness:
    """Note which locks are taken while others are held: a circle of them can come to a standstill."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.orders: set[tuple[str, str]] = set()
        self.latches: set[str] = set()  # released by others than who took them: they guard nothing
        self._held = threading.local()
        for module in (loop, runs, registry, guard, output, connections, serving):
            monkeypatch.setattr(module, "threading", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)

    def Lock(self) -> Witnessed:  # noqa: N802 - in the place of threading.Lock
        caller = sys._getframe(1)
        return Witnessed(self, f"{type(caller.f_locals.get('self')).__name__}:{caller.f_lineno}")

    def take(self, name: str) -> None:
        held = self._held.__dict__.setdefault("names", [])
        self.orders |= {(other, name) for other in held}
        held.append(name)

    def give(self, name: str) -> None:
        held = self._held.__dict__.get("names", [])
        if name in held:
            held.remove(name)
        else:
            self.latches.add(name)


class Witnessed:
    """A lock that is seen."""

    def __init__(self, witness: Witness, name: str) -> None:
        self._witness, self._name = witness, name
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        is_taken = self._lock.acquire(blocking, timeout)
        if is_taken and blocking and timeout < 0:
            self._witness.take(self._name)
        return is_taken

    def release(self) -> None:
        self._witness.give(self._name)
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


def test_locks_are_taken_in_one_order(monkeypatch: pytest.MonkeyPatch, here: Any, glass: Any) -> None:
    witness = Witness(monkeypatch)
    tick = {"cmd": ["sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.05; done"], "parser": "ping"}
    application = glass(commands={"tick": tick, "yes": {"cmd": ["yes"]}, "sleep": {"cmd": ["sleep", "9"]}})
    server = here(application)
    held = [
        server.get(f"{V1}/{path}", f"Accept: {media}", "Connection: close")
        for path in ("tick", "yes", "sleep?runtime=0.3", "sleep?runtime=0.5", "nothing")
        for media in MEDIA
    ]
    server.get(f"{V1}/sleep").close()
    for connection in held:
        to_the_end(connection)
    assert soon(lambda: not application._glass.runs.alive)
    bells = {name for each in witness.orders for name in each if name.startswith("Bell:")}  # guard nothing
    orders = {each for each in witness.orders if not (witness.latches | bells).intersection(each)}
    assert any(before.startswith("Run:") and after.startswith("Loop:") for before, after in orders)
    reached = {name: {after for before, after in orders if before == name} for name, _ in orders}
    for _ in reached:
        for name, after in reached.items():
            reached[name] = after.union(*(reached.get(each, set()) for each in after))
    assert not [name for name, after in reached.items() if name in after], orders


def test_two_hundred_viewers_hold_no_thread_and_get_all_lines(here: Any, glass: Any, tmp_path: Path) -> None:
    latch = Latch(tmp_path)
    script = f"{latch()}; for i in 1 2 3 4 5 6; do echo NUMBER.$i; sleep 0.1; done"
    commands = {
        f"tick {number}": {"cmd": ["sh", "-c", script.replace("NUMBER", str(number))]} for number in range(4)
    }
    limits = {**GENEROUS, "viewers": 300}
    application = glass(commands=commands, limits=limits)
    server = here(application, threads=serving.THREADS)
    for _ in range(2):  # once so that all threads have started
        with contextlib.closing(http.client.HTTPConnection(*server.where)) as connection:
            connection.request("GET", f"{V1}/tick/0?runtime=0.1")
            connection.getresponse().read()
    before = threading.active_count()
    media = ("text/plain", "text/event-stream", "application/json")
    held = [
        server.get(f"{V1}/tick/{number % 4}", f"Accept: {media[number % 3]}", "Connection: close")
        for number in range(200)
    ]
    assert soon(lambda: sum(len(run._viewers) for run in application._glass.runs.alive) == 200)
    assert len(application._glass.runs.alive) == 4
    assert threading.active_count() <= before
    latch.open()
    for number, connection in enumerate(held):
        lines = re.findall(rb'(?<![.\d])\d\.\d(?=\n|\\n|")', to_the_end(connection))
        assert lines[:6] == [b"%d.%d" % (number % 4, line) for line in range(1, 7)]
    assert threading.active_count() <= before
    assert soon(lambda: not application._glass.runs.alive)
