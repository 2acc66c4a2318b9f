"""F02: the upstream says that the account has nothing left."""

from __future__ import annotations

from dataclasses import dataclass

from providers.base import Stream
from providers.failures import QUOTA_CODES
from providers.faults.hit import Hit
from providers.faults.knobs import not_below


@dataclass(slots=True, eq=False)
class QuotaExhausted:
    """``code`` is one of ``QUOTA_CODES``; ``reset_after`` in seconds: when there will be some again; None: it does not say."""

    code: str = "insufficient_quota"
    reset_after: float | None = None

    def __post_init__(self) -> None:
        if self.code not in QUOTA_CODES:
            raise ValueError(f"code: must be one of {', '.join(sorted(QUOTA_CODES))}")
        not_below(self, 0, "reset_after")

    async def open(self, hit: Hit) -> Stream:
        headers = {} if self.reset_after is None else {"retry-after": f"{self.reset_after:g}"}
        raise hit.answered(429, headers, {"type": self.code, "code": self.code})
