"""One attempt that a fault has hit: all that the fault knows of it, and what it can do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol, Self, runtime_checkable

import orjson

from providers.base import Chunk, Provider, Request, Stream
from providers.errors import ProviderError
from providers.failures import from_status
from providers.faults.hold import Hold
from providers.faults.line import Line, NobodyReads
from providers.faults.original import Original, original_of
from providers.openai_compatible import reading

# What a fault makes of an answer: it reads the one and speaks on the other. What it has not ended when it returns ends with FIN.
Play = Callable[[Original, Line], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Hit:
    """``since``: seconds for which the fault has been acting; ``rng``: the same draws for the same request, in every run.

    ``target`` is provider/model, for messages; ``hold``: all waiting is done with it.
    """

    provider: Provider
    request: Request
    model: str
    connect_timeout: float
    target: str
    since: float
    rng: Random
    hold: Hold

    async def upstream(self) -> Stream:
        """What would have happened without the fault. Raises ``ProviderError``."""
        return await self.provider.open(self.request, self.model, self.connect_timeout)

    async def played(self, play: Play) -> Stream:
        """The upstream's answer, as ``play`` passes it on. Raises ``ProviderError``."""
        original = await original_of(self.provider, self.request, self.model, self.connect_timeout)
        try:
            line = await Line.open(self.provider.name)
        except BaseException:
            await original.aclose()
            raise
        return await _Played.begin(_perform(partial(play, original), line, original), line, self)

    async def made(self, play: Callable[[Line], Awaitable[None]]) -> Stream:
        """What ``play`` says in place of the upstream, which is not asked. Raises ``ProviderError``."""
        line = await Line.open(self.provider.name)
        return await _Played.begin(_perform(play, line), line, self)

    def answered(self, status: int, headers: Mapping[str, str], error: Mapping[str, Any]) -> ProviderError:
        """The upstream says no: what our own table makes of it. ``headers`` have lower-case names."""
        body = orjson.dumps({"error": {"message": "injected", "type": None, "param": None, "code": None, **error}})
        return from_status(status, headers, body, self.provider.name)


@runtime_checkable
class Refuses(Protocol):
    """A fault in the upstream's place: it lets nobody through, or not at once. Meets probes too."""

    async def refuse(self, hit: Hit) -> None:
        """Raises ``ProviderError``, or returns: then the upstream is asked."""
        ...


@runtime_checkable
class Tampers(Protocol):
    """A fault that does something to an answer."""

    async def open(self, hit: Hit) -> Stream:
        """As ``Provider.open``. Raises ``ProviderError``."""
        ...


class _Played:
    """The stream at the far end of a line, for as long as somebody plays at the near one."""

    def __init__(self, playing: asyncio.Task[None], line: Line, stream: Stream) -> None:
        self.headers = stream.headers
        self.media_type = stream.media_type
        self._playing = playing
        self._line = line
        self._stream = stream

    @classmethod
    async def begin(cls, performance: Coroutine[Any, Any, None], line: Line, hit: Hit) -> _Played:
        playing = asyncio.get_running_loop().create_task(performance)
        try:
            await line.answer.begin()
            return cls(playing, line, reading(line.answer, hit.request, hit.provider.name))
        except ProviderError as error:
            line.answer.close()
            await _stop(playing)
            raise _cause(playing, error) from None
        except BaseException:
            line.answer.close()
            await _stop(playing)
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        try:
            return await self._stream.__anext__()
        except ProviderError as error:
            raise _cause(self._playing, error) from None

    async def aclose(self) -> None:
        await self._stream.aclose()
        await _stop(self._playing)


async def _perform(play: Callable[[Line], Awaitable[None]], line: Line, original: Original | None = None) -> None:
    try:
        await play(line)
        line.close()
    except NobodyReads:
        line.reset()
    except BaseException:
        line.reset()
        raise
    finally:
        if original is not None:
            await original.aclose()


def _cause(playing: asyncio.Task[None], error: ProviderError) -> BaseException:
    """Where the upstream itself has failed meanwhile, that is the failure, and not the broken line that follows."""
    if playing.done() and not playing.cancelled():
        cause = playing.exception()
        if cause is not None:
            return cause
    return error


async def _stop(playing: asyncio.Task[None]) -> None:
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
