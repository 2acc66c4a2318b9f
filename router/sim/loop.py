"""An event loop whose time jumps to the next thing that happens.

Nothing waits: when no callback is ready, the clock is moved on to the earliest timer. No threads and no peers outside this
process may be on the path; sockets within it (a socketpair) work, and take no time. Use ``run``, or ``asyncio.Runner(loop_factory=VirtualLoop)``.

asyncio's own turn asks the kernel for events each time and compares timers in Python, which takes as long as routing a call
does. Here the kernel is asked only while there are sockets of somebody's, and timers that are due together run in the order
in which they were set.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

Args = TypeVarTuple("Args")
Result = TypeVar("Result")
_RARELY = (50_000, 20, 100)
# Timers that were cancelled stay until this many, and half of all, are such.
_MANY = 1000
# How many turns a signal may have to wait for.
_TURNS = 1024
_OWN_SOCKETS = 1


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """What ``main`` returns, on a clock of its own. Garbage is looked for less often meanwhile: there are few cycles, and the search
    takes a tenth of the time.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_RARELY)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main)
    finally:
        gc.set_threshold(*before)


class _Selector(selectors.DefaultSelector):
    """Counts the sockets in it."""

    watched = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self.watched += 1
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self.watched -= 1
        return key


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and moves only when all is quiet."""

    # asyncio's: what is to run in this turn or the next.
    _ready: deque[asyncio.Handle]

    def __init__(self) -> None:
        self._watching = _Selector()
        super().__init__(self._watching)
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._cancelled = 0
        self._numbers = count()
        self._turns = 0

    def time(self) -> float:
        return self._now

    def pending(self) -> list[asyncio.TimerHandle]:
        """The timers that are set, in no order."""
        return [timer for _, _, timer in self._timers if not timer.cancelled()]

    def call_at(
        self,
        when: float,
        callback: Callable[[*Args], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Args], object],
        *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def close(self) -> None:
        super().close()
        self._timers.clear()

    def _timer_handle_cancelled(self, _timer: asyncio.TimerHandle) -> None:
        """asyncio's: a timer tells that it was cancelled."""
        self._cancelled += 1
        if self._cancelled > _MANY and self._cancelled > len(self._timers) / 2:
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapify(self._timers)
            self._cancelled = 0

    def _run_once(self) -> None:
        """asyncio's: one turn. All that is ready runs; if nothing is, what the next timer has it do."""
        self._turns += 1
        if self._watching.watched > _OWN_SOCKETS or not self._turns % _TURNS:
            self._poll()
        ready = self._ready
        if not ready:
            self._jump()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - asyncio's

    def _poll(self) -> None:
        self._process_events(self._watching.select(0))  # type: ignore[attr-defined] # asyncio's

    def _jump(self) -> None:
        """On to the next timer, and all that are due with it."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
            self._cancelled -= 1
        if not timers:
            self._poll()
            if not self._ready:
                raise RuntimeError("nothing is left to happen: every task waits for another")
            return
        now = timers[0][0]
        self._now = max(self._now, now)
        while timers and timers[0][0] <= now:
            self._ready.append(heappop(timers)[2])
