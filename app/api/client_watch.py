"""Notice that the client has gone, and cancel its request.

ASGI tells it only to whoever waits in ``receive``, which takes a task. Most requests end before that could
matter, so the task is made only for those that last longer than GRACE_SECONDS.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from app.api.asgi import Message, Receive
from router.shared_timer import SharedTimer

GRACE_SECONDS = 0.1


class ClientGone(Exception):
    """The client closed its connection before it had the whole answer; ``stalled``: it was cut off, for it took nothing."""

    def __init__(self, *, stalled: bool = False) -> None:
        super().__init__()
        self.stalled = stalled


def departure(message: Message) -> Exception:
    """Why the connection will bring no more: ``ClientGone``, or the server's ``ApiError`` if what came was not HTTP."""
    refusal: Exception | None = message.get("refusal")
    return refusal or ClientGone(stalled=message.get("stalled", False))


class ClientWatch:
    """``with`` it: inside, the current task is cancelled if the client goes; that leaves as ``ClientGone``."""

    __slots__ = ("_grace", "_listener", "_loop", "_receive", "_task", "gone")

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop, grace: SharedTimer) -> None:
        """``grace`` is one of GRACE_SECONDS."""
        self.gone: Exception | None = None
        self._receive = receive
        self._loop = loop
        self._grace = grace
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._task = task
        self._grace.start(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._grace.stop(self)
        if self._listener is not None:
            self._listener.cancel()
        if self.gone and isinstance(error, asyncio.CancelledError) and self._task.uncancel() == 0:
            raise self.gone from None

    def expire(self) -> None:
        """The grace is over: it does last long."""
        self._listener = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        if message.get("complete"):  # the client has it all; only the upstream is still being closed
            return
        self.gone = departure(message)
        self._task.cancel()
