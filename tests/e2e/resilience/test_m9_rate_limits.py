"""M9: half of A's answers are fast 429s, and B is well. A fast refusal must not look like a fast answer."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import Exchange, ok, status
from tests.e2e.resilience.scene import Scene, open_scene, posts

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAVES, WAVE = 30, 20
SERVICE_SECONDS = 0.01
NEVER_OPENS = {"min_calls": 1_000_000}  # so that what shifts the traffic is the strategy, or the throttle


async def throttled(faulty: StartFaulty, gateway: StartGateway, **settings: Any) -> Scene:
    """A refuses every other call at once; an answer takes each of them as long."""
    turns = count()

    async def half_429(x: Exchange) -> None:
        if next(turns) % 2:
            await status(429)(x)
        else:
            await slow_ok(x)

    async def slow_ok(x: Exchange) -> None:
        await asyncio.sleep(SERVICE_SECONDS)
        await ok(x)

    a, b = await faulty("a", "ok"), await faulty("b", "ok")
    a.fault, b.fault = half_429, slow_ok
    retry = {"max_attempts": 2, "budget": {"enabled": False}, "concurrency": {"enabled": False}}
    return await open_scene(gateway, a, b, retry=retry, **settings)


async def shares_of_a(scene: Scene) -> list[float]:
    """Wave by wave, of all first attempts; A's consecutive failures are 0 after each."""
    shares = []
    for wave in range(WAVES):
        seen = [len(posts(upstream)) for upstream in scene.upstreams]
        answers = await asyncio.gather(*(scene.ask(f"{wave}-{number}") for number in range(WAVE)))
        assert {answer.status for answer in answers} == {200}, "B could have served them"
        first = [answer.headers["x-attempts"].partition("/")[0] for answer in answers]
        shares.append(first.count("a") / WAVE)
        assert [len(posts(upstream)) for upstream in scene.upstreams] != seen
        assert (await scene.breaker("a"))["consecutive_failures"] == 0
    print("A's share of the first attempts:", *(f"{share:.2f}" for share in shares))
    return shares


def mean(shares: list[float]) -> float:
    return sum(shares) / len(shares)


async def test_m9_by_latency_the_traffic_shifts_to_b(faulty: StartFaulty, gateway: StartGateway) -> None:
    off = {"enabled": False}
    scene = await throttled(faulty, gateway, strategy="latency", breaker=NEVER_OPENS, throttle=off, concurrency=off)
    shares = await shares_of_a(scene)
    assert mean(shares[10:]) < 0.1
    assert (await scene.breaker("a"))["state"] == "closed"


async def test_m9_by_weight_the_throttle_turns_away_what_a_would(faulty: StartFaulty, gateway: StartGateway) -> None:
    """Of 50, those that A would refuse go to B before they were asked: A keeps half of its share, and no more."""
    throttle, concurrency = {"window": 3, "min_per_second": 2}, {"enabled": False}
    scene = await throttled(faulty, gateway, breaker=NEVER_OPENS, throttle=throttle, concurrency=concurrency)
    shares = await shares_of_a(scene)
    assert 0.2 < mean(shares[10:]) < 0.33
    assert (await scene.breaker("a"))["state"] == "closed"


async def test_m9_by_weight_the_limit_of_a_falls_to_what_it_takes(faulty: StartFaulty, gateway: StartGateway) -> None:
    """Each 429 says that it was too much at once, so soon it has a few, and B the rest."""
    scene = await throttled(faulty, gateway, breaker=NEVER_OPENS, throttle={"enabled": False})
    shares = await shares_of_a(scene)
    assert mean(shares[10:]) < 0.25
    assert (await scene.target("a"))["limit"] < WAVE / 2


async def test_m9_with_the_defaults_the_rate_of_failures_ejects_a(faulty: StartFaulty, gateway: StartGateway) -> None:
    """429s count in the rate, never in a row."""
    scene = await throttled(faulty, gateway)
    shares = await shares_of_a(scene)
    assert mean(shares[5:]) < 0.1
