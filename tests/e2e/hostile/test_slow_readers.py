"""S16, the other side: who reads slowly, but reads, is served to the end. The limit is for a time without any byte taken."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.faulty import completion
from tests.e2e.harness import eventually
from tests.e2e.outside import MB, Stage, ask, replies
from tests.e2e.wire_http import Wire, post

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def passes(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    await eventually(lambda: loop.time() >= until)


async def test_s16_a_slow_reader_that_goes_on_reading_is_served_to_the_end(strict: Stage) -> None:
    """For 1.6 s a few kilobytes each third of a second, where the limit is one second without a byte."""
    model = strict.play(replies(completion("x" * 2 * MB)))
    loop = asyncio.get_running_loop()
    async with Wire(strict.gateway.url, receive_bytes=4096) as wire:
        await wire.send(post(ask(model), "X-Request-ID: slow-reader"))
        answer = await wire.begun()
        began = loop.time()
        while loop.time() - began < 1.6:
            answer.body += await wire.some()
            wire.stop_reading()
            await passes(0.3)
            wire.read_on()
        print(f"{len(answer.body)} bytes in 1.6 s")
        assert len(answer.body) < 0.5 * MB, "that was not slow"
        whole = int(answer.header("content-length"))
        while len(answer.body) < whole and (part := await wire.some()):
            answer.body += part
    assert len(answer.body) == whole
    assert (await strict.gateway.log_line("slow-reader"))["end"] == "complete"
