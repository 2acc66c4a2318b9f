from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import now, on_virtual_clock

from router.sim import VirtualLoop, run


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


@on_virtual_clock
async def test_timers_that_are_due_together_run_in_the_order_in_which_they_were_set():
    loop, ran = asyncio.get_running_loop(), []
    for number in range(100):
        loop.call_at(5.0, ran.append, number)
    loop.call_at(1.0, loop.call_at, 5.0, ran.append, 100)
    await asyncio.sleep(6.0)
    assert ran == list(range(101))


@on_virtual_clock
async def test_what_a_timer_does_is_done_before_the_clock_moves():
    loop, ran = asyncio.get_running_loop(), []
    loop.call_at(1.0, loop.call_soon, lambda: ran.append(now()))
    loop.call_at(1.0 + 1e-9, lambda: ran.append(now()))
    await asyncio.sleep(2.0)
    assert ran == [1.0, 1.0 + 1e-9]


@on_virtual_clock
async def test_a_timer_of_the_past_runs_now_and_turns_no_clock_back():
    loop, ran = asyncio.get_running_loop(), []
    await asyncio.sleep(5.0)
    loop.call_at(1.0, lambda: ran.append(now()))
    await asyncio.sleep(1.0)
    assert ran == [5.0]


@on_virtual_clock
async def test_timers_that_were_cancelled_do_not_pile_up():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    kept = [loop.call_later(1e6, print) for _ in range(10)]
    for _ in range(50_000):
        loop.call_later(600.0, print).cancel()
        await asyncio.sleep(0.001)
    assert len(loop._timers) < 3_000
    assert loop.pending() == kept
    for timer in kept:
        timer.cancel()
    assert loop.pending() == []


@on_virtual_clock
async def test_real_sockets_within_the_process_work_and_take_no_time():
    here, there = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=here)
    _, answering = await asyncio.open_connection(sock=there)
    sent = os.urandom(5_000_000)  # more than the kernel holds

    async def answer():
        await asyncio.sleep(3.0)
        answering.write(sent)
        await answering.drain()
        answering.close()

    answers = asyncio.create_task(answer())
    assert await reader.read() == sent
    assert now() == 3
    await answers
    writer.close()
    await asyncio.gather(writer.wait_closed(), answering.wait_closed())


@on_virtual_clock
async def test_a_socket_that_says_nothing_holds_no_timer_up():
    here, there = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=here)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30.0):
            await reader.read()
    assert now() == 30
    there.close()
    writer.close()
    await writer.wait_closed()


@on_virtual_clock
async def test_a_signal_is_heard():
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, heard.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(10_000):
        await asyncio.sleep(1.0)
    assert heard.is_set()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_garbage_is_looked_for_less_often_only_meanwhile():
    async def thresholds():
        return gc.get_threshold()

    before = gc.get_threshold()
    assert run(thresholds())[0] > before[0]
    assert gc.get_threshold() == before
