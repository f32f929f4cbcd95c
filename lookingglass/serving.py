"""Run the application as a program: sockets, signals, threads."""

from __future__ import annotations

import _thread
import collections
import contextlib
import errno
import logging
import os
import re
import resource
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from lookingglass import names
from lookingglass.connections import HALF, ONCE, READ, Channel, adjustments
from lookingglass.guard import Limits, network_of
from lookingglass.loop import Loop
from lookingglass.messages import mend_waitress
from lookingglass.tallies import tally
from lookingglass.visitors import client_key
from lookingglass.workers import Workers

SPARE_CONNECTIONS = 512  # beyond the viewers, for visitors between two requests
SPARE_FILES = 64 + names.PLACES  # descriptors that are neither connections nor pipes of commands
UNREAD = 64 << 20  # bytes of whole answers that clients have not taken yet
UNREAD_OF_NETWORK = UNREAD // 4
THREADS = 8  # none of which waits for a client, a name or a command

SWEEP_EVERY = 1.0  # seconds between two looks at all connections
COMPLAINTS = 60.0  # seconds between two log lines that say that all connections are taken
ACCEPT_PAUSE = 0.5  # seconds without accepting when this machine has no room for a connection
PUMPS = 2  # threads that write live answers: nobody waits for one slow end, and few fight for Python's lock
LAST_WORDS = 0.25  # seconds in which live answers are written when the server stops
BACKLOG = 1024  # connections that wait to be accepted
FIRST_INHERITED = 3  # the first descriptor that systemd hands over
# What to do where an address cannot be listened on, by errno.
TO_LISTEN = {
    errno.EADDRINUSE: "ss -ltnp shows what listens there; stop it, or choose another: --listen HOST:PORT",
    errno.EADDRNOTAVAIL: "choose an address that this machine has; ip address shows them",
    errno.EACCES: "choose a port from 1024 on, or a folder in which this user may write",
    errno.ENOENT: "make its folder first",
}

log = logging.getLogger("tinytracer")


class ListenError(Exception):
    """An address cannot be listened on."""


class Settings(NamedTuple):
    """Say how much there may be of what."""

    connections: int
    share: int  # of one client
    network_share: int
    is_proxy: Callable[[str], bool]  # whose address may have all connections
    threads: int


class Application(Protocol):
    """What is served: a WSGI application that can be told to read its configuration again."""

    @property
    def limits(self) -> Limits: ...

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any: ...

    def is_proxy(self, peer: str) -> bool: ...  # whose address may have all connections

    def reload(self) -> None: ...

    def close(self) -> object: ...  # ends all that it has started


