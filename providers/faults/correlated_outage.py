"""F18: several targets are down at once. One rule names them all, so that they go and come back together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NoReturn

from providers.faults.connect_refused import refused
from providers.faults.hit import Hit

Down = Literal["http", "refused"]


@dataclass(slots=True, eq=False)
class CorrelatedOutage:
    """``mode``: 503 ("http"), or the connection is "refused"."""

    mode: Down = "http"

    async def refuse(self, hit: Hit) -> None:
        down(hit, self.mode)


def down(hit: Hit, mode: Down) -> NoReturn:
    """Raises ``ProviderError``."""
    if mode == "refused":
        refused(hit)
    raise hit.answered(503, {}, {"type": "service_unavailable_error"})
