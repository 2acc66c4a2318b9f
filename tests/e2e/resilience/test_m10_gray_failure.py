"""M10: one call in a hundred takes twenty times as long. That is for an alert on the p99, and no reason to eject."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from worlds import PlayedStream, call_for, healthy, on_virtual_clock

from providers import ProviderError, Request
from router import RouterError
from router.events import BreakerMoved
from router.policies.breaker import Breaker
from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import Exchange, ok
from tests.e2e.resilience.scene import open_scene, posts
from tests.e2e.resilience.wired import wired

SHARE, TIMES = 0.01, 20.0
HOUR = 3600.0
PER_SECOND = 2.0


class Gray:
    """Log-normal times to first token around ``median`` seconds; one in a hundred takes twenty times as long."""

    def __init__(self, name: str, median: float) -> None:
        self.name = name
        self.calls = self.slow = 0
        self._median = median

    async def open(self, request: Request, model: str, connect_timeout: float) -> PlayedStream:
        rng = Random(f"{self.name}/{request.id}/{self.calls}")
        is_slow = rng.random() < SHARE
        self.calls += 1
        self.slow += is_slow
        await asyncio.sleep(self._median * rng.lognormvariate(0, 0.3) * (TIMES if is_slow else 1.0))
        return PlayedStream(healthy(every=0.02))

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("median", "beyond"),
    [(0.5, "neither limit"), (1.2, "what counts as slow, 20 s"), (2.0, "the time for a first token, 30 s")],
    ids=["0.5s", "1.2s", "2s"],
)
@on_virtual_clock
async def test_m10_for_an_hour_the_breaker_stays_closed(median: float, beyond: str) -> None:
    upstream = Gray("gray", median)
    gateway = wired({"routes": [{"model": "m", "targets": [{"provider": "gray", "model": "x"}]}]}, {"gray": upstream})
    moves: list[BreakerMoved] = []
    gateway.events.listen(moves.append, BreakerMoved)
    (live,) = gateway.lives.values()
    breaker = live.guard(Breaker)
    assert breaker is not None
    failed = 0

    async def client(number: int) -> None:
        nonlocal failed
        try:
            async with await gateway.dispatcher.open(call_for(f"r{number}")) as reply:
                async for _ in reply:
                    pass
        except (RouterError, ProviderError):
            failed += 1

    rng, loop = Random(10), asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        number = 0
        while loop.time() < HOUR:
            await asyncio.sleep(rng.expovariate(PER_SECOND))
            group.create_task(client(number))
            number += 1
    print(f"{upstream.calls} calls, {upstream.slow} of them slow ({beyond} is passed), {failed} failed")
    assert upstream.slow > 40
    assert moves == []
    assert breaker.state_at(loop.time()) == "closed"
    await gateway.aclose()


CALLS, FAST_SECONDS = 400, 0.005


@pytest.mark.asyncio(loop_scope="module")
async def test_m10_on_sockets_the_breaker_stays_closed(faulty: StartFaulty, gateway: StartGateway) -> None:
    """Slow calls here pass what counts as slow, and are 1 in 100; alone and ten at once."""
    only = await faulty("only", "ok")

    async def gray(x: Exchange) -> None:
        await asyncio.sleep(FAST_SECONDS * (TIMES if len(x.server.exchanges) % 100 == 50 else 1.0))
        await ok(x)

    only.fault = gray
    scene = await open_scene(gateway, only, breaker={"slow_first_token": FAST_SECONDS * TIMES * 0.9})
    for wave in range(CALLS // 10):
        answers = await asyncio.gather(*(scene.ask(f"{wave}-{number}") for number in range(10)))
        assert {answer.status for answer in answers} == {200}
    breaker = await scene.breaker("only")
    assert len(posts(only)) == CALLS
    assert breaker["slow"] >= CALLS // 100
    assert (breaker["state"], breaker["failures"], breaker["since"]) == ("closed", 0, None)
