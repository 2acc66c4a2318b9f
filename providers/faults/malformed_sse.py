"""F09: events as some servers and proxies really send them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from providers.base import Stream
from providers.faults.events import bears_data
from providers.faults.hit import Hit
from providers.faults.hold import Hold
from providers.faults.knobs import not_below
from providers.faults.line import Line
from providers.faults.original import Original, whole
from providers.sse import MAX_EVENT_BYTES

_PIECE = b"x" * 65_536
# Long enough for two halves to be read apart.
_APART_SECONDS = 0.01


@dataclass(slots=True, eq=False)
class MalformedSse:
    """``form`` of every ``every``-th event, [DONE] apart. Legal, and to be survived: "crlf" as line ends, "split_utf8" (cut inside a
    character). Not legal: "bad_json", "missing_blank_line", "giant_line" (in its place, one beyond all limits), "interleaved" with
    the next. Of a plain answer only "bad_json" means something: it lacks its last byte.
    """

    form: Literal["bad_json", "missing_blank_line", "split_utf8", "crlf", "giant_line", "interleaved"] = "bad_json"
    every: int = 1

    def __post_init__(self) -> None:
        not_below(self, 1, "every")

    async def open(self, hit: Hit) -> Stream:
        return await hit.played(partial(self._play if hit.request.stream else self._play_body, hit.hold))

    async def _play(self, hold: Hold, original: Original, line: Line) -> None:
        await line.head(original.headers)
        parts = original.parts()
        seen = 0
        async for part in parts:
            if hold.over:
                await line.send(part)
                continue
            seen += bears_data(part)
            if not bears_data(part) or seen % self.every:
                await line.send(part)
            else:
                await self._spoil(part, parts, hold, line)
        await line.end()

    async def _play_body(self, hold: Hold, original: Original, line: Line) -> None:
        body = await whole(original)
        if self.form == "bad_json" and not hold.over:
            body = body[:-1]
        await line.head(original.headers, len(body))
        await line.send(body)

    async def _spoil(self, event: bytes, following: AsyncIterator[bytes], hold: Hold, line: Line) -> None:
        match self.form:
            case "bad_json":
                text = event.rstrip(b"\r\n")
                await line.send(text[:-1] + event[len(text) :])
            case "missing_blank_line":
                await line.send(event.rstrip(b"\r\n") + b"\n")
            case "crlf":
                await line.send(event.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
            case "split_utf8":
                middle = next((place for place, byte in enumerate(event, 1) if byte >= 0xC0), len(event) // 2)
                await line.send(event[:middle])
                await hold.sleep(_APART_SECONDS)
                await line.send(event[middle:])
            case "giant_line":
                await line.send(b"data: ")
                for _ in range(MAX_EVENT_BYTES // len(_PIECE) + 1):
                    await line.send(_PIECE)
                await line.send(b"\n\n")
            case "interleaved":
                other = await anext(following, b"")
                await line.send(_mixed(event, other) if bears_data(other) else event + other)


def _mixed(one: bytes, other: bytes) -> bytes:
    first, second = len(one) // 2, len(other) // 2
    return one[:first] + other[:second] + one[first:] + other[second:]
