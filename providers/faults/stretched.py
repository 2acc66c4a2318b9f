"""A stream in which everything takes longer, for the faults that make an upstream slow and not wrong."""

from __future__ import annotations

import asyncio
from typing import Protocol, Self

from providers.base import Chunk, Stream
from providers.errors import ProviderError
from providers.faults.hit import Hit
from providers.faults.hold import Hold
from providers.faults.original import Fetches

# A reader that has fallen so many chunks behind holds its upstream back.
_MOST_AHEAD = 1024


class _Source(Protocol):
    async def next(self, factor: float) -> tuple[Chunk, float]:
        """The next chunk, and how long it has to wait to have taken ``factor`` times as long. Raises StopAsyncIteration."""
        ...

    async def aclose(self) -> None: ...


class Stretched:
    """``factor`` times as long as it took: until the first content, or ``throughout``."""

    def __init__(self, stream: Stream, source: _Source, factor: float, hold: Hold, *, throughout: bool) -> None:
        self.headers = stream.headers
        self.media_type = stream.media_type
        self._source = source
        self._factor = factor
        self._hold = hold
        self._throughout = throughout

    @classmethod
    async def open(cls, hit: Hit, factor: float, *, throughout: bool) -> Stretched:
        """Ask the upstream. Raises ``ProviderError``."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        stream = await hit.upstream()
        wait = (factor - 1) * (loop.time() - asked)
        source = _Ahead(stream, loop.time() + wait) if isinstance(hit.provider, Fetches) else _Asked(stream)
        stretched = cls(stream, source, factor, hit.hold, throughout=throughout)
        try:
            await hit.hold.sleep(wait)
        except BaseException:
            await stretched.aclose()
            raise
        return stretched

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        chunk, wait = await self._source.next(self._factor)
        await self._hold.sleep(wait)
        if chunk.content and not self._throughout:
            self._factor = 1.0
        return chunk

    async def aclose(self) -> None:
        await self._source.aclose()


class _Asked:
    """For an answer that is made here when it is asked for: asked late, it is as busy for as long as it seems to be."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def next(self, factor: float) -> tuple[Chunk, float]:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        chunk = await anext(self._stream)
        return chunk, (factor - 1) * (loop.time() - asked)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Ahead:
    """For an answer that comes whether it is read or not: read at once, or what has waited in a buffer would seem to be fast."""

    def __init__(self, stream: Stream, due: float) -> None:
        self._stream = stream
        self._due = due
        self._come: asyncio.Queue[tuple[float, Chunk | Exception]] = asyncio.Queue(_MOST_AHEAD)
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def next(self, factor: float) -> tuple[Chunk, float]:
        seconds, come = await self._come.get()
        self._due += factor * seconds
        if isinstance(come, Exception):
            self._come.put_nowait((0.0, come))  # for whoever asks again
            raise come
        return come, self._due - asyncio.get_running_loop().time()

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._stream.aclose()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        come: Chunk | Exception
        while True:
            try:
                come = await anext(self._stream)
            except (ProviderError, StopAsyncIteration) as ended:
                come = ended
            now = loop.time()
            await self._come.put((now - last, come))
            last = now
            if isinstance(come, Exception):
                return
