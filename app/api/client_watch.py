"""Notice that the client has gone, and cancel its request.

ASGI tells it only to whoever waits in ``receive``, which takes a task. Most requests end before that could
matter, so the task is made only for those that last longer than GRACE_SECONDS.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from app.api.asgi import Receive

GRACE_SECONDS = 0.1


class ClientGone(Exception):
    """The client closed its connection before it had the whole answer."""


class ClientWatch:
    """``with`` it: inside, the current task is cancelled if the client goes; that leaves as ``ClientGone``."""

    __slots__ = ("_listener", "_receive", "_task", "_timer", "gone")

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._task = task
        self._timer = task.get_loop().call_later(GRACE_SECONDS, self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self.gone and isinstance(error, asyncio.CancelledError) and self._task.uncancel() == 0:
            raise ClientGone from None

    def _start(self) -> None:
        self._listener = self._task.get_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._task.cancel()
