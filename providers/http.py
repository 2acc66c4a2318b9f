"""One upstream over HTTP/1.1: its connections, and what goes with every request to it.

It never retries, never follows a redirect, reads no proxy settings, keeps no cookies and decompresses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from providers.answer import Answer
from providers.dialing import Dialer
from providers.errors import Disconnected, Malformed, Misconfigured
from providers.http1 import Connection

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_ERROR_BODY_BYTES = 1024 * 1024
# llama.cpp and vLLM close idle connections after 5 s; a pool that gives up sooner never meets a stale one.
POOL_IDLE_SECONDS = 4.0


class Upstream:
    """Connections to one base URL, which has no query. ``headers`` go with every request and win over the request's own.

    Raises ValueError if the URL is none.
    """

    def __init__(self, name: str, base_url: str, headers: Mapping[str, str], network: str | None = None) -> None:
        parts = urlsplit(base_url)
        self.name = name
        self._dialer = Dialer(name, base_url, network)
        self._path = parts.path.rstrip("/")
        fixed = {"Host": parts.netloc.rpartition("@")[2], "Accept-Encoding": "identity", **headers}
        self._fixed = "".join(f"{key}: {value}\r\n" for key, value in fixed.items())
        self._own = frozenset(key.lower() for key in fixed) | {"content-length", "transfer-encoding", "connection"}
        self._posts: dict[str, str] = {}
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._reaper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], connect_timeout: float, *, final: bool = False
    ) -> Answer:
        """Send JSON; return when status and headers have come. The caller closes the answer.

        ``headers`` have lower-case names; ``final``: the connection ends with this answer. Raises ``ProviderError``.
        """
        start = self._posts.get(path)
        if start is None:
            start = self._posts[path] = self._start("POST", f"/{path}") + "Content-Type: application/json\r\n"
        close = "Connection: close\r\n" if final else ""
        head = self._head(start, headers.items(), f"{close}Content-Length: {len(body)}\r\n\r\n")
        answer = (await self.connection(connect_timeout)).send(head, body, final=final)
        try:
            await answer.begin()
        except Disconnected:
            # Whatever closed this one, it may have closed those that idle as well: the next attempt dials.
            for idle in self._idle:
                idle.abort()
            raise
        except BaseException:
            answer.close()
            raise
        return answer

    async def get(self, path: str, connect_timeout: float) -> Answer:
        """Ask for ``path`` below the base URL. The caller closes the answer. Raises ``ProviderError``."""
        head = self._head(self._start("GET", f"/{path}"), (), "\r\n")
        answer = (await self.connection(connect_timeout)).send(head, b"")
        try:
            await answer.begin()
        except BaseException:
            answer.close()
            raise
        return answer

    def head(self, method: str, target: str, headers: Iterable[tuple[str, str]], framing: str) -> bytes:
        """The head of any request. ``target`` is what follows the base URL; ``framing`` ends with the empty line."""
        return self._head(self._start(method, target), headers, framing)

    async def connection(self, connect_timeout: float) -> Connection:
        """One that waits for work, else a new one. Raises ``ProviderError``."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closing and connection.loop.time() - connection.idle_since < POOL_IDLE_SECONDS:
                return connection
            connection.abort()
        loop = self._loop = self._loop or asyncio.get_running_loop()
        connection = await self._dialer.dial(loop, self._new, connect_timeout)
        if self._closed:
            connection.abort()
        if connection.closing:  # nothing would ever come of what is sent on it
            raise Disconnected(f"{self.name} closed the connection")
        self._open.add(connection)
        return connection

    async def aclose(self) -> None:
        """Every connection ends now, also in the middle of an answer; one that is being dialled, as soon as it is made."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        for connection in tuple(self._open):
            connection.abort()

    def _start(self, method: str, target: str) -> str:
        return f"{method} {self._path}{target} HTTP/1.1\r\n{self._fixed}"

    def _head(self, start: str, headers: Iterable[tuple[str, str]], framing: str) -> bytes:
        lines = [start]
        for name, value in headers:
            if name in self._own:
                continue
            if "\r" in value or "\n" in value:
                raise Misconfigured(f"no request to {self.name} can be written: {name} holds a line break")
            lines.append(f"{name}: {value}\r\n")
        lines.append(framing)
        return "".join(lines).encode("latin-1", "replace")

    def _new(self) -> Connection:
        assert self._loop is not None  # noqa: S101 - it is dialling
        return Connection(self._loop, self.name, self._released, self._lost)

    def _released(self, connection: Connection) -> None:
        connection.idle_since = connection.loop.time()
        self._idle.append(connection)
        if self._reaper is None:
            self._reaper = connection.loop.call_later(POOL_IDLE_SECONDS, self._reap)

    def _reap(self) -> None:
        """Close what has idled for too long; the list is in the order of release."""
        self._reaper = None
        for connection in tuple(self._idle):
            rest = connection.idle_since + POOL_IDLE_SECONDS - connection.loop.time()
            if rest > 0:
                self._reaper = connection.loop.call_later(rest, self._reap)
                return
            self._idle.remove(connection)
            connection.abort()

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


async def read_body(answer: Answer, limit: int, name: str) -> bytes:
    """The whole body. Raises ``Malformed`` beyond ``limit`` bytes, ``Disconnected`` if it is cut."""
    parts = []
    size = 0
    while part := await answer.read():
        size += len(part)
        if size > limit:
            answer.close()
            raise Malformed(f"{name} answered with more than {limit} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
