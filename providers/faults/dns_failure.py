"""F13: the name does not resolve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from providers.errors import Unreachable
from providers.faults.connect_refused import swallowed
from providers.faults.hit import Hit
from providers.faults.knobs import not_below


@dataclass(slots=True, eq=False)
class DnsFailure:
    """``mode``: no such name ("nxdomain"), a name without addresses ("empty"), which resolvers tell alike, or no answer until the
    connect timeout. It shows when what was resolved before is ``cached_for`` seconds old: for so long nothing happens.
    """

    mode: Literal["nxdomain", "empty", "timeout"] = "nxdomain"
    cached_for: float = 0.0

    def __post_init__(self) -> None:
        not_below(self, 0, "cached_for")

    async def refuse(self, hit: Hit) -> None:
        if hit.since < self.cached_for:
            return
        if self.mode != "timeout":
            raise Unreachable(f"the host name of {hit.provider.name} could not be resolved")
        await swallowed(hit)
