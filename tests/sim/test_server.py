from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import now, on_virtual_clock, request

from providers import Chunk, Usage
from providers.errors import Overloaded, RateLimited, ServerFault
from providers.law import Law
from router.sim.levels import Levels
from router.sim.server import Server
from router.sim.service import Cancelled, Service


def constant(seconds: float) -> Law:
    return Law("constant", seconds)


async def ask(server: Server, patience: float = 1e9, *, stream: bool = False, name: str = "r1") -> float | None:
    """When it was served; None if it left before."""
    try:
        async with asyncio.timeout(patience), AsyncExitStack() as opened:
            answer = await server.open(request(stream=stream, request_id=name), "m", 1.0)
            opened.push_async_callback(answer.aclose)
            chunks = [chunk async for chunk in answer]
    except TimeoutError:
        return None
    assert chunks[0].content
    return now()


async def read(server: Server, **wanted: Any) -> list[tuple[float, Chunk]]:
    """(when, chunk)"""
    async with asyncio.timeout(1e6):
        answer = await server.open(request(**wanted), "m", 1.0)
        return [(now(), chunk) async for chunk in answer]


def counts(server: Server) -> tuple[int, int, int, int, int]:
    return server.arrived, server.served, server.wasted, server.queued, server.running


# --- a rate: one after the other ---------------------------------------------------------------------------------------


@on_virtual_clock
async def test_one_after_the_other_first_come_first_served():
    server = Server("a", Service(rate=4.0))
    assert await asyncio.gather(*(ask(server) for _ in range(4))) == [0.25, 0.5, 0.75, 1.0]
    await asyncio.sleep(1)
    assert await ask(server) == pytest.approx(2.25)
    assert counts(server) == (5, 5, 0, 0, 0)


@on_virtual_clock
async def test_after_its_turn_an_answer_takes_its_time():
    server = Server("a", Service(rate=4.0, ttft=constant(1.0), token_interval=constant(0.5), tokens=constant(3)))
    assert await asyncio.gather(ask(server), ask(server)) == [2.25, 2.5]


@pytest.mark.parametrize(("cancelled", "third", "wasted"), [("works_on", 3.0, 1), ("stops", 2.0, 0)])
@pytest.mark.parametrize("service", [{"rate": 1.0}, {"slots": 1, "ttft": constant(1.0)}], ids=["rate", "slots"])
def test_who_has_gone_is_worked_for_all_the_same_or_not(cancelled, third, wasted, service):
    @on_virtual_clock
    async def scenario():
        server = Server("a", Service(**service, cancelled=Cancelled(cancelled)))
        assert await asyncio.gather(ask(server), ask(server, 0.5), ask(server)) == [1.0, None, third]
        assert counts(server) == (3, 2, wasted, 0, 0)

    scenario()


@pytest.mark.parametrize(("cancelled", "second", "wasted"), [("works_on", 2.0, 1), ("stops", 1.25, 0)])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_who_goes_while_he_is_served_frees_his_place_at_once_or_when_it_would_have_been(
    cancelled, second, wasted, stream
):
    @on_virtual_clock
    async def scenario():
        server = Server("a", Service(slots=1, ttft=constant(1.0), cancelled=Cancelled(cancelled)))
        assert await asyncio.gather(ask(server, 0.25, stream=stream), ask(server, stream=stream)) == [None, second]
        await asyncio.sleep(5)
        assert counts(server) == (2, 1, wasted, 0, 0)

    scenario()


@on_virtual_clock
async def test_what_could_not_be_finished_in_time_is_left_out():
    server = Server("a", Service(rate=1.0, patience=2.0))
    assert await asyncio.gather(*(ask(server, 2.1) for _ in range(4))) == [1.0, 2.0, None, None]
    assert await ask(server) == pytest.approx(3.1)


@on_virtual_clock
async def test_while_it_stands_still_all_wait_also_what_has_begun():
    server = Server("a", Service(rate=1.0, capacity=Levels.steps((0.0, 1.0), (0.5, 0.0), (10.0, 1.0))))
    assert await asyncio.gather(*(ask(server) for _ in range(3))) == [10.5, 11.5, 12.5]


@on_virtual_clock
async def test_its_capacity_may_change():
    server = Server("a", Service(rate=1.0, capacity=Levels.steps((0.0, 1.0), (2.0, 10.0))))
    assert await asyncio.gather(*(ask(server) for _ in range(4))) == pytest.approx([1.0, 2.0, 2.1, 2.2])


