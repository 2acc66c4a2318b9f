"""M7: half open, exactly N calls are let through, however many come at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import Exchange, FaultyServer, ok
from tests.e2e.harness import Answer, eventually
from tests.e2e.resilience.scene import Scene, open_scene, posts

pytestmark = pytest.mark.asyncio(loop_scope="module")

N = 5  # the default of breaker.half_open
CROWD = 100
OPEN_SECONDS = 0.6


class Held:
    """A fault that answers nothing until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, x: Exchange) -> None:
        if x.head.startswith(b"POST"):  # the gateway's own probe is a GET, and finds somebody at home
            await self.go.wait()
        await ok(x)


async def half_opened(faulty: StartFaulty, gateway: StartGateway) -> tuple[Scene, FaultyServer, Held]:
    """Alone on its route, ejected after five failures, and its time is just over."""
    only = await faulty("only", "status_500")
    breaker = {"open_base": OPEN_SECONDS}
    scene = await open_scene(gateway, only, retry={"max_attempts": 1}, breaker=breaker)
    for number in range(N):
        await scene.ask(f"failing-{number}")
    assert (await scene.breaker("only"))["state"] == "open"
    held = Held()
    only.fault = held
    only.exchanges.clear()
    await eventually(lambda: is_half_open(scene), within=5)
    return scene, only, held


async def is_half_open(scene: Scene) -> bool:
    return bool((await scene.breaker("only"))["state"] == "half_open")


async def until_all_but(running: int, crowd: list[asyncio.Task[Answer]]) -> None:
    await eventually(lambda: sum(one.done() for one in crowd) == len(crowd) - running, within=10)


async def test_m7_half_open_admits_exactly_five_of_100_that_come_at_once(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    scene, only, held = await half_opened(faulty, gateway)
    crowd = [asyncio.create_task(scene.ask(f"crowd-{number}")) for number in range(CROWD)]
    await until_all_but(N, crowd)
    await eventually(lambda: len(posts(only)) >= N)
    told = (await scene.breaker("only"))["probes"]
    assert (told["running"], told["results"], told["of"]) == (N, 0, N)
    assert len(posts(only)) == N, "as many as there are probes, and not one more"

    held.go.set()
    answers = await asyncio.gather(*crowd)
    assert Counter(answer.status for answer in answers) == {200: N, 503: CROWD - N}
    assert {answer.json["error"]["code"] for answer in answers if answer.status == 503} == {"no_healthy_target"}
    assert (await scene.breaker("only"))["state"] == "closed"
    assert (await scene.ask("afterwards")).status == 200
    assert len(posts(only)) == N + 1


async def test_m7_a_probe_whose_client_leaves_gives_its_place_to_another(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    scene, only, held = await half_opened(faulty, gateway)

    async def two_are_free() -> bool:
        probes = (await scene.breaker("only"))["probes"]
        return bool((probes["running"], probes["results"]) == (N - 2, 0))

    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(scene.call(f"first-{number}")) for number in range(N)]
        await eventually(lambda: len(posts(only)) == N, within=5)
        for call in calls[:2]:
            call.hang_up()
        await eventually(two_are_free)
        crowd = [asyncio.create_task(scene.ask(f"crowd-{number}")) for number in range(20)]
        await until_all_but(2, crowd)
        await eventually(lambda: len(posts(only)) >= N + 2)
        held.go.set()
        assert [(await call.rest()).status for call in calls[2:]] == [200] * (N - 2)
    assert Counter(answer.status for answer in await asyncio.gather(*crowd)) == {200: 2, 503: 18}
    assert (await scene.breaker("only"))["state"] == "closed"
    assert len(posts(only)) == N + 2


async def test_m7_probes_that_fail_open_it_again_and_for_longer(faulty: StartFaulty, gateway: StartGateway) -> None:
    scene, only, _ = await half_opened(faulty, gateway)
    only.fault = "status_500"
    answers = await asyncio.gather(*(scene.ask(f"crowd-{number}") for number in range(CROWD)))
    # One that comes when the first have failed already takes no place: five results decide.
    assert Counter(answer.status for answer in answers) == {502: N, 503: CROWD - N}
    assert len(posts(only)) == N
    told = await scene.breaker("only")
    assert (told["state"], told["ejections_in_a_row"]) == ("open", 2)
    assert told["open_until"]["in_seconds"] > OPEN_SECONDS
    assert (await scene.ask("the very next")).status == 503
    assert len(posts(only)) == N
