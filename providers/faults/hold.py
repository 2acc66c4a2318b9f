"""What a fault holds, it lets go at once when it ends."""

from __future__ import annotations

import asyncio


class Hold:
    """One for each fault that acts. ``over``: it has ended, and nothing more may be done in its name."""

    def __init__(self) -> None:
        self.over = False
        # A dict, for its order: who waits longest goes first, the same in every run.
        self._waiting: dict[asyncio.Future[None], None] = {}

    async def sleep(self, seconds: float) -> None:
        """``seconds``, or less if the fault ends meanwhile."""
        if self.over or seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        timer = loop.call_later(seconds, _wake, waiting)
        self._waiting[waiting] = None
        try:
            await waiting
        finally:
            timer.cancel()
            self._waiting.pop(waiting, None)

    def release(self) -> None:
        """The fault has ended. Everybody who waits goes on."""
        self.over = True
        for waiting in self._waiting:
            _wake(waiting)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
