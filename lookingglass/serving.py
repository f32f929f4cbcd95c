"""Run the application as a program: sockets, signals, and a waitress that withstands hostile clients."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import os
import re
import resource
import select
import signal
import socket
import stat
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from waitress import channel, parser, server, utilities

import rfc8522
from commands import JSON
from lookingglass.guard import client_key

SPARE_CONNECTIONS = 512  # beyond the threads, for visitors between two requests
SPARE_FILES = 64  # descriptors that are neither connections nor pipes of commands
REQUEST = 20.0  # seconds for sending a request
STALLED = 60.0  # seconds without a byte after which a connection is closed that is idle or holds a thread
DOWNLOAD = 600.0  # the same for what is only sent, which holds none; proxies may pause
QUEUED = 16  # requests on one connection, the one that is answered included
SHARE = 64  # connections of one client; proxies and this machine may have all
SEND_BUFFER = 65536  # bytes; with as many as the kernel likes, a slow client is not heard of for minutes
WAITRESS: dict[str, Any] = {
    "asyncore_use_poll": True,  # select() ends at 1024 descriptors
    "channel_request_lookahead": 1,  # else a client that leaves in silence is never noticed
    "cleanup_interval": 5,  # seconds between looks at all connections
    "clear_untrusted_proxy_headers": False,  # client_address() judges them
    "ident": None,
    "log_socket_errors": False,  # clients make them
    "max_request_body_size": 4096,  # bytes
    "max_request_header_size": 16384,  # bytes
}

# RFC 9110 section 5.5, in possessive steps: the one of waitress takes seconds for 16 KiB of blanks.
HEADER_FIELD = re.compile(
    rb"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+"
    rb"(?P<value>(?:[\x21-\x7e\x80-\xff]++(?:[ \t]++[\x21-\x7e\x80-\xff]++)*+)?+)[ \t]*+\Z"
)
# RFC 9112 section 3, for the same reason: that of waitress takes a minute for 16 KiB of digits.
FIRST_LINE = re.compile(
    rb"(?P<method>[!#$%&'*+\-.^_`|~0-9A-Za-z]++) (?P<uri>[^ ]++)(?: HTTP/(?P<version>[0-9]\.[0-9]))?"
)

log = logging.getLogger("tinytracer")


class ListenError(Exception):
    """An address cannot be listened on."""


class Application(Protocol):
    """What is served: a WSGI application, and what ends all that it has started."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any: ...

    def close(self) -> object: ...


