"""One cap over all attempts of a call: retries, failovers and hedges together."""

from __future__ import annotations

from router.errors import Refused
from router.types import Attempt


class AttemptCap:
    def admit(self, attempt: Attempt, now: float) -> None:
        if attempt.number > attempt.route.retry.max_attempts:
            raise Refused("max_attempts", final=not attempt.hedge)
