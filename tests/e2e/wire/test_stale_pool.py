"""W18: after a burst there are more idle connections than a call has tries, and the upstream closes them all."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.faulty import Exchange, completion
from tests.e2e.harness import eventually
from tests.e2e.outside import Stage, ask

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWER = completion("hello")


async def stale(x: Exchange) -> None:
    """The request crossed with the closing of an idle connection."""
    await (x.close() if x.earlier else x.reply(200, ANSWER))


async def test_w18_a_pool_full_of_stale_connections_costs_no_client_an_error(stage: Stage) -> None:
    arrived = asyncio.Event()

    async def together(x: Exchange) -> None:
        await arrived.wait()
        await x.reply(200, ANSWER)

    model = stage.play(together)
    burst = [asyncio.create_task(stage.ask(ask(model))) for _ in range(8)]
    await eventually(lambda: len(stage.calls(model)) == 8)
    arrived.set()
    assert {answer.status for answer in await asyncio.gather(*burst)} == {200}
    stage.put_on(model, stale)
    assert [(await stage.ask(ask(model))).status for _ in range(3)] == [200] * 3
