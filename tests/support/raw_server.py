"""A server on a real socket that does what a script says, byte for byte; it knows no HTTP but where a request ends."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self


class Peer:
    """One accepted connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests: list[bytes] = []
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """The next request, its body with it. Raises IncompleteReadError if there is none."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", head)
        whole = head + (await self._reader.readexactly(int(length[1])) if length else b"")
        self.requests.append(whole)
        return whole

    async def head(self) -> bytes:
        """The head of a request whose body is left where it is."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def read(self, count: int) -> bytes:
        return await self._reader.readexactly(count)

    async def send(self, *parts: bytes) -> None:
        """Each in a write of its own, and the other side has the time to read it alone."""
        for part in parts:
            if self._writer.is_closing():  # writing to one is a RuntimeError under uvloop
                raise ConnectionResetError
            self._writer.write(part)
            await self._writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    async def hung_up(self) -> bytes:
        """What comes until the client hangs up."""
        try:
            return await self._reader.read(-1)
        except ConnectionError:
            return b""

    def finish(self) -> None:
        """FIN, as far as the sending goes; reading goes on."""
        self._writer.write_eof()

    def reset(self) -> None:
        """RST."""
        linger_not = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self._writer.transport.abort()

    def abort(self) -> None:
        """Close without a word of the layer above TCP."""
        self._writer.transport.abort()

    def keep_little(self) -> None:
        """Of what is sent and received: else the kernel takes megabytes before anybody is held back."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)


Script = Callable[[Peer], Awaitable[None]]


class RawServer:
    """The n-th connection plays the n-th script, all further ones the last. A script that returns closes."""

    def __init__(
        self, *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.peers: list[Peer] = []
        self._scripts = scripts
        self._tls = tls
        self._host = host
        self._port = port
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def playing(self) -> int:
        """Connections that are not over."""
        return sum(not task.done() for task in self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, self._port, ssl=self._tls, limit=2**20)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        endings = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        for ending in endings:
            if isinstance(ending, Exception):
                raise ending

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        script = self._scripts[min(len(self.peers), len(self._scripts)) - 1]
        self._tasks.append(asyncio.create_task(self._play(script, peer, writer)))

    async def _play(self, script: Script, peer: Peer, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(peer)
        except BaseException:
            writer.transport.abort()  # a failed test must not wait for a client that does not read
            raise
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def answers(*replies: bytes) -> Script:
    """One reply a request, then silence until the client hangs up."""

    async def script(peer: Peer) -> None:
        for reply in replies:
            await peer.request()
            await peer.send(reply)
        await peer.hung_up()

    return script


def always(reply: bytes) -> Script:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(reply)

    return script


def plain(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer with its length."""
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    """A whole answer in chunks."""
    body = b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in parts])
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n" + trailers + b"\r\n"
