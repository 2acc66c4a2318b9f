from __future__ import annotations

import asyncio
import contextlib

import pytest
from worlds import (
    BODY,
    DONE,
    FINISH,
    PING,
    ROLE,
    Script,
    Upstream,
    World,
    call_for,
    fails,
    healthy,
    now,
    on_virtual_clock,
    pending,
    said,
)

from providers import Outcome
from providers.errors import (
    Malformed,
    Misconfigured,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFault,
    TimedOut,
    Truncated,
)
from router import Timeouts
from router.errors import DeadlineExceeded
from router.shared_timer import SharedTimer

OK, FAULT, OVERLOAD, IGNORED = Outcome
TEXT = [ROLE, said("a"), said("b")]


async def drain(reply):
    async for _ in reply:
        pass


async def drain_and_close_twice(reply):
    await drain(reply)
    await reply.aclose()
    await reply.aclose()


async def close_early(reply):
    await anext(reply)
    await anext(reply)


async def never_read(reply):
    pass


async def fail_oneself(reply):
    async for _ in reply:
        raise ZeroDivisionError


async def be_cancelled(reply):
    task = asyncio.current_task()
    asyncio.get_running_loop().call_later(2.5, task.cancel)
    await drain(reply)


async def run_out_of_time(reply):
    async with asyncio.timeout(2.5):
        await drain(reply)


SLOW = Script([*TEXT, FINISH, DONE], every=1.0)
# What the upstream does, what the reader does, what the reader sees, and how the tickets are settled.
ENDINGS = {
    "drained": (Script([*TEXT, FINISH, DONE]), drain, None, OK),
    "drained, closed again": (Script([*TEXT, FINISH, DONE]), drain_and_close_twice, None, OK),
    "nothing but the held": (Script([said()]), drain, None, OK),
    "whole, but for something left out": (Script(TEXT, breaks=StopAsyncIteration(Malformed("x"))), drain, None, FAULT),
    "truncated": (Script(TEXT, breaks=Truncated("x")), drain, Truncated, FAULT),
    "fault": (Script(TEXT, breaks=ServerFault("x")), drain, ServerFault, FAULT),
    "overloaded": (Script(TEXT, breaks=Overloaded("x")), drain, Overloaded, OVERLOAD),
    "rate limited": (Script(TEXT, breaks=RateLimited("x")), drain, RateLimited, OVERLOAD),
    "misconfigured": (Script(TEXT, breaks=Misconfigured("x")), drain, Misconfigured, IGNORED),
    "stalled": (Script(TEXT, stalls=True), drain, TimedOut, FAULT),
    "pings for ever": (Script(TEXT, pings=1.0), drain, TimedOut, FAULT),
    "beyond the deadline": (Script(TEXT * 99, every=1.0), drain, DeadlineExceeded, IGNORED),
    "a mistake in the stream": (Script(TEXT, breaks=ZeroDivisionError()), drain, ZeroDivisionError, IGNORED),
    "closed early": (SLOW, close_early, None, IGNORED),
    "never read": (SLOW, never_read, None, IGNORED),
    "a mistake in the reader": (SLOW, fail_oneself, ZeroDivisionError, IGNORED),
    "cancelled": (SLOW, be_cancelled, asyncio.CancelledError, IGNORED),
    "out of the reader's own time": (SLOW, run_out_of_time, TimeoutError, IGNORED),
}


def is_waited_for(timer):
    shared = getattr(timer._callback, "__self__", None)
    return bool(shared._dues) if isinstance(shared, SharedTimer) else not timer.cancelled()


@pytest.mark.parametrize("ending", ENDINGS)
@on_virtual_clock
async def test_however_an_answer_ends_its_tickets_are_settled_once(ending):
    script, use, raises, outcome = ENDINGS[ending]
    world = World([Upstream("a", script), Upstream("b", healthy())], total=50.0)

    async def call():
        async with await world.open() as reply:
            await use(reply)

    task = asyncio.create_task(call())
    with pytest.raises(raises) if raises else contextlib.nullcontext():
        await task
    assert world.books.outcomes == [outcome]
    assert world.calls == [1, 0]
    assert world.is_at_rest()
    assert not [timer for timer in pending() if is_waited_for(timer)]


@pytest.mark.parametrize(
    ("use", "outcome"), [(drain, OK), (never_read, IGNORED), (drain_and_close_twice, OK), (fail_oneself, IGNORED)]
)
@on_virtual_clock
async def test_a_plain_answer_settles_once_too(use, outcome):
    world = World([Upstream("a", Script([BODY]))])
    with contextlib.suppress(ZeroDivisionError):
        async with await world.open(call_for(stream=False)) as reply:
            await use(reply)
    assert world.books.outcomes == [outcome]
    assert world.is_at_rest()


