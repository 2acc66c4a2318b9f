"""One fault, one attempt: an upstream that answers whatever is asked, the fault in front of it, and what comes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson
from file_server import Exchange, FileServer
from worlds import request

from app.settings.options import build_options
from providers import Chunk, Endpoint, Provider, ProviderError, Request, Stream
from providers.faults import FAULTS, Hit, Hold, Refuses
from providers.shapes import Answer, steps

WORDS = ["Grüße", " aus", " dem", " Hafen"]
PATHS = {endpoint: f"POST /v1/{endpoint.value}" for endpoint in Endpoint}


def fault_of(kind: str, **knobs: Any) -> Any:
    """As a configuration makes one."""
    return build_options(FAULTS[kind].fault, knobs)


def events_of(asked: Request) -> list[bytes]:
    """The upstream's answer in its pieces: events, or one body."""
    timeline, _ = steps(asked, Answer("a1", "m", WORDS), 0.0, iter(()))
    return [step.chunk.raw for step in timeline]


async def answer(exchange: Exchange) -> None:
    """A play of ``FileServer``: what was asked for, in chunks, each event in a write of its own."""
    fields = json.loads(await exchange.body())
    endpoint = next(each for each in Endpoint if exchange.path == f"/v1/{each.value}")
    stream = bool(fields.get("stream"))
    asked = Request("a1", endpoint, orjson.dumps(fields), fields, stream, {})
    kind = "text/event-stream" if stream else "application/json"
    await exchange.begin(headers={"content-type": kind, "x-request-id": "up-1"})
    for event in events_of(asked):
        await exchange.say(event)
    await exchange.end()


def upstream() -> FileServer:
    server = FileServer()
    server.plays = dict.fromkeys(PATHS.values(), answer)
    return server


@dataclass
class Attempt:
    """``fault`` at ``provider``, which acts for ``since`` seconds already."""

    fault: Any
    provider: Provider
    request: Request = field(default_factory=request)
    since: float = 0.0
    seed: str = "seed"
    connect_timeout: float = 5.0
    hold: Hold = field(default_factory=Hold)

    async def open(self) -> Stream:
        """As ``router.chaos`` does it."""
        rng = Random(f"{self.seed}/{self.request.id}")
        target = f"{self.provider.name}/m"
        hit = Hit(self.provider, self.request, "m", self.connect_timeout, target, self.since, rng, self.hold)
        if isinstance(self.fault, Refuses):
            await self.fault.refuse(hit)
            return await hit.upstream()
        stream: Stream = await self.fault.open(hit)
        return stream

    async def seen(self) -> Seen:
        """Open, read to the end, close."""
        seen = Seen()
        try:
            stream = await self.open()
        except ProviderError as error:
            seen.error = error
            return seen
        try:
            async for chunk in stream:
                seen.chunks.append(chunk)
        except ProviderError as error:
            seen.error = error
        finally:
            await stream.aclose()
            await stream.aclose()
        return seen


@dataclass
class Seen:
    """What a reader has of an answer, and the error that ended it."""

    chunks: list[Chunk] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def raw(self) -> bytes:
        return b"".join(chunk.raw for chunk in self.chunks)

    @property
    def label(self) -> str:
        return "" if self.error is None else type(self.error).__name__
