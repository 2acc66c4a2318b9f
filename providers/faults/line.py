"""A pair of sockets: a fault speaks HTTP at one end, as an upstream would; the client of the real upstreams reads at the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from providers.answer import Answer
from providers.http1 import Connection

# One request is one answer here; nothing reads it but the kernel.
_REQUEST = b"POST / HTTP/1.1\r\nHost: fault\r\n\r\n"
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "content-encoding", "trailer"})


class NobodyReads(Exception):
    """The reader has gone, and there is nobody to tell."""


class Line:
    """``answer`` is what arrives at the far end. What is sent waits for its reader. Whoever opens it closes it.

    Once the reader has gone, everything that is sent raises ``NobodyReads``.
    """

    def __init__(self, near: socket.socket, answer: Answer) -> None:
        self.answer = answer
        self._near = near
        self._loop = asyncio.get_running_loop()
        self._chunked = False

    @classmethod
    async def open(cls, name: str) -> Line:
        """``name`` is the provider's, for messages."""
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        try:
            _, connection = await loop.create_unix_connection(
                lambda: Connection(loop, name, lambda _: None, lambda _: None), sock=far
            )
        except BaseException:
            near.close()
            far.close()
            raise
        return cls(near, connection.send(_REQUEST, final=True))

    async def head(self, headers: Mapping[str, str], length: int | None = None, *, chunked: bool = True) -> None:
        """Status 200 and ``headers``, with ``length`` for the body, true or not; without it the body comes in chunks, or, not
        ``chunked``, until the connection ends.
        """
        self._chunked = length is None and chunked
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if name not in _FRAMING]
        if length is not None:
            framing = f"Content-Length: {length}"
        else:
            framing = "Transfer-Encoding: chunked" if chunked else "Connection: close"
        await self.raw(f"HTTP/1.1 200 OK\r\n{''.join(lines)}{framing}\r\n\r\n".encode("latin-1", "replace"))

    async def send(self, data: bytes) -> None:
        """A part of the body."""
        if data:
            await self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        """The body is whole."""
        if self._chunked:
            await self.raw(b"0\r\n\r\n")

    async def pass_on(self, parts: AsyncIterator[bytes]) -> None:
        """The rest of the body as it is, and its end."""
        async for part in parts:
            await self.send(part)
        await self.end()

    async def raw(self, data: bytes) -> None:
        """Bytes as they are, whatever they mean."""
        try:
            await self._loop.sock_sendall(self._near, data)
        except OSError:
            raise NobodyReads from None

    def close(self) -> None:
        """The stream of bytes ends, politely: FIN. Does nothing after ``reset``."""
        with suppress(OSError):  # the other end has gone, or it is closed already
            self._near.recv(len(_REQUEST))
        self._near.close()

    def reset(self) -> None:
        """It breaks: a socket that is closed before it was read resets the other end."""
        self._near.close()
