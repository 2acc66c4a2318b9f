"""One timer for a whole stream: raises when content is overdue, however many pings keep the line alive.

A timeout around each chunk would make and cancel a timer per chunk. This one is armed once and, when it goes
off too early, armed again for what is left.
"""

from __future__ import annotations

import asyncio

from providers import Chunk, Stream
from providers.errors import TimedOut
from router.errors import DeadlineExceeded


class Watchdog:
    """Guards reads of one stream by one task. ``idle`` in seconds; ``deadline`` on the loop's clock."""

    def __init__(self, idle: float, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle = idle
        self._deadline = deadline
        self._left = self._loop.time()
        self._content_by = self._left + idle
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._waiting = False
        self._barked = False

    async def read(self, stream: Stream) -> Chunk:
        """The next chunk. Raises ``TimedOut`` ("idle") or ``DeadlineExceeded``, and what the stream raises."""
        now = self._loop.time()
        if now >= self._deadline:  # a stream whose chunks are all there never lets the timer go off
            raise self._over()
        self._content_by += now - self._left  # the reader's own time is not the upstream's
        if self._timer is None:
            self._watch()
            self._arm()
        self._waiting = True
        try:
            chunk = await anext(stream)
        except asyncio.CancelledError:
            if self._barked and self._task is not None and self._task.uncancel() <= self._cancelling:
                raise self._verdict() from None
            raise
        finally:
            self._waiting = False
            self._left = self._loop.time()
        if chunk.content:
            self._content_by = self._left + self._idle
        return chunk

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> float:
        return min(self._content_by, self._deadline)

    def _watch(self) -> None:
        """The reader is the task of this read; more cancellations than it has now are not the watchdog's."""
        self._task = asyncio.current_task(self._loop)
        assert self._task is not None  # noqa: S101 - a coroutine runs in a task
        self._cancelling = self._task.cancelling()

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._due(), self._go_off)

    def _go_off(self) -> None:
        self._timer = None
        if not self._waiting or self._task is None:  # the reader is busy; its next read arms the timer again
            return
        if self._loop.time() < self._due():
            self._arm()
            return
        self._barked = True
        self._task.cancel()

    def _verdict(self) -> Exception:
        if self._deadline <= self._content_by:
            return self._over()
        return TimedOut("idle", self._idle)

    @staticmethod
    def _over() -> DeadlineExceeded:
        return DeadlineExceeded("the call's time was over before the answer was")
