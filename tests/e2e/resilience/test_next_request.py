"""With the n-th failure the very next request does not reach the target, whatever its weight."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import Exchange, ok, status
from tests.e2e.resilience.scene import Scene, open_scene, posts

pytestmark = pytest.mark.asyncio(loop_scope="module")

AFTERWARDS = 30
BROKEN = ("status_500", "reset_after_headers", "empty_200")


async def ask_until(scene: Scene, calls: int) -> None:
    """Until the first upstream has had so many calls."""
    first, number = scene.upstreams[0], 0
    while len(posts(first)) < calls:
        number += 1
        await scene.ask(f"before-{number}")
        assert number < 10 * calls, "it gets nothing"


async def assert_no_further_call(scene: Scene, calls: int) -> None:
    """One after the other, the very next first: none reaches the first upstream."""
    for number in range(AFTERWARDS):
        answer = await scene.ask(f"after-{number}")
        assert len(posts(scene.upstreams[0])) == calls, f"request {number} after the last failure"
        if len(scene.upstreams) > 1:
            assert (answer.status, answer.text) == (200, f"hello from {scene.upstreams[1].name}")
        else:
            assert (answer.status, answer.json["error"]["code"]) == (503, "no_healthy_target")
            assert 1 <= int(answer.headers["retry-after"]) <= 60


@pytest.mark.parametrize("fault", BROKEN)
async def test_after_five_failures_in_a_row_a_target_of_weight_200_to_1_gets_no_call(
    faulty: StartFaulty, gateway: StartGateway, fault: str
) -> None:
    heavy, light = await faulty("heavy", fault), await faulty("light", "ok")
    scene = await open_scene(
        gateway,
        heavy,
        light,
        targets=[{"weight": 200}, {"weight": 1}],
        retry={"max_attempts": 1},
        breaker={"min_calls": 1000},
    )
    await ask_until(scene, 5)
    assert (await scene.breaker("heavy"))["state"] == "open"
    await assert_no_further_call(scene, 5)


async def test_nor_does_a_retry_of_the_same_call(faulty: StartFaulty, gateway: StartGateway) -> None:
    """Alone on its route: the third attempt of the second call would have been the sixth in a row."""
    only = await faulty("only", "status_500")
    scene = await open_scene(gateway, only, retry={"max_attempts": 3, "backoff": {"base": 0}})
    first, second = await scene.ask("first"), await scene.ask("second")
    assert (first.status, second.status) == (502, 502)
    assert len(posts(only)) == 5
    await assert_no_further_call(scene, 5)


@pytest.mark.parametrize("weights", [(200, 1), (1, 1)])
async def test_after_ten_calls_at_half_a_failure_rate_it_gets_no_call(
    faulty: StartFaulty, gateway: StartGateway, weights: tuple[int, int]
) -> None:
    heavy, light = await faulty("heavy", "ok"), await faulty("light", "ok")
    broken = status(500)
    turns: Iterator[bool] = iter([True, False] * 5)

    async def every_other(x: Exchange) -> None:
        await (broken if not next(turns) else ok)(x)

    heavy.fault = every_other
    scene = await open_scene(
        gateway,
        heavy,
        light,
        targets=[{"weight": weight} for weight in weights],
        retry={"max_attempts": 1},
        breaker={"consecutive": 1000},
    )
    await ask_until(scene, 9)
    assert (await scene.breaker("heavy"))["state"] == "closed", "nine calls say nothing yet"
    await ask_until(scene, 10)
    assert (await scene.breaker("heavy"))["state"] == "open"
    await assert_no_further_call(scene, 10)
