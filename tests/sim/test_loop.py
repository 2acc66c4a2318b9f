from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import now, on_virtual_clock

from router.sim import VirtualLoop


@on_virtual_clock
async def test_time_starts_at_nothing_and_moves_only_when_all_is_quiet():
    assert now() == 0
    for _ in range(1000):
        await asyncio.sleep(0)
    assert now() == 0


@pytest.mark.timeout(5)
@pytest.mark.parametrize("days", [1, 30, 190])
def test_months_pass_in_no_time(days):
    seconds = days * 24 * 3600.0 + 0.5
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.sleep(seconds))
        assert runner.get_loop().time() == pytest.approx(seconds)


@pytest.mark.timeout(5)
def test_a_year_passes_too():
    """Once, from 2**24 s (194 days) on, now + asyncio's clock resolution of 1e-9 s was now, and no timer was ever due."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(asyncio.sleep(365 * 24 * 3600.0))
        assert runner.get_loop().time() == pytest.approx(365 * 24 * 3600.0)


@examples(100)
@given(st.lists(st.integers(0, 10**9).map(lambda thousandths: thousandths / 1000), max_size=30))
@on_virtual_clock
async def test_sleepers_wake_in_order_and_on_time(delays):
    woken = []

    async def sleeper(delay):
        await asyncio.sleep(delay)
        woken.append((now(), delay))

    async with asyncio.TaskGroup() as group:
        for delay in delays:
            group.create_task(sleeper(delay))
    assert [time for time, _ in woken] == pytest.approx([delay for _, delay in woken], abs=1e-5)
    assert [delay for _, delay in woken] == pytest.approx(sorted(delays), abs=1e-5)


@on_virtual_clock
async def test_a_timeout_ends_at_its_time():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30.0):
            await asyncio.sleep(1e9)
    assert now() == 30


@on_virtual_clock
async def test_nothing_is_waited_for_twice():
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(asyncio.sleep(60.0))
    assert now() == 60


def test_where_every_task_waits_for_another_it_says_so_instead_of_hanging():
    async def wait_for_ever():
        await asyncio.get_running_loop().create_future()

    with (
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
        pytest.raises(RuntimeError, match="every task waits for another"),
    ):
        runner.run(wait_for_ever())


def test_two_loops_have_two_clocks():
    for _ in range(2):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(asyncio.sleep(5.0))
            assert runner.get_loop().time() == 5
