"""Connections of the soak's clients: bytes as they like to send them, and answers read to their end."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from typing import NamedTuple

HEAD = 65536  # bytes that the header of an answer may have
LENGTH = re.compile(rb"^content-length: *(\d+)\r$", re.MULTILINE | re.IGNORECASE)
CHUNKED = re.compile(rb"^transfer-encoding: *chunked\r$", re.MULTILINE | re.IGNORECASE)
TYPE = re.compile(rb"^content-type: *([^\r;]+)", re.MULTILINE | re.IGNORECASE)
CLOSE = re.compile(rb"^connection: *close\r$", re.MULTILINE | re.IGNORECASE)


class Cut(Exception):
    """The server has closed a connection in the middle of an answer."""


class Answer(NamedTuple):
    status: int
    media: str
    body: bytes
    is_last: bool  # on its connection


class Wire:
    """One connection; ``delay`` and ``size`` make it read slowly."""

    def __init__(self, port: int, delay: float = 0.0, size: int = 65536) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._delay = delay
        self._size = size
        self._buffer = b""
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if delay:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    async def __aenter__(self) -> Wire:
        try:
            await self._loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        except BaseException:
            self._socket.close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    def say_no_more(self) -> None:
        """Close our half of the connection."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close it at once with a reset, whatever is on its way."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def receive(self) -> bytes:
        """Return what has come, b"" at the end."""
        if self._delay:
            await asyncio.sleep(self._delay)
        return await self._loop.sock_recv(self._socket, self._size)

    async def first(self) -> bytes:
        """Wait for the beginning of an answer and return it; b"" when none comes."""
        self._buffer = self._buffer or await self.receive()
        return self._buffer

    async def drain(self) -> bytes:
        """Read until the server closes the connection."""
        while data := await self.receive():
            self._buffer += data
        return self._buffer

    async def answer(self, has_body: bool = True) -> Answer:
        """Read one answer to its end; raises Cut."""
        head = await self._until(b"\r\n\r\n")
        status = int(head[9:12])
        media = TYPE.search(head)
        kind = media[1].decode() if media else ""
        is_last = CLOSE.search(head) is not None
        if not has_body or status in {204, 304}:
            body = b""
        elif CHUNKED.search(head):
            body = await self._chunks()
        elif length := LENGTH.search(head):
            body = await self._exactly(int(length[1]))
        else:
            body, is_last = await self.drain(), True
            self._buffer = b""
        return Answer(status, kind, body, is_last)

    async def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while True:
            size = int(await self._until(b"\r\n"), 16)
            part = await self._exactly(size + 2)
            if not size:
                return b"".join(parts)
            parts.append(part[:-2])

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if len(self._buffer) > HEAD:
                raise Cut(f"no end of a line or header: {self._buffer[:100]!r}")
            await self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found + b"\r"  # so that the patterns find the last line as well

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    async def _more(self) -> None:
        data = await self.receive()
        if not data:
            raise Cut(f"closed after {self._buffer[-100:]!r}")
        self._buffer += data
