"""An answer that is made here instead of fetched: steps on a time line, for providers that call no one.

It awaits only ``asyncio.sleep``, so it runs on a virtual clock as it does on a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Self

from providers.base import Chunk


class Step(NamedTuple):
    """Wait ``delay`` seconds, then yield ``chunk``."""

    delay: float
    chunk: Chunk


class ScriptedStream:
    """A Stream over steps. ``on_close`` runs exactly once, when the answer has ended or is closed."""

    def __init__(self, steps: Iterable[Step], media_type: str, on_close: Callable[[], None] | None = None) -> None:
        self.headers: Mapping[str, str] = {}
        self.media_type = media_type
        self._steps = iter(steps)
        self._on_close = on_close

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        step = next(self._steps, None)
        if step is None:
            await self.aclose()
            raise StopAsyncIteration
        if step.delay > 0:
            await asyncio.sleep(step.delay)
        return step.chunk

    async def aclose(self) -> None:
        self._steps = iter(())
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close()
