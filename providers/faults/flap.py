"""F19: down, up, down, up."""

from __future__ import annotations

from dataclasses import dataclass

from providers.faults.correlated_outage import Down, down
from providers.faults.hit import Hit
from providers.faults.knobs import above


@dataclass(slots=True, eq=False)
class Flap:
    """Down in the first part, ``duty``, of every ``period`` seconds, for all that it hits at the same time. ``mode`` as in F18."""

    period: float = 10.0
    duty: float = 0.5
    mode: Down = "http"

    def __post_init__(self) -> None:
        above(self, 0, "period")
        if not 0 < self.duty < 1:
            raise ValueError("duty: must be above 0 and below 1")

    async def refuse(self, hit: Hit) -> None:
        if hit.since % self.period < self.duty * self.period:
            down(hit, self.mode)
