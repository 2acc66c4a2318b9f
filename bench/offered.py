"""Load that does not wait for answers: calls arrive by the clock, however slow they are served, and clients try again as the
openai SDK does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from random import Random
from typing import NamedTuple, cast

import orjson

# openai-python 3, _base_client.py and _constants.py
MAX_RETRIES = 2
INITIAL_DELAY, MAX_DELAY, MAX_RETRY_AFTER = 0.5, 8.0, 120.0
CONTENT = b'"content":"'


class Try(NamedTuple):
    """One request. Times in seconds on the monotonic clock; ``first`` is the first content, None if there was none.
    ``status`` 0: no answer in time, or the connection broke. ``why``: the message of an error; ``name``: its request id.
    """

    sent: float
    ended: float
    first: float | None
    status: int
    headers: Mapping[str, str]
    whole: bool
    why: str = ""
    name: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200 and self.whole


class Called(NamedTuple):
    """What a client wanted, and all that it did for it."""

    arrived: float
    kind: str
    tries: tuple[Try, ...]

    @property
    def ok(self) -> bool:
        return self.tries[-1].ok


def pause(tried: Try, retries: int, chance: float) -> float | None:
    """Seconds until the SDK tries again; None if it does not. ``retries`` so far; ``chance`` in [0, 1)."""
    asked = tried.headers.get("x-should-retry")
    retryable = tried.status in (0, 408, 409, 429) or tried.status >= 500
    if retries >= MAX_RETRIES or tried.ok or asked == "false" or not (retryable or asked == "true"):
        return None
    named = float(tried.headers.get("retry-after", 0))
    if named > MAX_RETRY_AFTER:
        return None
    return named or min(INITIAL_DELAY * 2.0**retries, MAX_DELAY) * (1 - 0.25 * chance)


class Connection(asyncio.Protocol):
    """One request at a time; kept for the next one if the answer was whole."""

    def __init__(self) -> None:
        self.reusable = True
        self._over: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is none by inheritance

    def hang_up(self) -> None:
        self._transport.abort()

    async def ask(self, request: bytes, patience: float) -> Try:
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        self._received = bytearray()
        self._head_ends = self._length = -1
        self._first: float | None = None
        self._ended = 0.0
        self._whole = self.reusable = False
        timer = loop.call_later(patience, self._transport.abort)
        sent = time.monotonic()
        self._transport.write(request)
        try:
            await self._over
        finally:
            timer.cancel()
            if not self._whole:
                self._transport.abort()
        return self._told(sent)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if self._first is None and CONTENT in received:
            self._first = time.monotonic()
        if self._head_ends < 0:
            self._head_ends = received.find(b"\r\n\r\n") + 4
            if self._head_ends < 4:
                self._head_ends = -1
                return
            at = received.lower().find(b"content-length:", 0, self._head_ends)
            self._length = int(received[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -1
        by_length = self._length >= 0 and len(received) >= self._head_ends + self._length
        if by_length or (self._length < 0 and received.endswith(b"0\r\n\r\n")):
            self._whole = self.reusable = True
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._end()

    def _end(self) -> None:
        if self._over is not None and not self._over.done():
            self._ended = time.monotonic()
            self._over.set_result(None)

    def _told(self, sent: float) -> Try:
        received = bytes(self._received)
        if self._head_ends < 0:
            return Try(sent, self._ended, None, 0, {}, whole=False)
        first, *lines = received[: self._head_ends].decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, why = int(first.split()[1]), ""
        if status != 200 and self._whole:
            why = str(orjson.loads(received[self._head_ends :])["error"]["message"])
        # An error event in a stream is the last word of a body that is cut, so the body is not whole either.
        return Try(sent, self._ended, self._first if status == 200 else None, status, headers, self._whole, why)


class Clients:
    """All clients of one gateway, on connections that they share. ``patience`` in seconds for one request; ``seed`` decides
    when they come; ``latest`` is how late one came at most, in seconds, because this machine had other things to do.
    """

    def __init__(self, port: int, patience: float, seed: int, *, retries: bool = True) -> None:
        self.called: list[Called] = []
        self.latest = 0.0
        self._port = port
        self._patience = patience
        self._retries = retries
        self._rng = Random(seed)
        self._idle: list[Connection] = []
        self._count = 0

    async def come(self, rate: float, seconds: float, kinds: Mapping[str, float]) -> None:
        """``rate`` a second on average, at random (Poisson), for so many ``seconds``; then wait for those that run. ``kinds``:
        X-Priority, and its part of the calls.
        """
        loop, rng = asyncio.get_running_loop(), self._rng
        due = loop.time()
        ends = due + seconds
        async with asyncio.TaskGroup() as group:
            while (due := due + rng.expovariate(rate)) < ends:
                await asyncio.sleep(due - loop.time())
                self.latest = max(self.latest, loop.time() - due)
                (kind,) = rng.choices(list(kinds), list(kinds.values()))
                group.create_task(self._call(kind, rng.random()))

    async def _call(self, kind: str, chance: float) -> None:
        arrived = time.monotonic()
        self._count += 1
        name, tries = f"call-{self._count}", list[Try]()
        while True:
            tries.append(await self._try(f"{name}-{len(tries)}", kind, len(tries)))
            wait = pause(tries[-1], len(tries) - 1, chance) if self._retries else None
            if wait is None:
                self.called.append(Called(arrived, kind, tuple(tries)))
                return
            await asyncio.sleep(wait)

    async def _try(self, request_id: str, kind: str, retries: int) -> Try:
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"say a word"}]}'
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\ncontent-type: application/json\r\n"
            f"x-request-id: {request_id}\r\nx-priority: {kind}\r\nx-stainless-retry-count: {retries}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        sent = time.monotonic()
        try:
            connection = await self._connection()
        except OSError:
            return Try(sent, time.monotonic(), None, 0, {}, whole=False)
        tried = await connection.ask(head.encode() + body, self._patience)
        if connection.reusable:
            self._idle.append(connection)
        return tried._replace(name=request_id)

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        return connection

    def hang_up(self) -> None:
        for connection in self._idle:
            connection.hang_up()