class Parser(parser.HTTPRequestParser):
    """Refuse what cannot be read as HTTP, whatever it is that waitress stumbles over."""

    path = ""  # for the log, also of what has none

    def parse_header(self, header_plus: bytes) -> None:
        """Read the request line and the header; raises ParsingError, which is answered with 400."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise parser.ParsingError("not HTTP") from error


class Channel(channel.HTTPChannel):
    """Hold one connection as long as something goes on there, and see at once that the client has gone."""

    parser_class = Parser
    is_proxy: Callable[[str], bool]
    # By the monotonic clock, for the other one may jump:
    _active = 0.0  # when something was received or sent last
    _begun = 0.0  # when the request began that is not complete yet

    def __init__(self, server: Any, sock: socket.socket, addr: Any, *arguments: Any, **options: Any) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        super().__init__(server, sock, addr, *arguments, **options)
        peer = addr[0] if isinstance(addr, tuple) else ""
        self.client = None if not peer or self.is_proxy(peer) else client_key(peer)
        others = server.active_channels.values() if self.client else ()
        if sum(getattr(each, "client", None) == self.client for each in others) > SHARE:
            self.handle_close()

    @property
    def last_activity(self) -> float:
        """Return when something was received or sent last; waitress sets it."""
        return self._active

    @last_activity.setter
    def last_activity(self, seconds: float) -> None:
        self._active = time.monotonic()

    def received(self, data: bytes) -> bool:
        """Take what was received; close the connection of who sends more than can be answered."""
        request = self.request
        taken: bool = super().received(data)
        if self.request is not request:
            self._begun = time.monotonic()
        if len(self.requests) > QUEUED:
            self.handle_close()
        return taken

    def check_client_disconnected(self) -> bool:  # type: ignore[override] # the stubs say None
        """Tell whether the client has gone, also when it has left a request behind that nobody reads yet."""
        try:
            poll = select.poll()
            poll.register(self.socket, select.POLLRDHUP)  # type: ignore[arg-type] # None: see below
            return not self.connected or bool(poll.poll(0))
        except (OSError, TypeError, ValueError):  # closed
            return True

    def is_stale(self) -> bool:
        """Tell whether a request comes too slowly, or nothing goes on although something could."""
        now = time.monotonic()
        quiet = now - self._active
        if self.requests:
            self._begun = now  # what comes behind them has to wait
            return quiet > STALLED and self.total_outbufs_len > 0
        if self.total_outbufs_len:
            return quiet > DOWNLOAD
        coming = self.request
        is_begun = coming is not None and (coming.headers_finished or coming.header_plus.strip())
        return quiet > STALLED or bool(is_begun and now - self._begun > REQUEST)


def serve(
    application: Application,
    listen: list[str],
    threads: int,
    headers: Mapping[str, str],
    is_proxy: Callable[[str], bool],
) -> None:
    """Serve at HOST:PORT and unix:PATH until SIGTERM, SIGINT, SIGHUP or SIGQUIT.

    ``headers`` go with answers to what never reaches the application; ``is_proxy`` tells which addresses may
    have all connections. Raises ListenError.
    """
    _mend_waitress(headers)
    Channel.is_proxy = staticmethod(is_proxy)
    _stop_by_signals(application)
    connections: dict[int, Any] = {}  # one table for the sockets of all servers
    servers = []
    for sockets in _bind(listen):
        each = server.create_server(
            application,
            map=connections,
            sockets=sockets,
            threads=threads,
            connection_limit=_connections(threads),
            **WAITRESS,
        )
        shutdown = functools.partial(each.task_dispatcher.shutdown, timeout=1)
        each.task_dispatcher.shutdown = shutdown  # type: ignore[method-assign] # its own timeout is 5 s
        servers.append(each)
        for opened in sockets:
            log.info("Listening on %s", _url(opened))
    _trim()
    servers[0].run()


def _connections(threads: int) -> int:
    """Return how many connections may be open, after getting as many descriptors as that needs."""
    wanted = threads + SPARE_CONNECTIONS
    files = 2 * wanted + SPARE_FILES  # a download has a file as well
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(16, min(wanted, (soft - SPARE_FILES) // 2))


def _mend_waitress(headers: Mapping[str, str]) -> None:
    """Make waitress read a header in linear time, drop who stalls, and answer in JSON what is no HTTP."""
    parser.HEADER_FIELD_RE = HEADER_FIELD  # type: ignore[attr-defined]
    parser.first_line_re = FIRST_LINE  # type: ignore[assignment]
    server.BaseWSGIServer.channel_class = Channel
    server.BaseWSGIServer.maintenance = _drop_stale  # type: ignore[method-assign]
    utilities.Error.to_response = functools.partialmethod(_malformed, headers)  # type: ignore[assignment]
    logging.getLogger("waitress").setLevel(logging.WARNING)  # below that, it tells of each client that left
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def _drop_stale(self: Any, now: float) -> None:
    """Close connections of a waitress server."""
    for each in list(self.active_channels.values()):
        if each.is_stale():
            each.handle_close()


def _malformed(
    error: Any, headers: Mapping[str, str], ident: str | None = None
) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return status, headers and body for what waitress cannot hand to an application."""
    header, body = (WAITRESS[f"max_request_{part}_size"] for part in ("header", "body"))
    expected = f"expected HTTP/1.1, with a header of at most {header} bytes and a body of at most {body}"
    envelope = rfc8522.error(error.code, f"{error.reason}: {expected}.")
    all_headers = {"Content-Type": JSON, **headers}
    return f"{error.code} {error.reason}", list(all_headers.items()), json.dumps(envelope).encode() + b"\n"


def _stop_by_signals(application: Application) -> None:
    """End the program, and first what runs, when it is told to, or its terminal is closed."""
    optional = (signal.SIGHUP, signal.SIGQUIT)  # nohup and the like have them ignored
    heeded = [each for each in optional if signal.getsignal(each) is not signal.SIG_IGN]
    signals = [signal.SIGTERM, signal.SIGINT, *heeded]

    def stop(number: int, frame: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)  # impatience would leave children behind
        application.close()
        raise SystemExit

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # when a starter has it ignored, exit statuses are lost
    for each in signals:
        signal.signal(each, stop)


def _trim() -> None:
    """Give back the memory that only starting has needed, where the C library can."""
    import ctypes
    import gc

    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _bind(listen: list[str]) -> list[list[socket.socket]]:
    """Open the sockets to listen on; those of TCP and of unix apart, for waitress takes one kind.

    Raises ListenError, after which none is open.
    """
    opened: list[socket.socket] = []
    try:
        for address in listen:
            if address.startswith("unix:"):
                _bind_unix(address[5:], opened)
            else:
                _bind_tcp(address, opened)
    except (OSError, ValueError) as error:
        for each in opened:
            each.close()
        raise ListenError(f"--listen {address}: {getattr(error, 'strerror', None) or error}") from error
    is_unix = [each.family == socket.AF_UNIX for each in opened]
    groups = [
        [each for each, unix in zip(opened, is_unix, strict=True) if unix is kind] for kind in (False, True)
    ]
    return [group for group in groups if group]


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


def _bind_unix(path: str, opened: list[socket.socket]) -> None:
    """Bind to ``path``, in place of a socket that nobody listens on any more, and add it to ``opened``."""
    is_socket = os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode)
    with socket.socket(socket.AF_UNIX) as probe:
        if is_socket and probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)
    each = socket.socket(socket.AF_UNIX)
    opened.append(each)
    each.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - who may reach the folder may ask, as on loopback


def _url(listening: socket.socket) -> str:
    if listening.family == socket.AF_UNIX:
        return f"unix:{listening.getsockname()}"
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
