"""F20: the upstream can do less than it could."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.knobs import above, not_both
from providers.faults.stretched import Stretched


@dataclass(slots=True, eq=False)
class Brownout:
    """``factor`` of its speed is left, so that everything takes 1/factor as long; or at most ``rate`` requests a second begin, the
    rest stand in line, first come first served, and after ``patience`` seconds get a 503. Without either: half the speed.
    """

    factor: float | None = None
    rate: float | None = None
    patience: float = 30.0
    _line: asyncio.Lock = field(init=False, repr=False, default_factory=asyncio.Lock)
    _free_at: float = field(init=False, repr=False, default=float("-inf"))

    def __post_init__(self) -> None:
        not_both(self, "factor", "rate")
        above(self, 0, "factor", "rate", "patience")
        if self.factor is not None and self.factor >= 1:
            raise ValueError("factor: must be below 1")

    async def open(self, hit: Hit) -> Stream:
        if self.rate is None:
            return await Stretched.open(hit, 1 / (self.factor or 0.5), throughout=True)
        try:
            async with asyncio.timeout(self.patience):
                await self._stand_in_line(hit, self.rate)
        except TimeoutError:
            raise hit.answered(503, {}, {"type": "service_unavailable_error"}) from None
        return await hit.upstream()

    async def _stand_in_line(self, hit: Hit, rate: float) -> None:
        """Whoever leaves the line takes nobody's place."""
        loop = asyncio.get_running_loop()
        async with self._line:
            await hit.hold.sleep(self._free_at - loop.time())
            self._free_at = loop.time() + 1 / rate
