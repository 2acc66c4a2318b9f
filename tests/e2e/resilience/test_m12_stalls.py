"""M12: a stream that says nothing more but keeps sending pings is aborted when its idle time is over."""

from __future__ import annotations

import asyncio

import pytest
from worlds import PING, ROLE, Script, Upstream, call_for, now, on_virtual_clock, said

from providers import Chunk
from providers.errors import TimedOut
from router.policies.breaker import Breaker
from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import TO_CONTENT, Exchange
from tests.e2e.harness import eventually
from tests.e2e.resilience.scene import open_scene, posts
from tests.e2e.resilience.wired import wired

IDLE = 2.0
PING_EVERY = 0.5


async def pings_after_content(x: Exchange) -> None:
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT])
    while True:
        await asyncio.sleep(PING_EVERY)
        await x.say(b": ping\n\n")


@pytest.mark.asyncio(loop_scope="module")
async def test_m12_pings_do_not_keep_a_stalled_stream_alive(faulty: StartFaulty, gateway: StartGateway) -> None:
    only = await faulty("only", "ok")
    only.fault = pings_after_content
    scene = await open_scene(gateway, only, timeouts={"idle": IDLE, "first_token": 10})
    loop = asyncio.get_running_loop()
    async with scene.call("stalls") as call:
        await call.until(b'"content": "')
        stalled = loop.time()
        answer = await call.rest()
        aborted = loop.time()
    (exchange,) = posts(only)
    await eventually(lambda: exchange.abandoned_at)
    assert exchange.abandoned_at is not None
    print(
        f"idle {IDLE} s: the client heard after {aborted - stalled:.2f} s, upstream {exchange.abandoned_at - stalled:.2f} s"
    )
    for seconds in (aborted - stalled, exchange.abandoned_at - stalled):
        assert IDLE - 0.1 <= seconds <= IDLE + 0.8
    assert answer.body.count(b": ping") >= 2, "pings were forwarded, and did not count"
    assert not answer.whole
    assert answer.events[-1]["error"]["code"] == "deadline_exceeded"
    assert "[DONE]" not in answer.data
    line = await scene.gateway.log_line("stalls")
    assert (line["end"], line["error"]) == ("cut", "deadline_exceeded")
    breaker = await scene.breaker("only")
    assert (breaker["failures"], breaker["consecutive_failures"]) == (1, 1)
    assert await scene.in_flight() == 0


@on_virtual_clock
async def test_m12_with_the_default_it_is_15_seconds_to_the_second() -> None:
    upstream = Upstream("a", Script([ROLE, said("one"), said("two")], every=1.0, pings=1.0))
    gateway = wired({"routes": [{"model": "m", "targets": [{"provider": "a", "model": "x"}]}]}, {"a": upstream})
    (live,) = gateway.lives.values()
    breaker = live.guard(Breaker)
    assert breaker is not None
    chunks: list[Chunk] = []

    async def read_all() -> None:
        async with await gateway.dispatcher.open(call_for()) as reply:
            async for chunk in reply:
                chunks.append(chunk)  # noqa: PERF401 - what came before it broke is wanted

    with pytest.raises(TimedOut) as caught:
        await read_all()
    assert caught.value.phase == "idle"
    assert now() == pytest.approx(3 + 15)
    assert chunks.count(PING) == 14
    assert (live.in_flight, breaker.describe(now())["consecutive_failures"]) == (0, 1)
    assert [stream.closed for stream in upstream.streams] == [1]
    await gateway.aclose()
