from __future__ import annotations

import asyncio

import pytest
from worlds import on_virtual_clock

from providers.base import Chunk
from providers.scripted import ScriptedStream, Step

STEPS = [Step(0.0, Chunk(b"a")), Step(2.0, Chunk(b"b")), Step(0.5, Chunk(b"c"))]


@on_virtual_clock
async def test_each_chunk_comes_at_its_time():
    now = asyncio.get_running_loop().time
    seen = [(chunk.raw, now()) async for chunk in ScriptedStream(STEPS, "text/event-stream")]
    assert seen == [(b"a", 0.0), (b"b", 2.0), (b"c", 2.5)]


async def drain(stream):
    async for _ in stream:
        pass


async def read_one(stream):
    await anext(stream)


async def cancel_in_the_middle(stream):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await drain(stream)


async def never_read(stream):
    pass


@pytest.mark.parametrize("use", [drain, read_one, cancel_in_the_middle, never_read])
@pytest.mark.parametrize("closes", [1, 2])
@on_virtual_clock
async def test_on_close_runs_exactly_once_however_it_ends(use, closes):
    closed = []
    stream = ScriptedStream(STEPS, "text/event-stream", on_close=lambda: closed.append(1))
    await use(stream)
    assert len(closed) == (use is drain)
    for _ in range(closes):
        await stream.aclose()
    assert len(closed) == 1
    assert [chunk async for chunk in stream] == []


@on_virtual_clock
async def test_it_may_be_read_again_after_its_end():
    stream = ScriptedStream([Step(0.0, Chunk(b"a"))], "application/json")
    assert [[chunk.raw async for chunk in stream] for _ in range(2)] == [[b"a"], []]
