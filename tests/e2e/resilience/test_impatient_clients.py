"""Clients that leave before any time-out of the gateway is over: no attempt fails, and still it finds out who answers nobody."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import FAULTS, Exchange
from tests.e2e.harness import eventually
from tests.e2e.resilience.scene import Scene, open_scene, posts

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_SECONDS = 1.2
PREFERRED = "stuck, *"


async def hangs_for_callers_only(x: Exchange) -> None:
    await FAULTS["ok" if x.head.startswith(b"GET") else "hang_before_headers"](x)


async def leave(scene: Scene, request_id: str) -> None:
    (stuck,) = [one for one in scene.upstreams if one.name == "stuck"]
    sent = len(posts(stuck)) + 1
    async with scene.call(request_id, stream=False, X_Provider_Priority=PREFERRED) as call:
        await eventually(lambda: len(posts(stuck)) == sent)
        await asyncio.sleep(PATIENCE_SECONDS)
        call.hang_up()
    await eventually(scene.quiet)


async def test_who_answers_neither_its_callers_nor_us_is_ejected(faulty: StartFaulty, gateway: StartGateway) -> None:
    stuck, spare = await faulty("stuck", "hang_before_headers"), await faulty("spare", "ok")
    scene = await open_scene(gateway, stuck, spare, probing={"timeout": 0.3}, breaker={"open_base": 60})
    await leave(scene, "leaver")

    async def ejected() -> bool:
        return str((await scene.breaker("stuck"))["state"]) == "open"

    await eventually(ejected, within=5)
    breaker = await scene.breaker("stuck")
    assert (breaker["reason"], breaker["failures"], breaker["consecutive_failures"]) == ("probe: timeout", 0, 0)
    answer = await scene.ask("the next", stream=False, X_Provider_Priority=PREFERRED)
    assert (answer.status, answer.headers["x-attempts"]) == (200, "spare/x:200")
    assert len(posts(stuck)) == 1
    lines = [line for line in scene.gateway.log_lines() if line["event"] == "unanswered"]
    assert [(line["target"], line["waiting"], line["level"]) for line in lines] == [("stuck/x", 1, "warning")]


async def test_who_answers_us_is_left_alone(faulty: StartFaulty, gateway: StartGateway) -> None:
    """It may be that this caller has asked for much. He has left, and no more is known."""
    stuck = await faulty("stuck", "ok")
    stuck.fault = hangs_for_callers_only
    scene = await open_scene(gateway, stuck, probing={"timeout": 0.3})
    for number in range(3):
        await leave(scene, f"leaver-{number}")
    await eventually(lambda: len(stuck.exchanges) - len(posts(stuck)) == 3)
    breaker = await scene.breaker("stuck")
    assert (breaker["state"], breaker["calls"], breaker["failures"]) == ("closed", 0, 0)
    assert await scene.in_flight() == 0
