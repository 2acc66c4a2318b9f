"""Hedging on real sockets: the second wins, the first is hung up on, and it costs no more than its share."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartGateway
from tests.e2e.faulty import ok, role_chunk_then_hang
from tests.e2e.harness import Gateway, chat, eventually
from tests.e2e.routing.conftest import OpenClient, StartUpstream
from tests.e2e.routing.town import Client, Upstream, after, configuration, counted, many, targets

pytestmark = pytest.mark.asyncio(loop_scope="module")

AFTER = 0.3
AT_WILL: Any = {"budget": {"ratio": 1, "burst": 100}, "concurrency": {"share": 1, "min": 100}}
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


class Scene(NamedTuple):
    gateway: Gateway
    client: Client
    first: Upstream
    second: Upstream

    def play(self, model: str, first: Any, second: Any = ok) -> None:
        self.first.play(model, first)
        self.second.play(model, second)

    async def quiet(self) -> bool:
        return not await self.gateway.in_flight()


def hedged(model: str, after: Any = AFTER, max_share: float = 1.0, **more: Any) -> dict[str, Any]:
    """The second target stands behind the first, so that the order is known."""
    two = targets(model, "first", "second")
    two[1]["tier"] = 1
    hedge = {"after": after, "max_share": max_share}
    return {"model": model, "targets": two, "hedge": hedge, "retry": AT_WILL, **more}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(upstream: StartUpstream, gateway: StartGateway, client: OpenClient) -> Scene:
    first, second = await upstream("first"), await upstream("second")
    routes = [
        *map(hedged, ("wins", "mute", "loses", "quick", "fails", "leaves", "pinned", "reason")),
        hedged("tenth", after=0.02, max_share=0.1),
        hedged("paid", retry={"budget": {"ratio": 0.0, "burst": 2}, "concurrency": {"min": 100}}),
    ]
    one = await gateway(configuration([first, second], routes))
    return Scene(one, await client(one), first, second)


@BOTH
async def test_after_its_silence_the_second_wins_and_the_first_is_hung_up_on(scene: Scene, stream: bool) -> None:
    scene.play("wins", after(20.0))
    loop = asyncio.get_running_loop()
    began = loop.time()
    told = await scene.client.chat("wins", stream=stream)
    took = loop.time() - began
    assert (told.status, told.text, told.provider, told.reason) == (200, "hello from second", "second", "hedge")
    assert told.attempts == ["first/wins:hedge_loser", "second/wins:200"]
    assert AFTER <= took < AFTER + 0.8
    loser, winner = scene.first.asked("wins")[-1], scene.second.asked("wins")[-1]
    assert AFTER - 0.05 <= winner.at - loser.at < AFTER + 0.3, "as they arrive, on a busy machine"
    abandoned = await eventually(lambda: loser.abandoned_at)
    assert abandoned - winner.at < 1.0
    assert await eventually(scene.quiet)
    line = await scene.gateway.log_line(told.headers["x-request-id"])
    assert [one["outcome"] for one in line["attempts"]] == ["hedge_loser", "200"]
    assert line["attempts"][0]["ms"] >= AFTER * 1000


async def test_headers_and_a_role_are_no_content_so_a_mute_stream_is_hedged_too(scene: Scene) -> None:
    scene.play("mute", role_chunk_then_hang)
    told = await scene.client.chat("mute", stream=True)
    assert (told.text, told.reason) == ("hello from second", "hedge")
    loser = scene.first.asked("mute")[-1]
    assert await eventually(lambda: loser.abandoned_at)


@BOTH
async def test_the_first_may_still_win_and_then_the_hedge_is_hung_up_on(scene: Scene, stream: bool) -> None:
    scene.play("loses", after(AFTER + 0.2), after(20.0))
    told = await scene.client.chat("loses", stream=stream)
    assert (told.text, told.reason) == ("hello from first", "weight")
    assert told.attempts == ["second/loses:hedge_loser", "first/loses:200"]
    hedge = scene.second.asked("loses")[-1]
    assert await eventually(lambda: hedge.abandoned_at)
    assert await eventually(scene.quiet)


async def test_who_answers_in_time_is_not_hedged(scene: Scene) -> None:
    for _ in range(10):
        told = await scene.client.chat("quick", stream=True)
        assert (told.attempts, told.reason) == (["first/quick:200"], "weight")
    assert scene.second.asked("quick") == []


async def test_if_the_hedge_fails_the_first_is_waited_for(scene: Scene) -> None:
    scene.play("fails", after(AFTER + 0.3), "status_500")
    told = await scene.client.chat("fails")
    assert (told.status, told.text) == (200, "hello from first")
    assert told.attempts == ["second/fails:500", "first/fails:200"]


async def test_a_client_that_leaves_takes_both_along(scene: Scene) -> None:
    scene.play("leaves", after(20.0), after(20.0))
    async with scene.gateway.call(chat("leaves", stream=True), "left-alone"):
        await eventually(lambda: scene.second.asked("leaves"))
    both = [scene.first.asked("leaves")[0], scene.second.asked("leaves")[0]]
    assert await eventually(lambda: all(one.abandoned_at for one in both))
    assert await eventually(scene.quiet)
    line = await scene.gateway.log_line("left-alone")
    assert (line["status"], line["end"]) == (499, "client_closed")
    assert sorted(one["outcome"] for one in line["attempts"]) == ["cancelled", "cancelled"]


async def test_a_pin_is_not_hedged_elsewhere(scene: Scene) -> None:
    scene.play("pinned", after(AFTER + 0.2))
    told = await scene.client.chat("pinned", X_Provider_Priority="first")
    assert (told.attempts, told.reason) == (["first/pinned:200"], "pin")
    assert scene.second.asked("pinned") == []


async def test_no_more_than_its_share_is_hedged_however_slow_the_first_is(scene: Scene) -> None:
    scene.play("tenth", after(0.1))
    calls = 200
    answers = await many(scene.gateway, [(chat("tenth", stream=True), ())] * calls)
    reasons = Counter(answer.header("x-route-reason") for answer in answers)
    assert {answer.status for answer in answers} == {200}
    assert len(scene.first.asked("tenth")) == calls
    hedges, won = len(scene.second.asked("tenth")), reasons["hedge"]
    assert reasons == {"weight": calls - won, "hedge": won}
    assert calls * 0.05 <= hedges <= calls * 0.1 + 1
    assert hedges / 2 <= won <= hedges, "on a busy machine the first may still be faster"
    attempts = await counted(scene.gateway, "breakwater_attempts_total")
    assert attempts["second/tenth", "200"] == attempts["first/tenth", "hedge_loser"] == won


async def test_hedges_are_paid_from_the_retry_budget(scene: Scene) -> None:
    """It has two retries, and earns none."""
    scene.play("paid", after(AFTER + 0.1))
    told = [await scene.client.chat("paid", stream=True) for _ in range(4)]
    assert [each.reason for each in told] == ["hedge", "hedge", "weight", "weight"]
    assert all(each.status == 200 for each in told)


async def test_a_loser_says_nothing_about_its_target(scene: Scene) -> None:
    """However often: it is not slow, not failing, not busy; only what it has answered counts."""
    losers = len([one for one in scene.first.asked("wins") if one.abandoned_at])
    assert losers
    states = await counted(scene.gateway, "breakwater_breaker_state")
    assert ("first/wins", "closed") in states
    moves = await counted(scene.gateway, "breakwater_breaker_moves_total")
    assert moves == {}


async def test_when_the_first_wins_the_reason_is_its_own(scene: Scene) -> None:
    """Here the hedge fails before the first answers: the client was served by whom it was sent to at first."""
    scene.play("reason", after(AFTER + 0.2), "status_500")
    told = await scene.client.chat("reason")
    assert (told.provider, told.reason) == ("first", "weight")
