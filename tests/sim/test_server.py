from __future__ import annotations

import asyncio

import pytest
from worlds import now, on_virtual_clock, request

from router.sim.server import Server


async def ask(server: Server, patience: float = 1e9) -> float | None:
    """When it was served; None if it left before."""
    try:
        async with asyncio.timeout(patience):
            stream = await server.open(request(), "m", 1.0)
    except TimeoutError:
        return None
    assert [chunk.content async for chunk in stream] == [True]
    return now()


@on_virtual_clock
async def test_one_after_the_other_first_come_first_served():
    server = Server("a", lambda _: 4.0)
    assert await asyncio.gather(*(ask(server) for _ in range(4))) == [0.25, 0.5, 0.75, 1.0]
    await asyncio.sleep(1)
    assert await ask(server) == pytest.approx(2.25)
    assert (server.arrived, server.served, server.queued) == (5, 5, 0)


@on_virtual_clock
async def test_who_has_gone_is_worked_for_all_the_same():
    server = Server("a", lambda _: 1.0)
    first, second, third = await asyncio.gather(ask(server), ask(server, 0.5), ask(server))
    assert (first, second, third) == (1.0, None, 3.0)
    assert server.served == 2


@on_virtual_clock
async def test_what_could_not_be_finished_in_time_is_left_out():
    server = Server("a", lambda _: 1.0, patience=2.0)
    assert await asyncio.gather(*(ask(server, 2.1) for _ in range(4))) == [1.0, 2.0, None, None]
    assert await ask(server) == pytest.approx(3.1)


@on_virtual_clock
async def test_while_it_is_stopped_all_wait():
    server = Server("a", lambda _: 1.0, stopped=[(0.5, 10.0)])
    assert await ask(server) == pytest.approx(1.0)  # it had begun
    assert await asyncio.gather(ask(server), ask(server)) == [11.0, 12.0]


@on_virtual_clock
async def test_its_capacity_may_change():
    server = Server("a", lambda at: 1.0 if at < 2.0 else 10.0)
    assert await asyncio.gather(*(ask(server) for _ in range(4))) == pytest.approx([1.0, 2.0, 2.1, 2.2])
