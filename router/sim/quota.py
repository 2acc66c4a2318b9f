"""So much a minute, by whole minutes of the clock."""

from __future__ import annotations

import math

MINUTE = 60.0


class Quota:
    """``limit`` None: no end."""

    def __init__(self, limit: int | None) -> None:
        self._limit: float = math.inf if limit is None else limit
        self._minute = -1
        self._used = 0

    def wait(self, amount: int, now: float) -> float | None:
        """None if ``amount`` more is within it, else the seconds to the next minute."""
        minute = int(now // MINUTE)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        if self._used + amount <= self._limit:
            return None
        return (minute + 1) * MINUTE - now

    def take(self, amount: int) -> None:
        self._used += amount
