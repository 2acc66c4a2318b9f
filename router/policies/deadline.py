"""One deadline over all attempts of a call: none starts that could not even begin in time."""

from __future__ import annotations

from router.errors import Refused
from router.policy import Settle, no_settlement
from router.types import Attempt


class Deadline:
    def admit(self, attempt: Attempt, now: float) -> Settle:
        if max(now, attempt.starts) >= attempt.deadline:
            raise Refused("deadline", final=True)
        return no_settlement
