"""M8: a thousand clients leave in the middle of their streams. Nobody is to blame, and nothing is kept."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import TO_CONTENT, Exchange
from tests.e2e.harness import eventually
from tests.e2e.resilience.scene import Scene, open_scene, posts

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = 1000
AT_ONCE = 100
CONTENT = b'"content": "'
WORDS_EVERY_SECONDS = 0.2


async def talks_slowly(x: Exchange) -> None:
    """Every other one says nothing more: the first write that fails cannot be what tells of the client's leaving."""
    await x.begin()
    await x.say(*x.pieces[TO_CONTENT])
    if len(x.server.exchanges) % 2:
        await x.hang()
    while True:
        await asyncio.sleep(WORDS_EVERY_SECONDS)
        await x.say(x.pieces[1])


async def come_and_go(scene: Scene, number: int, left: dict[str, float]) -> None:
    request_id = f"leaver-{number}"
    async with scene.call(request_id) as call:
        await call.until(CONTENT)
        left[request_id] = asyncio.get_running_loop().time()
        call.hang_up(reset=number % 2 == 0)


async def test_m8_a_thousand_clients_that_leave_in_mid_stream(faulty: StartFaulty, gateway: StartGateway) -> None:
    only = await faulty("only", "ok")
    only.fault = talks_slowly
    scene = await open_scene(gateway, only)
    left: dict[str, float] = {}
    for first in range(0, CLIENTS, AT_ONCE):
        await asyncio.gather(*(come_and_go(scene, first + one, left) for one in range(AT_ONCE)))

    calls = posts(only)
    assert len(calls) == len(left) == CLIENTS, "one call for each, and no retry for nobody"
    await eventually(lambda: all(call.abandoned_at is not None for call in calls), within=2)
    delays = sorted((call.abandoned_at or 0.0) - left[dict(call.headers)["x-request-id"]] for call in calls)
    print(f"upstreams closed after {delays[CLIENTS // 2] * 1000:.1f} ms (p50), {delays[-1] * 1000:.1f} ms (max)")
    assert delays[-1] <= 1.0

    await eventually(scene.quiet)
    target = await scene.target("only")
    assert target["state"] == "ok"
    assert (target["in_flight"], target["tokens"], target["guards"]["concurrency"]["load"]) == (0, 0, 0)
    breaker = target["guards"]["breaker"]
    assert (breaker["state"], breaker["failures"], breaker["consecutive_failures"]) == ("closed", 0, 0)
    assert target["guards"]["throttle"]["overloads"] == 0
    assert await scene.metric("breakwater_tokens_in_flight") == 0

    def all_logged() -> bool:
        lines = [line for line in scene.gateway.log_lines() if str(line.get("request_id")).startswith("leaver-")]
        return len(lines) == CLIENTS and {(line["status"], line["end"]) for line in lines} == {(499, "client_closed")}

    await eventually(all_logged, within=5, every=0.2)
    only.fault = "ok"
    assert (await scene.ask("the next")).text == "hello from only"
