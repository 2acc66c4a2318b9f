"""F11: the connection is reset."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, NoReturn

from providers.base import Stream
from providers.errors import Disconnected
from providers.faults.hit import Hit
from providers.faults.knobs import not_below
from providers.faults.line import Line
from providers.faults.original import Original


@dataclass(slots=True, eq=False)
class ConnReset:
    """``where``: "before_headers", or "after_bytes": so many ``bytes`` of the body."""

    where: Literal["before_headers", "after_bytes"] = "before_headers"
    bytes: int = 200

    def __post_init__(self) -> None:
        not_below(self, 0, "bytes")

    async def open(self, hit: Hit) -> Stream:
        if self.where == "before_headers":
            lost(hit)
        return await hit.played(partial(self._play, hit))

    async def _play(self, hit: Hit, original: Original, line: Line) -> None:
        await line.head(original.headers)
        left = self.bytes
        async for part in original.parts():
            if len(part) >= left and not hit.hold.over:
                await line.send(part[:left])
                line.reset()
                return
            await line.send(part)
            left -= len(part)
        await line.end()


def lost(hit: Hit) -> NoReturn:
    """Raises ``Disconnected``: the connection ended before it said anything."""
    raise Disconnected(f"{hit.provider.name} closed the connection")
