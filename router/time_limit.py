"""A deadline around a few awaits of the current task: ``asyncio.timeout_at`` without its bookkeeping.

On Python 3.11 each look-up of the running loop asks the kernel for the process id, and ``asyncio.timeout`` does
several; on the hot road two of them cost as much as routing itself. Here the caller gives the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from types import TracebackType, coroutine
from typing import Any, Self, TypeVar

from router.shared_timer import SharedTimer

Result = TypeVar("Result")


class TimeLimit:
    """``with`` it: raises ``TimeoutError`` if what is inside lasts beyond ``when`` on the loop's clock, or until ``shared``
    rings for it.

    A cancellation from elsewhere passes as it is, also when both come at once. ``expired`` tells which it was.
    """

    __slots__ = ("_cancelling", "_shared", "_task", "_timer", "expired")

    def __init__(self, loop: asyncio.AbstractEventLoop, when: float, shared: SharedTimer | None = None) -> None:
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - it is used in coroutines, and they run in tasks
        self.expired = False
        self._task = task
        self._cancelling = task.cancelling()
        self._shared = shared
        if shared is None:
            self._timer = loop.call_at(when, self.expire)
        else:
            shared.start(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shared is None:
            self._timer.cancel()
        else:
            self._shared.stop(self)
        if not self.expired:
            return
        ours_alone = self._task.uncancel() <= self._cancelling
        if ours_alone and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()


@coroutine
def within(
    seconds: float, waiting: Coroutine[Any, Any, Result], loop: asyncio.AbstractEventLoop
) -> Generator[Any, Any, Result]:
    """``waiting`` under a ``TimeLimit``, which is made only if there is something to wait for."""
    try:
        future = waiting.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    with TimeLimit(loop, loop.time() + seconds):
        while True:
            try:
                sent = yield future
            except BaseException as error:  # noqa: BLE001 - it is thrown in there
                resume = partial(waiting.throw, error)
            else:
                resume = partial(waiting.send, sent)
            try:
                future = resume()
            except StopIteration as done:
                result = done.value
                return result  # noqa: B901 - a coroutine's result
