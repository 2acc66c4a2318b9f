"""F01: the upstream limits the rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.knobs import not_below


@dataclass(slots=True, eq=False)
class Http429:
    """``retry_after`` in seconds; None: it does not say. ``form``: as "seconds", as a "date", as "ms" (``retry-after-ms``), or
    "none" of them. ``limits``: with ``x-ratelimit-*``.
    """

    retry_after: float | None = 1.0
    form: Literal["seconds", "date", "ms", "none"] = "seconds"
    limits: bool = False

    def __post_init__(self) -> None:
        not_below(self, 0, "retry_after")

    async def open(self, hit: Hit) -> Stream:
        headers = self._advice(hit.request.created)
        if self.limits:
            headers |= {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": f"{self.retry_after or 0:g}s",
            }
        raise hit.answered(429, headers, {"type": "rate_limit_error", "code": "rate_limit_exceeded"})

    def _advice(self, created: int) -> dict[str, str]:
        wait = self.retry_after
        if wait is None or self.form == "none":
            return {}
        if self.form == "ms":
            return {"retry-after-ms": f"{wait * 1000:g}"}
        if self.form == "seconds":
            return {"retry-after": f"{wait:g}"}
        # A date means what it means against the answer's own, and knows whole seconds.
        due = formatdate(created + math.ceil(wait), usegmt=True)
        return {"date": formatdate(created, usegmt=True), "retry-after": due}
