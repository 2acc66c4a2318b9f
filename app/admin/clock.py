"""The loop's clock and the one on the wall, read together: people are told both seconds from now and a date."""

from __future__ import annotations

import asyncio
from time import time
from typing import Any, NamedTuple

from app.observability.decisions import iso


class Clock(NamedTuple):
    """``now`` in seconds on the loop's clock, ``wall`` since 1970, at the same moment."""

    now: float
    wall: float

    def date(self, at: float) -> str:
        """``at`` on the loop's clock."""
        return iso(self.wall + at - self.now)

    def moment(self, at: float | None) -> dict[str, Any] | None:
        return None if at is None else {"in_seconds": round(at - self.now, 3), "time": self.date(at)}


def read() -> Clock:
    """In the event loop."""
    return Clock(asyncio.get_running_loop().time(), time())
