"""A request that is not ours to understand: its body streamed up as it comes, the answer's down as it comes.

    begin ─► Forwarding ── write, write, …  ──► upstream      what the one side does not take yet holds the
                        ◄── head, read, read, …               other one back; nothing is kept but that

Nothing is retried, since what has gone up is no longer here. The bytes pass as they are, and so does the status:
it is the answer, unless it is about the gateway's own credentials, leads elsewhere, or is the upstream's own failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from providers.answer import Answer
from providers.errors import Disconnected, TimedOut
from providers.failures import from_status, travelling
from providers.http import Upstream
from providers.http1 import Connection

# What an answer may say about itself. An allow-list: cookies, CORS, account names and addresses stay with the upstream.
_DESCRIBING = frozenset(
    {
        "accept-ranges",
        "age",
        "allow",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
        "deprecation",
        "etag",
        "expires",
        "last-modified",
        "sunset",
        "vary",
    }
)
_ABOUT_US = frozenset({401, 402, 403, 407})
_BODILESS = frozenset({204, 304})

_T = TypeVar("_T")


class Outgoing(NamedTuple):
    """``target`` follows the base URL, with its query, byte for byte; it holds no space and no line break.

    ``headers`` have lower-case names. ``length`` of the body in bytes; None if it is not known, 0 also if there is none.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    length: int | None


class Patience(NamedTuple):
    """Seconds. ``connect``; ``first``: from the end of the request to the first byte of the answer's body; ``idle``:
    between two bytes, in both directions.
    """

    connect: float
    first: float
    idle: float


class Head(NamedTuple):
    """``headers`` are those that may travel to the client, with lower-case names."""

    status: int
    headers: Mapping[str, str]


@runtime_checkable
class Forwards(Protocol):
    """A provider that can do more than ``open``."""

    name: str

    async def forward(self, outgoing: Outgoing, patience: Patience) -> Forwarding: ...


class Forwarding:
    """One request on its way and its answer. Whoever holds it closes it; ``close`` may be called twice.

    One task writes while another reads. Everything raises ``ProviderError``, and only that.
    """

    def __init__(
        self, connection: Connection, answer: Answer, name: str, outgoing: Outgoing, patience: Patience
    ) -> None:
        self._connection = connection
        self._answer = answer
        self._name = name
        self._chunked = outgoing.length is None
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._sent_at = self._loop.time() if outgoing.length == 0 else None
        self._limit: asyncio.Timeout | None = None
        self._read = False

    @classmethod
    async def begin(cls, upstream: Upstream, outgoing: Outgoing, patience: Patience) -> Self:
        """Send the head; and all there is, if there is no body."""
        length = outgoing.length
        framing = "\r\n"
        if length is None:
            framing = "Transfer-Encoding: chunked\r\n\r\n"
        elif length or outgoing.method in ("POST", "PUT", "PATCH"):
            framing = f"Content-Length: {length}\r\n\r\n"
        head = upstream.head(outgoing.method, outgoing.target, outgoing.headers.items(), framing)
        connection = await upstream.connection(patience.connect)
        answer = connection.send(head, no_body=outgoing.method == "HEAD", more=length != 0)
        return cls(connection, answer, upstream.name, outgoing, patience)

    async def write(self, part: bytes, *, more: bool) -> None:
        """The next part of the body; waits while the upstream takes no more of it. ``more``: it is not the last one.

        An upstream that is gone, or has answered already, takes nothing: its answer says more than we could here.
        """
        if self._sent_at is not None:  # there was no body; the connection may serve somebody else by now
            return
        data = part
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
            if not more:
                data += b"0\r\n\r\n"
        try:
            async with asyncio.timeout(self._patience.idle):
                await self._connection.write(data, more=more)
        except TimeoutError:
            raise TimedOut("idle", self._patience.idle) from None
        except Disconnected:
            return
        if not more:
            self._sent_at = self._loop.time()
            if self._limit is not None:
                self._limit.reschedule(self._sent_at + self._patience.first)

    async def head(self) -> Head:
        """Return when status and headers are here. What is not the client's to see raises."""
        await self._in_first_time(self._answer.begin)
        status, headers = self._answer.status, self._answer.headers
        if status in _ABOUT_US or status >= 500 or (300 <= status < 400 and status != 304):
            raise from_status(status, headers, b"", self._name)
        unwanted = {name.strip().lower() for name in headers.get("connection", "").split(",")}
        if status in _BODILESS:
            unwanted.add("content-length")
        headers = {name: value for name, value in headers.items() if name not in unwanted}
        described = {name: value for name, value in headers.items() if name in _DESCRIBING}
        return Head(status, described | travelling(headers))

    async def read(self) -> bytes:
        """What has come of the answer's body since the last time; nothing at its end, and then it is whole."""
        if not self._read:
            self._read = True
            return await self._in_first_time(self._answer.read)
        try:
            async with asyncio.timeout(self._patience.idle):
                return await self._answer.read()
        except TimeoutError:
            raise TimedOut("idle", self._patience.idle) from None

    def close(self) -> None:
        self._answer.close()

    async def _in_first_time(self, wait: Callable[[], Awaitable[_T]]) -> _T:
        """While the request is still going up there is no limit; ``write`` sets it at the end."""
        due = None if self._sent_at is None else self._sent_at + self._patience.first
        try:
            async with asyncio.timeout_at(due) as self._limit:
                return await wait()
        except TimeoutError:
            raise TimedOut("attempt", self._patience.first) from None
        finally:
            self._limit = None
