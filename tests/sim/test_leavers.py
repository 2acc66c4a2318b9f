"""Callers who leave: they starve no target that others share, and a target that is drowned is found out however little is known of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest
from worlds import now, on_virtual_clock

from app.drills.load import plan
from app.drills.run import run
from app.drills.shipped import shipped
from app.drills.verdict import verdicts
from app.settings import Settings
from app.wiring import Gateway, build
from providers import Endpoint, Request, Stream
from providers.law import Law
from router import Call
from router.decision import Decision
from router.errors import RouterError
from router.sim.server import Server
from router.sim.service import Service
from router.sim.wording import written

SEED = 5
HARD = "hard-"
HARD_SECONDS = 90.0


class Healthy(Server):
    """Bears anything; what is asked for with an id that begins with HARD takes that much longer to its first content."""

    async def open(self, request: Request, model: str, connect_timeout: float) -> Stream:
        if request.id.startswith(HARD):
            await asyncio.sleep(HARD_SECONDS)
        return await super().open(request, model, connect_timeout)


class Town:
    """One target, those who call it, and how their calls ended."""

    def __init__(self, service: Service) -> None:
        settings = {
            "providers": [{"name": "a", "kind": "mock"}],
            "routes": [{"model": "m", "targets": [{"provider": "a"}]}],
        }
        self.gateway: Gateway = build(
            Settings.model_validate(settings),
            make=lambda entry: Healthy(entry.name, service),
            stopwatch=asyncio.get_running_loop().time,
        )
        self.endings: Counter[tuple[str, str]] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def call(self, who: str, request_id: str, *, stream: bool, patience: float | None = None) -> None:
        body, fields = written("m", 10, None, stream=stream)
        call = Call(Request(request_id, Endpoint.CHAT, body, fields, stream, {}), "m")
        ending = "ok"
        try:
            async with asyncio.timeout(patience) as limit:
                reply = await self.gateway.dispatcher.open(call, Decision())
                limit.reschedule(None)
            async with reply:
                async for _ in reply:
                    pass
        except TimeoutError:
            ending = "left"
        except RouterError as error:
            ending = error.reason
        self.endings[who, ending] += 1

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(coroutine))

    async def close(self) -> None:
        await asyncio.gather(*self._tasks)
        await self.gateway.aclose()

    def of(self, who: str) -> dict[str, int]:
        return {ending: count for (name, ending), count in self.endings.items() if name == who}


@pytest.mark.parametrize("rate", [0.5, 2.0])
@pytest.mark.parametrize("attackers", [5, 50])
def test_whoever_opens_streams_and_leaves_them_starves_nobody(rate: float, attackers: int) -> None:
    """However few the others are, and whatever silences there are by chance between two of their answers."""

    @on_virtual_clock
    async def scenario() -> None:
        town = Town(
            Service(ttft=Law("lognormal", 0.3, 0.3), token_interval=Law("constant", 0.1), tokens=Law("constant", 298))
        )
        chance = Random(SEED)

        async def attack() -> None:
            for turn in range(400):
                leavers = (
                    town.call("attacker", f"{HARD}{turn}-{each}", stream=True, patience=1.05)
                    for each in range(attackers)
                )
                await asyncio.gather(*leavers, asyncio.sleep(1.1))

        town.start(attack())
        while now() < 500:
            await asyncio.sleep(chance.expovariate(rate))
            town.start(town.call("victim", f"v{now()}", stream=True))
        await town.close()
        print(f"seed {SEED}: {town.of('victim')}, {town.of('attacker')}")
        assert town.of("victim").keys() == {"ok"}
        assert town.gateway.lives["a/m"].limit == pytest.approx(1000.0)

    scenario()


@on_virtual_clock
async def test_an_agent_with_hard_questions_costs_its_neighbours_nothing() -> None:
    """Eight at once, whose client gives up after 30 s and asks twice again, as SDKs do; besides, bursts of ordinary calls."""
    town = Town(
        Service(ttft=Law("constant", 0.5), token_interval=Law("constant", 0.05), tokens=Law("lognormal", 160, 0.6))
    )

    async def ask(name: str) -> None:
        for turn in range(3):
            await town.call("agent", f"{HARD}{name}.{turn}", stream=False, patience=30.0)
            await asyncio.sleep(0.5 * 2**turn)

    for turn in range(10):
        for each in range(8):
            town.start(ask(f"{turn}-{each}"))
        await asyncio.sleep(290)
        for each in range(40):
            town.start(town.call("neighbour", f"n{turn}-{each}", stream=False, patience=60.0))
        await asyncio.sleep(310)
    await asyncio.sleep(15)
    await town.call("neighbour", "the last", stream=False)
    await town.close()
    assert town.of("neighbour") == {"ok": 401}
    assert sum(town.of("agent").values()) == 240
    assert town.gateway.lives["a/m"].limit == pytest.approx(1000.0)


def test_a_gateway_that_is_started_in_the_middle_of_it_finds_out_too(tmp_path: Path) -> None:
    """It has seen no answer, and knows of nothing what is usual. To start it anew is what operators do first."""
    text = shipped()["impatient-clients"].read_text()
    text = text.replace("[[0, 1], [20, 0], [40, 1]]", "[[0, 0], [20, 1]]").partition("expect:")[0]
    (tmp_path / "restart.yaml").write_text(f"{text}expect:\n  - recovers: {{after: 20, to: 0.95, within: 30}}\n")
    made = plan(tmp_path / "restart.yaml")
    (verdict,) = verdicts(made, run(made))
    assert verdict.held, verdict.told