@on_virtual_clock
async def test_tickets_are_out_until_the_stream_ends():
    world = World([Upstream("a", Script([*TEXT, FINISH, DONE], every=1.0))])
    reply = await world.open()
    async for _ in reply:
        assert [page.endings for page in world.books.settled] == [[]]
        assert world.in_flight == [1]
    assert world.books.outcomes == [OK]
    assert world.in_flight == [0]
    await reply.aclose()


@on_virtual_clock
async def test_a_failure_hands_the_tickets_back_before_it_is_seen():
    world = World([Upstream("a", Script(TEXT, breaks=ServerFault("x")))])
    reply = await world.open()
    with pytest.raises(ProviderError):
        await drain(reply)
    assert world.books.outcomes == [FAULT]
    await reply.aclose()
    assert world.books.outcomes == [FAULT]


@on_virtual_clock
async def test_closing_hands_the_tickets_back_even_if_the_upstream_does_not_let_itself_be_closed():
    world = World([Upstream("a", SLOW)])
    reply = await world.open()

    async def hang():
        await asyncio.sleep(5.0)
        raise ConnectionResetError

    reply._stream.aclose = hang
    with pytest.raises(ConnectionResetError):
        await reply.aclose()
    assert world.books.outcomes == [IGNORED]


@pytest.mark.parametrize(
    ("first", "pin", "target", "reason"),
    [
        (healthy(), None, "a/m", "weight"),
        (healthy(), "a", "a/m", "pin"),
        (fails(ServerFault("x")), None, "b/m", "failover"),
        (fails(ServerFault("x")), "a, b", "b/m", "failover"),
    ],
    ids=["weight", "pin", "failover", "failover in a pin"],
)
@on_virtual_clock
async def test_it_names_the_target_that_answered_and_why(first, pin, target, reason):
    async with await World([Upstream("a", first), Upstream("b", healthy())]).open(call_for(pin=pin)) as reply:
        assert (reply.target, reply.route_reason) == (target, reason)
        assert reply.attempts[-1].target.provider.name == target[0]


@on_virtual_clock
async def test_the_same_target_tried_again_is_no_failover():
    async with await World([Upstream("a", fails(ServerFault("x")), healthy())]).open() as reply:
        assert [tried.name for tried in reply.attempts] == ["a/m", "a/m"]
        assert reply.route_reason == "weight"


@on_virtual_clock
async def test_a_call_that_came_back_to_its_first_target_did_fail_over():
    """Once only the first attempt was looked at."""
    broken = fails(ServerFault("x"))
    async with await World([Upstream("a", broken, healthy()), Upstream("b", broken)]).open() as reply:
        assert [tried.name for tried in reply.attempts] == ["a/m", "b/m", "a/m"]
        assert reply.route_reason == "failover"


@on_virtual_clock
async def test_headers_and_media_type_are_those_of_the_attempt_that_answered():
    broken = Script([ROLE], breaks=ServerFault("x"))
    world = World([Upstream("a", broken), Upstream("b", healthy())])
    reply = await world.open()
    assert reply.headers is world.upstreams[1].streams[0].headers
    assert reply.media_type == "text/event-stream"
    await reply.aclose()


@on_virtual_clock
async def test_pings_pass_after_the_commit_and_not_before():
    async with await World([Upstream("a", Script([PING, ROLE, PING, said("a"), PING, FINISH, DONE]))]).open() as reply:
        assert [chunk async for chunk in reply] == [ROLE, said("a"), PING, FINISH, DONE]


@on_virtual_clock
async def test_time_between_the_commit_and_the_first_read_is_the_reader_s_own():
    upstream = Upstream("a", Script([said("a"), said("b"), FINISH, DONE], every=1.0))
    async with await World([upstream], timeouts=Timeouts(idle=2.0)).open() as reply:
        await asyncio.sleep(100.0)
        assert [chunk async for chunk in reply] == [said("a"), said("b"), FINISH, DONE]


@on_virtual_clock
async def test_a_plain_answer_knows_no_idle_time():
    upstream = Upstream("a", Script([BODY], every=40.0))
    assert await World([upstream], timeouts=Timeouts(idle=1.0)).answer(call_for(stream=False)) == [BODY]
    assert now() == 40
