"""F03: the upstream answers with server errors."""

from __future__ import annotations

from dataclasses import dataclass, field

from providers.faults.hit import Hit
from providers.faults.knobs import not_below


@dataclass(slots=True, eq=False)
class Http5xx:
    """``statuses``: one of them each time, at random. ``retry_after`` in seconds; None: it does not say."""

    statuses: list[int] = field(default_factory=lambda: [500, 502, 503, 504])
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if not self.statuses or any(not 500 <= status <= 599 for status in self.statuses):
            raise ValueError("statuses: must be one or more numbers from 500 to 599")
        not_below(self, 0, "retry_after")

    async def refuse(self, hit: Hit) -> None:
        headers = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        raise hit.answered(hit.rng.choice(self.statuses), headers, {"type": "server_error"})
