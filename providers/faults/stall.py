"""F07: the answer begins, and then nothing comes for a long time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.hold import Hold
from providers.faults.knobs import not_below
from providers.faults.line import Line
from providers.faults.original import Original, whole

_PING = b": ping\n\n"
_PING_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Stall:
    """``after`` events of a stream, or half of a body, nothing comes for ``hold`` seconds; then the rest does. ``pings``: but a
    comment once a second, in a stream.
    """

    after: int = 3
    hold: float = 60.0
    pings: bool = True

    def __post_init__(self) -> None:
        not_below(self, 0, "after", "hold")

    async def open(self, hit: Hit) -> Stream:
        return await hit.played(partial(self._play if hit.request.stream else self._play_body, hit.hold))

    async def _play(self, hold: Hold, original: Original, line: Line) -> None:
        await line.head(original.headers)
        passed = 0
        async for part in original.parts():
            if passed == self.after:
                await self._stall(hold, line)
            await line.send(part)
            passed += 1
        await line.end()

    async def _play_body(self, hold: Hold, original: Original, line: Line) -> None:
        body = await whole(original)
        half = len(body) // 2
        await line.head(original.headers, len(body))
        await line.send(body[:half])
        await hold.sleep(self.hold)
        await line.send(body[half:])

    async def _stall(self, hold: Hold, line: Line) -> None:
        if not self.pings:
            await hold.sleep(self.hold)
            return
        left = self.hold
        while left > 0 and not hold.over:
            await hold.sleep(min(left, _PING_SECONDS))
            left -= _PING_SECONDS
            await line.send(_PING)
