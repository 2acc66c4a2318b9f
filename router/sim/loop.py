"""An event loop whose time jumps to the next thing that happens.

Nothing waits: when no callback is ready, the clock is moved on to the earliest timer. No threads and no real
sockets may be on the path. Use: ``asyncio.Runner(loop_factory=VirtualLoop)``.
"""

from __future__ import annotations

import asyncio
import selectors


class _Jump(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing is left to happen: every task waits for another")
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and moves only when all is quiet."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        # asyncio's own is 1e-9 s: added to a time beyond 2**24 s it is lost, and no timer would ever be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jump.now
