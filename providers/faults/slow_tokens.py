"""F06: tokens trickle."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.knobs import above, not_both
from providers.faults.line import Line
from providers.faults.original import Original, whole
from providers.prompt import BYTES_PER_TOKEN

_USUAL = 2.0
# A plain body comes in so many pieces a second.
_PIECES_PER_SECOND = 10.0


@dataclass(slots=True, eq=False)
class SlowTokens:
    """``tokens_per_second``, an event being a token, or ``bytes_per_second``; without either 2 tokens. A plain answer's bytes come
    at that pace, four to a token.
    """

    tokens_per_second: float | None = None
    bytes_per_second: float | None = None

    def __post_init__(self) -> None:
        not_both(self, "tokens_per_second", "bytes_per_second")
        above(self, 0, "tokens_per_second", "bytes_per_second")

    async def open(self, hit: Hit) -> Stream:
        return await hit.played(partial(self._play if hit.request.stream else self._play_body, hit))

    async def _play(self, hit: Hit, original: Original, line: Line) -> None:
        loop = asyncio.get_running_loop()
        await line.head(original.headers)
        due = loop.time()
        async for part in original.parts():
            if self.bytes_per_second is not None:  # what comes now has been on its way for so long
                due = max(due, loop.time()) + len(part) / self.bytes_per_second
            await hit.hold.sleep(due - loop.time())
            await line.send(part)
            if self.bytes_per_second is None:
                due = max(due, loop.time()) + 1 / (self.tokens_per_second or _USUAL)
        await line.end()

    async def _play_body(self, hit: Hit, original: Original, line: Line) -> None:
        body = await whole(original)
        await line.head(original.headers, len(body))
        pace = self.bytes_per_second or (self.tokens_per_second or _USUAL) * BYTES_PER_TOKEN
        size = max(1, int(pace / _PIECES_PER_SECOND))
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            await hit.hold.sleep(len(piece) / pace)
            await line.send(piece)
