"""F05: the first token takes long."""

from __future__ import annotations

from dataclasses import dataclass

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.knobs import above, not_both
from providers.faults.stretched import Stretched
from providers.law import Law

_USUAL = Law("lognormal", 2.0, 0.5)


@dataclass(slots=True, eq=False)
class SlowTtft:
    """``delay`` in seconds before the upstream is asked, or ``factor``: its time to the first content is so many times as long.
    Without either: a delay of about 2 s.
    """

    delay: Law | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        not_both(self, "delay", "factor")
        above(self, 1, "factor")

    async def open(self, hit: Hit) -> Stream:
        if self.factor is not None:
            return await Stretched.open(hit, self.factor, throughout=False)
        await hit.hold.sleep((self.delay or _USUAL).draw(hit.rng))
        return await hit.upstream()
