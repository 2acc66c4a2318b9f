from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import PING, SILENT, PlayedStream, Script, now, on_virtual_clock, pending, said

from providers import Chunk
from providers.errors import ServerFault, TimedOut
from router.errors import DeadlineExceeded
from router.watchdog import Watchdog

FAR = 1e9
EMPTY = Chunk(b"data: {}\n\n")


class Paced:
    """A stream of chunks, each after its own seconds; then nothing."""

    def __init__(self, *steps):
        self._steps = iter(steps)

    async def __anext__(self):
        seconds, chunk = next(self._steps, (FAR, PING))
        if seconds:
            await asyncio.sleep(seconds)
        return chunk


def timers(watchdog):
    return sum(timer._callback == watchdog._go_off for timer in pending())


async def read_all(watchdog, stream, pauses=()):
    """Read until something is raised, with a pause of the reader's own after each chunk."""
    pauses = iter(pauses)
    while True:
        await watchdog.read(stream)
        assert timers(watchdog) == 1
        await asyncio.sleep(next(pauses, 0.0))


@pytest.mark.parametrize("chunk", [PING, EMPTY], ids=["ping", "event without content"])
@on_virtual_clock
async def test_only_content_counts_as_life(chunk):
    watchdog = Watchdog(15.0, FAR, asyncio.get_running_loop())
    with pytest.raises(TimedOut) as error:
        await read_all(watchdog, Paced((1.0, said()), *[(1.0, chunk)] * 99))
    assert error.value.phase == "idle"
    assert now() == pytest.approx(16.0)


@on_virtual_clock
async def test_content_in_time_goes_on_for_ever():
    watchdog = Watchdog(15.0, FAR, asyncio.get_running_loop())
    with pytest.raises(TimedOut):
        await read_all(watchdog, Paced(*[(14.0, said())] * 500))
    assert now() == pytest.approx(14.0 * 500 + 15.0)


@on_virtual_clock
async def test_the_reader_s_own_time_is_not_the_upstream_s():
    watchdog = Watchdog(15.0, FAR, asyncio.get_running_loop())
    stream = Paced((0.0, said()), (10.0, PING), (4.0, said()), (14.0, PING))
    with pytest.raises(TimedOut):
        await read_all(watchdog, stream, [100.0, 1000.0, 100.0, 50.0])
    # 10 + 4 s of waiting while 1,100 s were the reader's; then 14 s to the ping and 1 s more.
    assert now() == pytest.approx(100 + 10 + 1000 + 4 + 100 + 14 + 50 + 1)


@examples(200)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 9)), max_size=25), st.integers(1, 60))
@on_virtual_clock
async def test_the_time_of_the_bark_is_that_of_a_plain_account(steps, deadline):
    idle, deadline = 5.5, deadline + 0.25
    clock = waited = 0.0
    expected = None
    for gap, content, pause in [*steps, (FAR, False, 0)]:
        over = min(clock + idle - waited, max(deadline, clock))
        if clock + gap > over:
            expected = (DeadlineExceeded, over) if deadline <= clock + idle - waited else (TimedOut, over)
            break
        clock += gap
        waited = 0.0 if content else waited + gap
        clock += pause
    stream = Paced(*((gap, said() if content else PING) for gap, content, _ in steps))
    watchdog = Watchdog(idle, deadline, asyncio.get_running_loop())
    with pytest.raises((TimedOut, DeadlineExceeded)) as error:
        await read_all(watchdog, stream, [pause for _, _, pause in steps])
    assert (type(error.value), now()) == (expected[0], pytest.approx(expected[1]))
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize(
    ("idle", "deadline", "error", "time"),
    [
        (5.0, 9.0, TimedOut, 5.0),
        (9.0, 5.0, DeadlineExceeded, 5.0),
        (5.0, 5.0, DeadlineExceeded, 5.0),
        (5.0, 0.0, DeadlineExceeded, 0.0),
    ],
)
@on_virtual_clock
async def test_what_is_over_first_barks_and_the_deadline_goes_before_idle(idle, deadline, error, time):
    with pytest.raises(error):
        await Watchdog(idle, deadline, asyncio.get_running_loop()).read(PlayedStream(SILENT))
    assert now() == pytest.approx(time)