class Server:
    """Serve an application at some listening sockets, with one set of threads."""

    effective_port = 0  # for waitress's environment; nobody reads it where the header Host is there

    def __init__(self, application: Any, sockets: list[socket.socket], settings: Settings) -> None:
        mend_waitress()
        self.application = application
        self.adj = adjustments()
        self.server_name = self.adj.server_name
        self.channels: dict[int, Channel] = {}
        self.active_channels = self.channels  # waitress's own name
        self.loop = Loop()
        self.settings = settings
        self._sockets = sockets
        self._is_accepting = True
        self._looks = False  # at all connections, every SWEEP_EVERY
        self._clients: collections.Counter[str] = collections.Counter()  # connections by client
        self._networks: collections.Counter[str] = collections.Counter()  # and by network
        self._complained = -COMPLAINTS
        self._lock = threading.Lock()
        self._waiting: collections.deque[Channel] = collections.deque()  # for being pumped
        self._pumps = 0
        self._workers = Workers(settings.threads)
        self.add_task = self._workers.add

    def run(self) -> None:
        """Serve until ``stop``."""
        self.loop.open()
        for each in self._sockets:
            each.setblocking(False)
            self.loop.watch(each.fileno(), READ, lambda events, each=each: self._accept(each))  # type: ignore[misc]
        self.loop.run()

    def stop(self) -> None:
        """Make ``run`` return; safe in a signal handler."""
        self.loop.end()

    def close(self) -> None:
        """Let live answers say their last words, then close every socket."""
        end = time.monotonic() + LAST_WORDS
        while self._pumps and time.monotonic() < end:
            time.sleep(0.01)
        for each in self._sockets:
            each.close()
        self._workers.end()
        for connection in list(self.channels.values()):
            connection.handle_close()

    def count(self, connection: Channel, change: int) -> None:
        """Count the connections of a client and of its network."""
        if connection.client:
            tally(self._clients, connection.client, change)
            tally(self._networks, connection.network, change)

    def pump_soon(self, connection: Channel) -> None:
        """Have a thread pump a connection's live answer."""
        with self._lock:
            self._waiting.append(connection)
            is_enough = self._pumps >= PUMPS
            self._pumps += not is_enough
        if not is_enough:
            self.add_task(self)

    def service(self) -> None:
        """Pump live answers as long as any has news: a task of the threads that answer."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._pumps -= 1
                    return
                connection = self._waiting.popleft()
            try:
                connection.pump()
            except Exception:  # which must not cost this thread's place
                log.exception("an answer in progress failed")

    def pull_trigger(self) -> None:
        """Do nothing: each channel says for itself what it waits for."""

    def _accept(self, listening: socket.socket) -> None:
        try:
            sock, addr = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                self._pause()
                self.loop.call_at(time.monotonic() + ACCEPT_PAUSE, self._accept_again)
            return
        sock.setblocking(False)
        is_unix = listening.family == socket.AF_UNIX
        if not is_unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Channel(self, sock, ("localhost", None) if is_unix else addr)
        if not is_unix and not self.settings.is_proxy(addr[0]):
            connection.client = client_key(addr[0])
            connection.network = network_of(connection.client)
        self.count(connection, 1)
        try:
            self.loop.watch(connection.descriptor, READ | HALF | ONCE, connection.on_events)
        except (OSError, ValueError):  # no room for it, or the loop has just ended
            connection.handle_close()
            return
        if self._has_too_many(connection):
            connection.handle_close()
        elif len(self.channels) > self.settings.connections:
            self._make_room(connection)
        if not self._looks:
            self._look()

    def _has_too_many(self, latest: Channel) -> bool:
        """Tell whether a connection is one more than its client or its network may have."""
        of_client = self._clients.get(latest.client, 0)
        of_network = self._networks.get(latest.network, 0)
        return of_client > self.settings.share or of_network > self.settings.network_share

    def _make_room(self, latest: Channel) -> None:
        """Close a connection for the latest: the idlest one of whoever has most, networks before clients.

        Proxies and this machine come last, and what is being answered is not closed.
        """
        now = time.monotonic()
        if now - self._complained >= COMPLAINTS:
            self._complained = now
            log.warning("All %d connections are taken; the idlest are closed.", self.settings.connections)
        others = [each for each in self.channels.values() if each is not latest and not each.is_answering]

        def weight(each: Channel) -> tuple[int, int, float]:
            shares = self._networks.get(each.network, 0), self._clients.get(each.client, 0)
            return *shares, now - each.last_activity

        idle = [each for each in others if each.is_idle]
        max(idle or others or [latest], key=weight).handle_close()

    def _pause(self) -> None:
        self._is_accepting = False
        for each in self._sockets:
            self.loop.change(each.fileno(), 0)

    def _accept_again(self) -> None:
        if not self._is_accepting:
            self._is_accepting = True
            for each in self._sockets:
                self.loop.change(each.fileno(), READ)

    def _look(self) -> None:
        """Look at all connections, and again as long as there are any."""
        now = time.monotonic()
        for each in list(self.channels.values()):
            each.look(now)
        self._bound_unread()
        self._looks = bool(self.channels)
        if self._looks:
            self.loop.call_at(now + SWEEP_EVERY, self._look)

    def _bound_unread(self) -> None:
        """Close connections while clients leave more answers unread than there is room for."""
        unread = {each: size for each in self.channels.values() if (size := each.unread)}
        while len(unread) > 1 and (slowest := _slowest_of_most(unread)):
            del unread[slowest]
            slowest.handle_close()


def _slowest_of_most(unread: Mapping[Channel, int]) -> Channel | None:
    """Return the connection that makes room: of the network that leaves most, the idlest.

    None: there is room. A network may leave its share, or one answer that is larger; proxies have no share.
    """
    networks: collections.defaultdict[str, list[Channel]] = collections.defaultdict(list)
    for each in unread:
        networks[each.network].append(each)
    sizes = {network: sum(unread[each] for each in theirs) for network, theirs in networks.items()}
    if sum(sizes.values()) <= UNREAD:
        sizes = {
            network: size
            for network, size in sizes.items()
            if network and size > UNREAD_OF_NETWORK and len(networks[network]) > 1
        }
    most = max(sizes, key=lambda network: sizes[network], default=None)
    return None if most is None else min(networks[most], key=lambda each: each.last_activity)


def serve(application: Application, opened: list[socket.socket]) -> None:
    """Serve at sockets that listen until SIGTERM, SIGINT or SIGQUIT; then nothing runs any more.

    SIGHUP has the application read its configuration again.
    """
    server = Server(application, opened, _settings(application))

    def reload() -> None:
        application.reload()
        server.settings = _settings(application)

    def reload_aside() -> None:
        _thread.start_new_thread(reload, ())  # for reading files must not hold up the loop

    # a signal handler may not log, as a thread that does not begin has to be
    _heed_signals(server.stop, lambda: server.loop.call_soon(reload_aside))
    for each in opened:
        log.info("Listening on %s", _url(each))
    _trim()
    try:
        server.run()
    finally:
        application.close()
        server.close()


def _settings(application: Application) -> Settings:
    limits = application.limits
    connections, own = _connections(limits.viewers), limits.connections
    return Settings(connections, own, limits.share_of(connections, own), application.is_proxy, THREADS)


def _connections(viewers: int) -> int:
    """Return how many connections may be open, after getting as many descriptors as that needs."""
    wanted = viewers + SPARE_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = files_for(viewers)
    if resource.RLIM_INFINITY != soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(16, min(wanted, (soft - SPARE_FILES) // 2))


def files_for(viewers: int) -> int:
    """Return how many descriptors as many viewers need, with those between two requests."""
    return 2 * (viewers + SPARE_CONNECTIONS) + SPARE_FILES  # a download has a file as well


def _heed_signals(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    """Call what only sets a flag when the program is told to end, or to read its configuration again."""
    # nohup and the like have SIGQUIT ignored
    quitting = () if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN else (signal.SIGQUIT,)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # when a starter has it ignored, exit statuses are lost
    for each in (signal.SIGTERM, signal.SIGINT, *quitting):
        signal.signal(each, lambda number, frame: stop())
    signal.signal(signal.SIGHUP, lambda number, frame: reload())


def _trim() -> None:
    """Give back the memory that only starting has needed, where the C library can."""
    import ctypes
    import gc

    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def open_sockets(listen: list[str] | None, default: str) -> list[socket.socket]:
    """Return sockets that listen at HOST:PORT and unix:PATH, and those that systemd has opened.

    Without either they listen at ``default``. Raises ListenError, after which none is open.
    """
    opened: list[socket.socket] = []
    address = "LISTEN_FDS"
    try:
        _inherit(opened)
        for address in listen or ([] if opened else [default]):
            if address.startswith("unix:"):
                _bind_unix(address[5:], opened)
            else:
                _bind_tcp(address, opened)
    except (OSError, ValueError) as error:
        for each in opened:
            each.close()
        where = address if address == "LISTEN_FDS" else f"--listen {address}"
        told = f"{where}: {getattr(error, 'strerror', None) or error}"
        cure = TO_LISTEN.get(getattr(error, "errno", None) or 0)
        raise ListenError(f"{told}\n    {cure}" if cure else told) from error
    return opened


def _inherit(opened: list[socket.socket]) -> None:
    """Add the sockets that systemd has opened for this process to ``opened`` (sd_listen_fds(3))."""
    pid, count = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()):  # they are for a process that has started this one
        return
    if not re.fullmatch("[0-9]{1,4}", count):
        raise ValueError("expected a number of sockets")
    for descriptor in range(FIRST_INHERITED, FIRST_INHERITED + int(count)):
        each = socket.socket(fileno=descriptor)
        opened.append(each)
        each.set_inheritable(False)
        if each.type != socket.SOCK_STREAM or not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError("expected sockets that listen: ListenStream= and Accept=no in the socket unit")


def _bind_tcp(address: str, opened: list[socket.socket]) -> None:
    """Bind to every address that HOST:PORT has, and add the sockets to ``opened``."""
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("expected HOST:PORT, with a port from 0 to 65535, or unix:PATH")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, where in found:
        each = socket.socket(family, kind, protocol)
        opened.append(each)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.bind(where)
        each.listen(BACKLOG)


def _bind_unix(path: str, opened: list[socket.socket]) -> None:
    """Bind to ``path``, in place of a socket that nobody listens on any more, and add it to ``opened``."""
    is_socket = os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode)
    with socket.socket(socket.AF_UNIX) as probe:
        if is_socket and probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)
    each = socket.socket(socket.AF_UNIX)
    opened.append(each)
    each.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - everybody who can reach the folder may ask, as on loopback
    each.listen(BACKLOG)


def _url(listening: socket.socket) -> str:
    if listening.family == socket.AF_UNIX:
        return f"unix:{listening.getsockname()}"
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
