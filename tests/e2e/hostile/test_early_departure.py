"""W16: who leaves in the first moments has left too. Nothing that was not delivered is logged as served."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.faulty import Exchange, completion
from tests.e2e.harness import eventually, get
from tests.e2e.outside import Stage, ask, replies
from tests.e2e.wire_http import Wire, post

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_w16_an_answer_to_nobody_is_not_logged_as_served(strict: Stage) -> None:
    gone = asyncio.Event()

    async def too_late(x: Exchange) -> None:
        await gone.wait()
        await x.reply(200, completion("hello"))

    model = strict.play(too_late)
    async with Wire(strict.gateway.url) as wire:
        await wire.send(post(ask(model), "X-Request-ID: early"))
        await eventually(lambda: strict.calls(model))
    await get(f"{strict.gateway.url}/ready")  # by now the gateway has learned of it
    gone.set()
    line = await strict.gateway.log_line("early")
    assert (line["status"], line["end"]) == (499, "client_closed")


async def test_s20_a_half_closed_connection_gets_its_answer_or_is_let_go(strict: Stage) -> None:
    model = strict.play(replies(completion("hello")))
    async with Wire(strict.gateway.url) as wire:
        await wire.send(post(ask(model), "X-Request-ID: half-closed"))
        wire.half_close()
        answer = await wire.closed()
    line = await strict.gateway.log_line("half-closed")
    assert (line["status"], bool(answer)) in ((200, True), (499, False))
    await eventually(strict.quiet)
