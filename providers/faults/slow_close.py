"""F22: connections that do not end as they should."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from providers.base import Stream
from providers.faults.conn_reset import lost
from providers.faults.hit import Hit
from providers.faults.knobs import not_below
from providers.faults.line import Line
from providers.faults.original import Original


@dataclass(slots=True, eq=False)
class SlowClose:
    """``mode``: "slow_close": every byte comes, but that the body is whole is told ``delay`` seconds later; "half_open": the
    request is taken, nothing comes, and after ``delay`` seconds the connection is reset.
    """

    mode: Literal["slow_close", "half_open"] = "slow_close"
    delay: float = 10.0

    def __post_init__(self) -> None:
        not_below(self, 0, "delay")

    async def open(self, hit: Hit) -> Stream:
        if self.mode == "slow_close":
            return await hit.played(partial(self._play, hit))
        await hit.hold.sleep(self.delay)
        if not hit.hold.over:
            lost(hit)
        return await hit.upstream()

    async def _play(self, hit: Hit, original: Original, line: Line) -> None:
        await line.head(original.headers)
        async for part in original.parts():
            await line.send(part)
        await hit.hold.sleep(self.delay)
        await line.end()
