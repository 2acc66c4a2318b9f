"""F15: a few requests are far slower than all others, and nothing else is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.knobs import above
from providers.faults.stretched import Stretched


@dataclass(slots=True, eq=False)
class GraySlow:
    """The time to the first content is ``factor`` times as long."""

    factor: float = 20.0

    def __post_init__(self) -> None:
        above(self, 1, "factor")

    async def open(self, hit: Hit) -> Stream:
        return await Stretched.open(hit, self.factor, throughout=False)
