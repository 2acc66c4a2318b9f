"""One timer of the loop for all that wait equally long.

Whoever starts first is due first, so the loop has to watch only that one. A timer of its own would cost each of them about
a microsecond to set and to clear; here it is an entry in a dict.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Waiting(Protocol):
    def expire(self) -> None:
        """The time is over."""
        ...


class SharedTimer:
    """``start`` whoever is to expire in ``seconds``, ``stop`` it if it must not. Works with any loop's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._dues: dict[Waiting, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, waiting: Waiting) -> None:
        due = self._dues[waiting] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._ring)

    def stop(self, waiting: Waiting) -> None:
        """Nothing happens if it has expired already."""
        self._dues.pop(waiting, None)

    def _ring(self) -> None:
        """Those before the first that is not due yet expire; the rest need the timer again."""
        self._timer = None
        now = self._loop.time()
        expired: list[Waiting] = []
        for waiting, due in self._dues.items():
            if due > now:
                self._timer = self._loop.call_at(due, self._ring)
                break
            expired.append(waiting)
        for waiting in expired:
            if self._dues.pop(waiting, None) is not None:  # one that expired may have stopped another
                waiting.expire()
