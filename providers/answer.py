"""One response on its way: status and headers, then its body as it comes, held back when nobody reads it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from providers.errors import Disconnected, ProviderError

# Held in memory for a reader that is slow; beyond it the socket is not read.
HIGH_WATER_BYTES = 64 * 1024


class Wire(Protocol):
    """What an answer asks of the connection that brings it."""

    loop: asyncio.AbstractEventLoop

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def drain(self, answer: Answer) -> None: ...
    def drop(self, answer: Answer) -> None: ...


class Answer:
    """A response as it comes. Whoever holds it closes it; ``close`` may be called at any time, also twice.

    ``headers`` have lower-case names; what was sent twice is joined by commas. Nothing here is bounded in time.
    """

    __slots__ = ("_connection", "_parts", "_size", "_waiter", "begun", "complete", "failure", "headers", "status")

    def __init__(self, connection: Wire) -> None:
        self._connection: Wire | None = connection
        self._parts: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.begun = False
        self.complete = False
        self.failure: ProviderError | None = None

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def begin(self) -> None:
        """Return when status and headers are here. Raises ``Disconnected`` or ``Malformed``."""
        while not self.begun:
            if self.failure is not None:
                raise self.failure
            await self._happening()

    async def read(self) -> bytes:
        """What has come since the last time, at least one byte; nothing at the end of the body.

        Raises ``Disconnected`` or ``Malformed`` after what came before it has been read.
        """
        parts = self._parts
        while not parts:
            if self.complete:
                return b""
            if self.failure is not None:
                raise self.failure
            await self._happening()
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        if self._size > HIGH_WATER_BYTES and self._connection is not None:
            self._connection.resume_reading()
        self._size = 0
        return data

    def leave(self) -> None:
        """Nothing more is wanted, but the body should be over: the connection may be used again if it ends soon."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drain(self)

    def close(self) -> None:
        """Whatever has not come yet never will: a connection in the middle of an answer goes with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop(self)

    def add(self, part: bytes) -> None:
        """From the connection: a part of the body."""
        self._parts.append(part)
        self._size += len(part)
        if self._size > HIGH_WATER_BYTES and self._connection is not None:
            self._connection.pause_reading()
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def wake(self) -> None:
        """From the connection: something has happened that a reader may wait for."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _happening(self) -> asyncio.Future[None]:
        """Done when something has come, or never will."""
        if self._connection is None:
            raise Disconnected("the answer was closed before it was complete")
        waiter = self._waiter = self._connection.loop.create_future()
        return waiter
