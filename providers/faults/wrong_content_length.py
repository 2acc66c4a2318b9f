"""F10: the length that is announced is not the body's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.line import Line
from providers.faults.original import Original, whole

_BEYOND = 1 << 40


@dataclass(slots=True, eq=False)
class WrongContentLength:
    """``delta`` bytes more than the body has, or fewer. Nobody knows a stream's length before its end, so it announces its first
    event's in place of chunks if ``delta`` is below 0, and one that is never reached if it is above.
    """

    delta: int = -10

    def __post_init__(self) -> None:
        if self.delta == 0:
            raise ValueError("delta: must not be 0, which would be the right length")

    async def open(self, hit: Hit) -> Stream:
        return await hit.played(partial(self._play if hit.request.stream else self._play_body, hit))

    async def _play(self, hit: Hit, original: Original, line: Line) -> None:
        parts = original.parts()
        first = await anext(parts, b"")
        if hit.hold.over:
            await line.head(original.headers)
        else:
            await line.head(original.headers, max(0, len(first) + self.delta) if self.delta < 0 else _BEYOND)
        await line.send(first)
        await line.pass_on(parts)

    async def _play_body(self, hit: Hit, original: Original, line: Line) -> None:
        body = await whole(original)
        await line.head(original.headers, max(0, len(body) + (0 if hit.hold.over else self.delta)))
        await line.send(body)
