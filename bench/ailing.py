"""Upstreams that ail by a plan, on real sockets: one that goes gray, one that flaps. They know just enough of the OpenAI API.

How long an answer takes depends on the seed and the request id alone, so every strategy meets the same ones.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, Self

TTFT_SECONDS, TTFT_SIGMA = 0.15, 0.25  # lognormal: a model that is neither quick nor slow
TOKEN_SECONDS = 0.02
TOKENS = 8
GRAY_FACTOR = 20
UP_SECONDS, DOWN_SECONDS = 12.0, 6.0
DONE = b"data: [DONE]\n\n"

Ails = Callable[[str, float], float | None]
"""(request id, seconds since the start) to the seconds until the first token; None fails the request."""


def first_token(seed: int, request_id: str) -> float:
    return TTFT_SECONDS * math.exp(Random(f"{seed}/{request_id}").gauss(0.0, TTFT_SIGMA))


def going_gray(seed: int, share: float) -> Ails:
    """A ``share`` of its answers begin 20 times as late. Nothing fails, so no error rate tells."""

    def ails(request_id: str, _since: float) -> float:
        factor = GRAY_FACTOR if Random(f"gray/{seed}/{request_id}").random() < share else 1
        return factor * first_token(seed, request_id)

    return ails


def flapping(seed: int) -> Ails:
    """Well for 12 s, then every request fails at once for 6 s, again and again."""

    def ails(request_id: str, since: float) -> float | None:
        return None if is_down(since) else first_token(seed, request_id)

    return ails


def is_down(since: float) -> bool:
    return since % (UP_SECONDS + DOWN_SECONDS) >= UP_SECONDS


class Upstream:
    """Time begins with ``begin``; until then it is well. ``asked`` and ``failed`` count requests."""

    def __init__(self, ails: Ails) -> None:
        self.asked = self.failed = 0
        self._ails = ails
        self._open: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        self._began: float | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def begin(self) -> None:
        self._began = asyncio.get_running_loop().time()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await asyncio.gather(*(task for task in tuple(self._open.values()) if task is not None), return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
                await reader.readexactly(int(fields.get("content-length", "0")))
                await self._answer(fields.get("x-request-id", ""), head.startswith("post"), writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._open.pop(writer, None)

    async def _answer(self, request_id: str, is_call: bool, writer: asyncio.StreamWriter) -> None:
        since = 0.0 if self._began is None else asyncio.get_running_loop().time() - self._began
        seconds = self._ails(request_id, since)
        self.asked += is_call
        if seconds is None:
            self.failed += is_call
            body = b'{"error":{"message":"down","type":"server_error","param":null,"code":null}}'
            writer.write(b"HTTP/1.1 500 Down\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        elif not is_call:  # asked for its models: a probe
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        else:
            await _stream(seconds, writer)
        await writer.drain()


async def _stream(seconds: float, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(seconds)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    for number in range(TOKENS):
        writer.write((head if number == 0 else b"") + _chunk(_event({"content": " wave"}, None)))
        await writer.drain()
        await asyncio.sleep(TOKEN_SECONDS)
    writer.write(_chunk(_event({}, "stop") + DONE) + b"0\r\n\r\n")


def _event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    payload = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "mock", "choices": [choice]}
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