@on_virtual_clock
async def test_the_deadline_binds_although_every_chunk_is_there_at_once():
    """Once a reader slower than its upstream had no deadline: where nothing is waited for, no timer goes off."""
    watchdog = Watchdog(15.0, 60.0, asyncio.get_running_loop())
    with pytest.raises(DeadlineExceeded):
        await read_all(watchdog, Paced(*[(0.0, said())] * 100), [10.0] * 99)
    assert now() <= 70.0


@on_virtual_clock
async def test_what_the_stream_raises_passes():
    stream = PlayedStream(Script([said()], breaks=ServerFault("x")))
    watchdog = Watchdog(15.0, FAR, asyncio.get_running_loop())
    await watchdog.read(stream)
    with pytest.raises(ServerFault):
        await watchdog.read(stream)
    ended = PlayedStream(Script([]))
    with pytest.raises(StopAsyncIteration):
        await watchdog.read(ended)


@on_virtual_clock
async def test_one_timer_serves_a_thousand_reads_and_none_is_left_after_stop():
    watchdog = Watchdog(15.0, FAR, asyncio.get_running_loop())
    loop = asyncio.get_running_loop()
    stream, armed = Paced(*[(0.5, said())] * 1000), []
    arm, watchdog._arm = watchdog._arm, lambda: (armed.append(now()), arm())
    for _ in range(1000):
        await watchdog.read(stream)
        assert timers(watchdog) == 1
    assert len(armed) < 500 / 14  # armed again when it goes off, not at each read
    watchdog.stop()
    watchdog.stop()
    assert timers(watchdog) == 0
    assert loop.time() == pytest.approx(500.0)


@on_virtual_clock
async def test_a_timer_that_goes_off_while_the_reader_is_busy_is_armed_by_the_next_read():
    watchdog = Watchdog(15.0, FAR, asyncio.get_running_loop())
    await watchdog.read(Paced((0.0, said())))
    await asyncio.sleep(100.0)
    assert timers(watchdog) == 0
    with pytest.raises(TimedOut):
        await watchdog.read(PlayedStream(SILENT))
    assert now() == pytest.approx(115.0)


# --- other cancellations ----------------------------------------------------------------------------------------


@on_virtual_clock
async def test_a_cancellation_from_outside_is_a_cancellation():
    watchdog = Watchdog(15.0, FAR, asyncio.get_running_loop())
    task = asyncio.create_task(watchdog.read(PlayedStream(SILENT)))
    asyncio.get_running_loop().call_later(3.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert now() == 3


@pytest.mark.parametrize("first", ["outside", "watchdog"])
@on_virtual_clock
async def test_a_cancellation_from_outside_at_the_very_moment_of_the_bark_is_not_swallowed(first):
    watchdog = Watchdog(10.0, FAR, asyncio.get_running_loop())
    task = asyncio.create_task(watchdog.read(PlayedStream(SILENT)))
    if first == "watchdog":
        await asyncio.sleep(0)  # it arms its timer
    asyncio.get_running_loop().call_at(10.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert watchdog._barked
    assert now() == 10


@pytest.mark.parametrize("outer", [9.0, 10.0, 11.0])
@on_virtual_clock
async def test_a_timeout_of_the_reader_s_own_keeps_its_meaning(outer):
    expected = TimedOut if outer > 10.0 else TimeoutError
    with pytest.raises(expected):
        async with asyncio.timeout(outer):
            await Watchdog(10.0, FAR, asyncio.get_running_loop()).read(PlayedStream(SILENT))
    assert now() == min(outer, 10.0)
    assert asyncio.current_task().cancelling() == 0


@on_virtual_clock
async def test_a_bark_leaves_no_cancellation_behind():
    with pytest.raises(TimedOut):
        await Watchdog(10.0, FAR, asyncio.get_running_loop()).read(PlayedStream(SILENT))
    await asyncio.sleep(1.0)
    assert asyncio.current_task().cancelling() == 0
