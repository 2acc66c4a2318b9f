"""An answer whose chunks come at their times, whenever they are read."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from typing import Protocol, Self

from providers import Chunk

Timed = tuple[float, Chunk]
_NO_HEADERS: Mapping[str, str] = {}


class Ended(Protocol):
    """Told once; ``whole``: all of it was read."""

    def __call__(self, *, whole: bool) -> None: ...


class TimedStream:
    """A Stream over (when, chunk), rising, on the loop's clock; what comes at infinity never does."""

    headers = _NO_HEADERS

    def __init__(
        self, chunks: Iterator[Timed], media_type: str, loop: asyncio.AbstractEventLoop, ended: Ended | None = None
    ) -> None:
        self.media_type = media_type
        self._chunks = chunks
        self._loop = loop
        self._ended = ended

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        following = next(self._chunks, None)
        if following is None:
            self._end(whole=True)
            raise StopAsyncIteration
        due, chunk = following
        if due > self._loop.time():
            await self._wait(due)
        return chunk

    async def aclose(self) -> None:
        self._chunks = iter(())
        self._end(whole=False)

    async def _wait(self, due: float) -> None:
        # asyncio.sleep looks up the running loop, which on Python 3.11 asks the kernel for the process id.
        waiting: asyncio.Future[None] = self._loop.create_future()
        if due == math.inf:
            await waiting
        timer = self._loop.call_at(due, _wake, waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            timer.cancel()
            raise

    def _end(self, *, whole: bool) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(whole=whole)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
