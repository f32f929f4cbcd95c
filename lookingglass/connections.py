"""Connections of clients: a waitress that never waits for any, and holds no thread for a live answer.

One thread reads and writes, by events; a few others answer. A live answer (see ``answers.Body``) is taken
over from the application: its connection waits for news without a thread, and whichever thread is free then
writes what there is. A client that reads too slowly gets the rest later; nobody waits for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import select
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress import buffers, channel, utilities
from waitress.adjustments import Adjustments

from lookingglass.messages import RequestParser
from lookingglass.tasks import BEHIND, ErrorTask, Live, Task

REQUEST = 20.0  # seconds for sending a request, blank lines before it included
STALLED = 60.0  # seconds without a byte after which a connection is closed that is idle
DOWNLOAD = 60.0  # seconds over which a client that reads has to take the least rate, on average
LEAST = 512  # bytes a second: less than half of what a modem of 9.6 kbit/s takes
LEAST_OF_FILE = 8192  # the same for test files, of which there are few at once
SIGN_OF_LIFE = 15.0  # seconds without a byte after which a live answer may say something
IGNORED = 16  # times 64 KiB that are read of what follows the last request of a connection
QUEUED = 16  # requests on one connection, the one that is answered included
SEND_BUFFER = 65536  # bytes; with as many as the kernel likes, a slow client is not heard of for minutes
TURN = 1 << 18  # bytes that are sent to one client before others have their turn
WAITRESS: dict[str, Any] = {
    "clear_untrusted_proxy_headers": False,  # visitors.client_address() judges them
    "ident": None,
    "max_request_body_size": 4096,  # bytes
    "max_request_header_size": 16384,  # bytes
    "outbuf_overflow": 1 << 60,  # bytes: no temporary files
}
READ, WRITE, ONCE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLONESHOT
HALF = select.EPOLLRDHUP  # the client has closed its side

log = logging.getLogger("tinytracer")


def adjustments() -> Any:
    """Return what waitress calls so: its own settings, but for those above."""
    return Adjustments(**WAITRESS)


class Attributes:
    """Name those that a Channel has and one of waitress has not.

    Objects with more than 30 attributes share no names in their dictionaries, which takes 1.3 KiB more each.
    """

    __slots__ = (
        "_active",
        "_begun",
        "_coming",
        "_has_news",
        "_interest",
        "_is_closed",
        "_is_half_closed",
        "_is_pumped",
        "_live",
        "_lock",
        "_looked",
        "_patience",
        "_sent",
        "_taken",
        "client",
        "descriptor",
        "network",
    )


class Channel(Attributes, channel.HTTPChannel):
    """Hold one connection.

    The main thread reads and closes, and sends what is left over; a thread that answers sends right away. A
    request that is being answered keeps others from being read. ``_lock`` guards what several threads change.
    """

    task_class = Task
    error_task_class = ErrorTask

    def __init__(self, server: Any, sock: socket.socket, addr: Any) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._active = 0.0  # when something was received, sent or taken last, by the monotonic clock
        self._begun = 0.0  # when the request began that is not complete yet
        self._coming: RequestParser | None = None  # the latest request
        self._sent = 0  # bytes
        self._taken = 0  # of them, when ``look`` looked last
        self._looked = time.monotonic()
        self._patience = DOWNLOAD  # seconds for which the client may go on taking nothing
        self.requests: list[RequestParser] = []
        super().__init__(server, sock, addr, server.adj, map=server.channels)
        self.outbufs: list[Any]
        self.outbuf_lock = threading.Lock()  # no condition as in waitress, for nobody waits for room
        self.descriptor = sock.fileno()
        self.client = ""  # whose share of connections it is part of, and in which network; "": nobody's
        self.network = ""
        self._lock = threading.Lock()
        self._interest = READ | HALF
        self._is_half_closed = False
        self._is_closed = False
        self._live: tuple[Task, Live] | None = None
        self._is_pumped = self._has_news = False

    @property
    def last_activity(self) -> float:
        """Return when something was received, sent or taken last; waitress sets it."""
        return self._active

    @last_activity.setter
    def last_activity(self, seconds: float) -> None:
        self._active = time.monotonic()

    # --- in the main thread

    @property
    def is_answering(self) -> bool:
        """Tell whether a request is being answered."""
        return bool(self.requests)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is being answered or sent."""
        return not self.requests and not self.total_outbufs_len

    @property
    def unread(self) -> int:
        """Return the bytes in memory that the client has not taken yet."""
        if self.total_outbufs_len <= BEHIND:
            return 0  # as many as any live answer has
        buffered = list(self.outbufs)
        return sum(len(each) for each in buffered if not isinstance(each, buffers.ReadOnlyFileBasedBuffer))

    def parser_class(self, adj: Any) -> RequestParser:
        """Begin a request, or go on with one of which there were only blank lines."""
        if self._coming is None or not self._coming.empty:
            self._begun = time.monotonic()
        self._coming = RequestParser(adj)
        return self._coming

    def on_events(self, events: int) -> None:
        """Read, write or close; then nothing is waited for until ``update``."""
        with self._lock:
            self._interest = 0
        if events & (select.EPOLLERR | select.EPOLLHUP):
            self.handle_close()
            return
        if events & READ:
            self._read()
        if events & WRITE:
            self._flush()
        if events & HALF and not self._is_closed:
            self._is_half_closed = True
            if self._live is not None:
                self.handle_close()
        self.update()

    def received(self, data: bytes) -> bool:
        """Take what was received; close the connection of a client that sends more than can be answered."""
        taken: bool = super().received(data)
        if len(self.requests) > QUEUED:
            self.handle_close()
        return taken

    def handle_close(self) -> None:
        """Close the connection; what was answered live has been left."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            live, self._live = self._live, None
            self.server.loop.forget(self.descriptor)
        if self.close_when_flushed:
            self._ignore_the_rest()
        self.server.count(self, -1)
        with self.outbuf_lock:
            for each in self.outbufs:
                each.close()
            self.total_outbufs_len = 0
            self.connected = False
        self.close()
        if live:
            live[1].close()

    def _ignore_the_rest(self) -> None:
        """Read what has come behind a last request: unread, it would destroy the answer on its way."""
        with contextlib.suppress(OSError):
            for _ in range(IGNORED):
                if not self.socket.recv(65536):
                    break

    def look(self, now: float) -> None:
        """Close the connection when a request comes too slowly or nothing goes on; let a live one speak."""
        quiet = now - self._active
        if self.requests:
            self._begun = now  # what comes behind them has to wait
        if self.total_outbufs_len:
            is_stale = not self._keeps_up(now)
        else:
            self._patience = DOWNLOAD
            coming = self._coming
            is_begun = coming is not None and (coming.empty or not coming.completed)
            is_late = quiet > STALLED or (is_begun and now - self._begun > REQUEST)
            is_stale = is_late and not self.requests
        self._looked = now
        if is_stale:
            self.handle_close()
        elif self._live is not None and quiet >= SIGN_OF_LIFE:
            self.notify()

    def _keeps_up(self, now: float) -> bool:
        """Tell whether the client takes enough of what it is sent, on average.

        The average is a budget of seconds: time uses it up, and bytes that have arrived fill it again.
        """
        waiting = int.from_bytes(fcntl.ioctl(self.descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        taken = self._sent - waiting
        is_file = any(isinstance(each, buffers.ReadOnlyFileBasedBuffer) for each in list(self.outbufs))
        earned = (taken - self._taken) / (LEAST_OF_FILE if is_file else LEAST)
        self._patience = min(DOWNLOAD, self._patience + earned - (now - self._looked))
        if earned > 0:  # over a slow link, what was sent before goes on arriving for many seconds
            self._active = now
        self._taken = taken
        return self._patience > 0

    def _continue(self) -> None:
        """Tell a client to go on, whose request has come behind one that was being answered."""
        coming = self.request
        if self._is_closed or self.requests or self.close_when_flushed or coming is None:
            return
        if coming.expect_continue and coming.headers_finished:
            self.send_continue()
            self.update()

    def _read(self) -> None:
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return
        except OSError:
            self.handle_close()
            return
        if data:
            self.last_activity = 0
            self.received(data)
        elif self.requests or self.total_outbufs_len:
            self._is_half_closed = True
        else:
            self.handle_close()

    def _flush(self) -> None:
        with self.outbuf_lock:
            self._flush_some()
            is_empty = not self.total_outbufs_len
        if self.will_close or (is_empty and self.close_when_flushed):
            self.handle_close()
        elif is_empty and self._live is not None:
            self.notify()

    # --- in any thread

    def update(self) -> None:
        """Wait for the events that matter now."""
        with self._lock:
            self._update()

    def _update(self) -> None:
        """Do so; the caller holds the lock."""
        if self._is_closed:
            return
        interest = 0 if self._is_half_closed else HALF
        if self.total_outbufs_len:
            interest |= WRITE
        elif self.close_when_flushed or self.will_close:
            self.server.loop.call_soon(self.handle_close)
            return
        elif not self.requests:
            interest |= READ
        elif self._live is None:
            return  # an answer is being made, and waits for nothing
        if interest != self._interest:
            self._interest = interest
            self.server.loop.change(self.descriptor, interest | ONCE)

    def notify(self) -> None:
        """Have a thread pump the live answer, which has news."""
        with self._lock:
            if self._live is None:  # these are late news of an answer before: the next one has its thread
                return
            is_new = not self._is_pumped
            self._is_pumped = self._has_news = True
        if is_new:
            self.server.pump_soon(self)

    # --- in a thread that answers

    def write_soon(self, data: Any) -> int:
        """Send as much as the client takes now; the main thread sends the rest. Never wait for a client."""
        if not data:
            return 0
        with self.outbuf_lock:
            if not self.connected:
                raise channel.ClientDisconnected
            is_file = not isinstance(data, bytes)
            goes_straight = not (is_file or self.total_outbufs_len)
            rest = data[self.send(data) :] if goes_straight else data
            if rest:
                self._keep(rest, is_file)
                if not goes_straight:
                    self._flush_some()
        return len(data)

    def send(self, data: bytes) -> int:
        """Send what the client takes now, and return how many bytes those are."""
        try:
            sent: int = self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.will_close = True
            return 0
        self._sent += sent
        self._active = time.monotonic()
        return sent

    def _keep(self, data: Any, is_file: bool) -> None:
        """Keep what could not be sent yet; the caller holds the lock."""
        if is_file:
            self.outbufs += [data, self._buffer()]
        else:
            if self.outbufs[-1].buf is not None:  # a file in memory, which keeps what was sent
                self.outbufs.append(self._buffer())
            self.outbufs[-1].append(data)
        self.total_outbufs_len += len(data)

    def _buffer(self) -> Any:
        return channel.OverflowableBuffer(self.adj.outbuf_overflow)

    def _flush_some(self) -> None:
        """Send what the client takes now, but only a TURN of it; the caller holds the lock."""
        room = TURN
        while room > 0 and self.total_outbufs_len:
            outbuf = self.outbufs[0]
            if not len(outbuf):
                self.outbufs.pop(0).close()
                continue
            try:
                sent = self.send(outbuf.get(self.sendbuf_len))
            except (OSError, MemoryError):  # a file has changed while it was sent, or cannot be read
                self.will_close = True
                return
            if not sent:
                break
            outbuf.skip(sent, True)
            self.total_outbufs_len -= sent
            room -= sent
        while len(self.outbufs) > 1 and not len(self.outbufs[0]):
            self.outbufs.pop(0).close()  # a file is closed when it was sent, not at the next request
        if not self.total_outbufs_len and self.outbufs[0].buf is not None:
            self.outbufs = [self._buffer()]

    def service(self) -> None:
        """Answer the first request."""
        request = self.requests[0]
        kind = self.error_task_class if request.error else self.task_class
        answering: Any = kind(self, request)
        self._guarded(answering, answering.service)
        if answering.live is None:
            self._finish(answering)
            return
        with self._lock:
            has_left = self._is_closed or self._is_half_closed
            self._live = None if has_left else (answering, answering.live)
            self._is_pumped = self._has_news = not has_left
        if has_left:
            answering.live.close()
            self.server.loop.call_soon(self.handle_close)
        else:
            answering.live.on_news(self.notify)
            self.pump()

    def pump(self) -> None:
        """Write what the live answer has, until there is no more news."""
        while True:
            with self._lock:
                live = self._live
                if live is None or not self._has_news:
                    self._is_pumped = False
                    self._update()
                    return
                self._has_news = False
            answering, source = live
            is_over = not self._guarded(answering, answering.pump, source)
            if is_over:
                with self._lock:
                    self._live, self._is_pumped = None, False
                source.close()
                self._finish(answering)
                return

    def _guarded(self, answering: Any, work: Callable[..., Any], *of: Any) -> Any:
        """Do some work of an answer; what fails ends the connection, with an error where nothing was sent."""
        try:
            return work(*of)
        except channel.ClientDisconnected:
            answering.close_on_finish = True
        except Exception:
            log.exception("a request failed")
            if not answering.wrote_header:
                answering.request.error = utilities.InternalServerError("")
                with contextlib.suppress(channel.ClientDisconnected):
                    self.error_task_class(self, answering.request).service()
            answering.close_on_finish = True
        return None

    def _finish(self, answering: Any) -> None:
        """Go on to the next request, or to the end of the connection."""
        answering.request.close()
        with self.requests_lock:
            self.requests.pop(0)
            if answering.close_on_finish or (self._is_half_closed and not self.requests):
                self.close_when_flushed = True
                self.requests = []
            goes_on = bool(self.requests)
        self.update()
        if goes_on:
            self.server.add_task(self)
        elif self.request is not None:
            self.server.loop.call_soon(self._continue)
