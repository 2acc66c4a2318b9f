from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import now, on_virtual_clock, pending

from router.shared_timer import SharedTimer


class Waiter:
    def __init__(self, timer: SharedTimer) -> None:
        self.expired_at: list[float] = []
        self.stops: Waiter | None = None
        self._timer = timer

    def expire(self) -> None:
        self.expired_at.append(now())
        if self.stops is not None:
            self._timer.stop(self.stops)


def scheduled() -> int:
    return len(pending())


@on_virtual_clock
async def test_each_expires_when_its_own_time_is_over_and_the_loop_has_one_timer():
    timer = SharedTimer(asyncio.get_running_loop(), 2.0)
    waiters = []
    for _ in range(5):
        waiters.append(Waiter(timer))
        timer.start(waiters[-1])
        await asyncio.sleep(0.5)
        assert scheduled() == 1
    await asyncio.sleep(5)
    assert [waiter.expired_at for waiter in waiters] == [[2.0], [2.5], [3.0], [3.5], [4.0]]
    assert scheduled() == 0


@on_virtual_clock
async def test_who_was_stopped_does_not_expire_and_stopping_twice_is_nothing():
    timer = SharedTimer(asyncio.get_running_loop(), 2.0)
    first, second = Waiter(timer), Waiter(timer)
    timer.start(first)
    timer.start(second)
    timer.stop(first)
    timer.stop(first)
    await asyncio.sleep(5)
    timer.stop(second)
    assert (first.expired_at, second.expired_at) == ([], [2.0])


@on_virtual_clock
async def test_one_that_expires_may_stop_another_that_is_due_in_the_same_moment():
    timer = SharedTimer(asyncio.get_running_loop(), 2.0)
    first, second = Waiter(timer), Waiter(timer)
    first.stops = second
    timer.start(first)
    timer.start(second)
    await asyncio.sleep(5)
    assert (first.expired_at, second.expired_at) == ([2.0], [])


@examples(50)
@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 1.9) | st.floats(2.1, 4.0)), min_size=1, max_size=30))
def test_as_timers_of_their_own_would(waits: list[tuple[float, float]]):
    @on_virtual_clock
    async def scenario():
        timer = SharedTimer(asyncio.get_running_loop(), 2.0)
        started: list[tuple[Waiter, float, float]] = []
        for pause, patience in waits:
            await asyncio.sleep(pause)
            waiter = Waiter(timer)
            started.append((waiter, now(), patience))
            timer.start(waiter)
            asyncio.get_running_loop().call_later(patience, timer.stop, waiter)
        await asyncio.sleep(10)
        for waiter, began, patience in started:
            assert waiter.expired_at == ([began + 2.0] if patience > 2.0 else [])

    scenario()
