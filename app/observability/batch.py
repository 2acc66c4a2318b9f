"""Facts leave sideways: every exchange that is over goes to all listeners, many at a time and off the request's path.

finished ─► Batch ─┬─► Metrics
                   └─► AccessLog
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

from app.api.exchange import Exchange

Listener = Callable[[Sequence[Exchange]], None]
FLUSH_SECONDS = 0.05
MAX_PENDING = 32  # with 200, what is freed together goes back to the kernel, and each request pays 1.5 page faults
NO_HEADERS: dict[bytes, bytes] = {}


class Batch:
    """Called with every exchange when it is over, in the event loop; stamps its end.

    The listeners get them together, FLUSH_SECONDS after the first of them at the latest: one at a time they would cost
    as much as routing does. A process that is killed loses the last of them. ``flush`` at the end, and before reading.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._pending: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> None:
        exchange.ended = perf_counter()
        exchange.headers = NO_HEADERS  # a key may be among them, and whoever listens may keep an exchange
        self._pending.append(exchange)
        if len(self._pending) == 1:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        elif len(self._pending) == MAX_PENDING:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Hand on what has come since the last time."""
        if not self._pending:
            return
        exchanges, self._pending = self._pending, []
        for listener in self._listeners:
            listener(exchanges)
