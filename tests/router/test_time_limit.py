"""The lean deadline behaves as asyncio's own."""

from __future__ import annotations

import asyncio

import pytest
from worlds import now, on_virtual_clock, pending

from router.time_limit import TimeLimit, within


def limit(seconds: float) -> TimeLimit:
    loop = asyncio.get_running_loop()
    return TimeLimit(loop, loop.time() + seconds)


@on_virtual_clock
async def test_what_ends_in_time_is_left_alone():
    with limit(2) as held:
        await asyncio.sleep(1)
    await asyncio.sleep(5)
    assert (held.expired, now()) == (False, 6)


@on_virtual_clock
async def test_what_lasts_too_long_is_a_timeout_and_nothing_of_the_cancellation_stays():
    with pytest.raises(TimeoutError), limit(2) as held:
        await asyncio.sleep(9)
    assert (held.expired, now()) == (True, 2)
    await asyncio.sleep(1)
    assert asyncio.current_task().cancelling() == 0


@on_virtual_clock
async def test_an_error_from_inside_passes_as_it_is():
    async def fails():
        await asyncio.sleep(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), limit(2):
        await fails()


@pytest.mark.parametrize("after", [1, 2], ids=["before the limit", "in the same moment"])
def test_a_cancellation_from_elsewhere_passes(after):
    @on_virtual_clock
    async def scenario():
        async def limited():
            with limit(2):
                await asyncio.sleep(9)

        task = asyncio.create_task(limited())
        asyncio.get_running_loop().call_at(after, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    scenario()


@on_virtual_clock
async def test_of_two_limits_the_one_that_ran_out_speaks():
    with pytest.raises(TimeoutError), limit(5) as outer, limit(1) as inner:
        await asyncio.sleep(9)
    assert (inner.expired, outer.expired, now()) == (True, False, 1)


@on_virtual_clock
async def test_a_limit_that_has_passed_already_ends_the_first_wait():
    with pytest.raises(TimeoutError), limit(-1):
        await asyncio.sleep(9)
    assert now() == 0


def timers() -> int:
    return len(pending())


@on_virtual_clock
async def test_what_does_not_wait_needs_no_timer():
    async def answer() -> int:
        assert timers() == 0
        return 7

    assert await within(2, answer(), asyncio.get_running_loop()) == 7


@on_virtual_clock
async def test_what_waits_is_limited_and_its_result_and_its_errors_pass():
    async def slow(seconds: float) -> str:
        for _ in range(2):
            await asyncio.sleep(seconds / 2)
        return "done"

    async def fails() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    loop = asyncio.get_running_loop()
    assert await within(2, slow(1), loop) == "done"
    with pytest.raises(ZeroDivisionError):
        await within(2, fails(), loop)
    began = now()
    with pytest.raises(TimeoutError):
        await within(2, slow(9), loop)
    assert now() - began == 2
    assert timers() == 0


@on_virtual_clock
async def test_a_cancellation_reaches_what_waits():
    told: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    loop = asyncio.get_running_loop()
    task = loop.create_task(within_as_coroutine(waits(), loop))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (told, timers()) == (["cancelled"], 0)


async def within_as_coroutine(waiting, loop):
    await within(2, waiting, loop)