@on_virtual_clock
async def test_one_that_never_works_again_never_answers():
    server = Server("a", Service(ttft=constant(1.0), capacity=Levels.steps((0.0, 1.0), (0.5, 0.0))))
    assert await asyncio.gather(ask(server, 100.0), ask(server, 100.0, stream=True)) == [None, None]
    assert server.running == 2
    await server.aclose()


# --- slots: so many at once --------------------------------------------------------------------------------------------


@on_virtual_clock
async def test_so_many_at_once_each_for_its_whole_answer():
    server = Server("a", Service(slots=2, ttft=constant(1.0), token_interval=constant(0.5), tokens=constant(3)))
    assert await asyncio.gather(*(ask(server) for _ in range(5))) == [2.0, 2.0, 4.0, 4.0, 6.0]


@on_virtual_clock
async def test_without_slots_and_rate_all_are_served_at_once():
    server = Server("a", Service(ttft=constant(1.0)))
    assert await asyncio.gather(*(ask(server) for _ in range(100))) == [1.0] * 100


@pytest.mark.parametrize("queue", [0, 2])
@on_virtual_clock
async def test_beyond_its_queue_it_answers_503_and_says_when_to_come_again(queue):
    server = Server("a", Service(slots=1, queue=queue, retry_after=7.0, ttft=constant(1.0)))
    waiting = [asyncio.create_task(ask(server)) for _ in range(queue + 1)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await ask(server)
    assert (refused.value.status, refused.value.retry_after) == (503, 7.0)
    assert await asyncio.gather(*waiting) == [number + 1.0 for number in range(queue + 1)]
    assert (server.refused, server.failed, server.arrived) == (1, 1, queue + 2)
    assert await ask(server) is not None


@on_virtual_clock
async def test_who_left_the_queue_takes_no_place_in_it():
    server = Server("a", Service(slots=1, queue=1, ttft=constant(1.0), cancelled=Cancelled.STOPS))
    first = asyncio.create_task(ask(server))
    gone = asyncio.create_task(ask(server, 0.1))
    assert await gone is None
    assert await ask(server) == pytest.approx(2.0)
    assert await first == pytest.approx(1.0)


@on_virtual_clock
async def test_the_more_run_the_longer_each_takes():
    service = Service(ttft=constant(1.0), slowdown=0.5, unhurried=2)
    server = Server("a", service)
    assert await asyncio.gather(*(ask(server) for _ in range(4))) == [1.0, 1.0, 1.5, 2.0]


# --- streams -----------------------------------------------------------------------------------------------------------


@on_virtual_clock
async def test_a_stream_has_its_first_token_and_its_last_at_their_times():
    service = Service(slots=1, ttft=constant(1.0), token_interval=constant(0.5), tokens=constant(5), chunks=2)
    server = Server("a", service)
    first, second = await asyncio.gather(read(server, stream=True), read(server, stream=True))
    assert [at for at, _ in first] == [1.0, 2.0, 3.0]
    assert [at for at, _ in second] == [4.0, 5.0, 6.0]
    assert all(chunk.content for _, chunk in first)
    _, last = first[-1]
    assert last.raw.endswith(b"data: [DONE]\n\n")
    assert last.usage is not None
    assert last.usage.output_tokens == 5


@on_virtual_clock
async def test_a_server_that_slows_down_slows_what_streams():
    capacity = Levels.steps((0.0, 1.0), (1.0, 0.5))
    server = Server(
        "a", Service(ttft=constant(2.0), token_interval=constant(1.0), tokens=constant(2), capacity=capacity)
    )
    assert [at for at, _ in await read(server, stream=True)] == [3.0, 5.0]


@on_virtual_clock
async def test_a_long_stream_is_not_silent_for_long_and_one_that_stands_still_is():
    capacity = Levels.steps((0.0, 1.0), (10.5, 0.0), (110.5, 1.0))
    server = Server("a", Service(token_interval=constant(0.1), tokens=constant(201), capacity=capacity))
    assert [at for at, _ in await read(server, stream=True)] == pytest.approx([0.0, 5.0, 10.0, 115.0, 120.0])


@on_virtual_clock
async def test_a_stream_has_no_more_pieces_than_tokens():
    server = Server("a", Service(token_interval=constant(60.0), tokens=constant(3)))
    assert [at for at, _ in await read(server, stream=True)] == pytest.approx([0.0, 40.0, 80.0, 120.0])


@pytest.mark.parametrize(
    ("law", "limit", "tokens"), [(None, None, 1), (None, 7, 7), (9, None, 9), (9, 7, 7), (9, 70, 9), (1e300, 7, 7)]
)
@on_virtual_clock
async def test_an_answer_is_as_long_as_its_law_and_its_client_allow(law, limit, tokens):
    server = Server("a", Service(tokens=None if law is None else constant(law), token_interval=constant(1.0)))
    fields = {} if limit is None else {"max_tokens": limit}
    ((at, chunk),) = await read(server, stream=False, **fields)
    assert at == tokens - 1
    assert isinstance(chunk.usage, Usage)
    assert chunk.usage.output_tokens == tokens


@on_virtual_clock
async def test_a_stream_that_never_ends_has_begun_all_the_same():
    server = Server("a", Service(token_interval=constant(1e308), tokens=constant(100)))
    answer = await server.open(request(stream=True), "m", 1.0)
    assert (await anext(answer)).content
    assert not now()
    await answer.aclose()


# --- quotas ------------------------------------------------------------------------------------------------------------


@on_virtual_clock
async def test_so_many_requests_a_minute_to_the_last_and_a_true_retry_after():
    server = Server("a", Service(requests_per_minute=3))
    await asyncio.sleep(45.0)
    for _ in range(3):
        await ask(server)
    with pytest.raises(RateLimited) as refused:
        await ask(server)
    assert (refused.value.status, refused.value.retry_after) == (429, 15.0)
    assert refused.value.retry_after is not None
    await asyncio.sleep(refused.value.retry_after)
    assert await ask(server) == 60


@on_virtual_clock
async def test_so_many_tokens_a_minute_of_prompts_and_answers():
    server = Server("a", Service(tokens_per_minute=200, tokens=constant(30)))
    ((_, chunk),) = await read(server, stream=False)
    assert chunk.usage is not None
    each = chunk.usage.input_tokens + 30
    for _ in range(200 // each - 1):
        await ask(server)
    with pytest.raises(RateLimited):
        await ask(server)
    assert server.refused == 1


@examples(100)
@given(st.lists(st.floats(0.0, 400.0), max_size=60), st.integers(1, 5))
def test_no_minute_has_more_and_none_is_refused_that_there_was_room_for(times, limit):
    server = Server("a", Service(requests_per_minute=limit))
    served: dict[int, int] = {}

    @on_virtual_clock
    async def scenario():
        for at in sorted(times):
            await asyncio.sleep(at - now())
            minute = int(now() // 60)
            if served.get(minute, 0) < limit:
                await ask(server)
                served[minute] = served.get(minute, 0) + 1
                continue
            with pytest.raises(RateLimited) as refused:
                await ask(server)
            assert refused.value.retry_after == pytest.approx((minute + 1) * 60 - now())

    scenario()


# --- chance ------------------------------------------------------------------------------------------------------------


async def drawn(seed: int, names: Sequence[str]) -> dict[str, Any]:
    service = Service(ttft=Law("lognormal", 1.0, 1.0), tokens=Law("uniform", 1, 50), error_rate=0.3, error_status=502)
    server = Server("a", service, seed=seed)

    async def one(name: str) -> Any:
        began = now()
        try:
            ended = await ask(server, name=name)
        except ServerFault as fault:
            return fault.status
        assert ended is not None
        return round(ended - began, 9)

    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


@on_virtual_clock
async def test_what_a_request_meets_hangs_on_its_id_alone():
    names = [f"r{number}" for number in range(200)]
    found = await drawn(1, names)
    assert await drawn(1, names[::-1]) == found
    assert await drawn(2, names) != found
    assert sum(value == 502 for value in found.values()) == pytest.approx(60, abs=25)


@on_virtual_clock
async def test_who_failed_here_draws_anew():
    server = Server("a", Service(error_rate=0.5))
    tries = []
    for _ in range(40):
        try:
            await ask(server)
            tries.append(True)
        except ServerFault:
            tries.append(False)
    assert True in tries
    ok = tries.index(True)
    assert all(tries[ok:])  # what succeeded once does so again


@pytest.mark.parametrize("rate", [0.0, 1.0])
@on_virtual_clock
async def test_all_fail_or_none(rate):
    server = Server("a", Service(error_rate=rate))
    failed = 0
    for number in range(50):
        try:
            await ask(server, name=f"r{number}")
        except ServerFault:
            failed += 1
    assert failed == 50 * rate == server.failed
