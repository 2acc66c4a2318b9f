"""Providers behind faults on the virtual clock, and what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from worlds import Upstream, healthy, now, request

from providers import ProviderError, Request, Stream
from providers.base import Injected
from providers.faults import Hit
from providers.faults.http_5xx import Http5xx
from providers.faults.slow_ttft import SlowTtft
from providers.law import Law
from router.chaos import Chaos, Rule, faulty
from router.config import Chaos as Config
from router.events import Events, FaultInjected, FaultOverflowed, FaultStarted, FaultStopped
from router.sim import VirtualLoop


class Site:
    """``a`` and ``b``, each of which may be broken; ``in_flight`` is what the chaos believes to run."""

    def __init__(self, **config: Any) -> None:
        self.in_flight = 1000
        self.events = Events()
        self.told: list[Any] = []
        for kind in (FaultStarted, FaultStopped, FaultInjected, FaultOverflowed):
            self.events.listen(self.told.append, kind)
        self.chaos = Chaos(Config(**config), self.events, lambda: self.in_flight)
        self.upstreams = {name: Upstream(name, healthy()) for name in ("a", "b")}
        known = {"a/m", "a/*", "b/m"}
        self._providers = {name: faulty(upstream, self.chaos, known) for name, upstream in self.upstreams.items()}

    async def open(self, asked: Request, target: str = "a/m") -> Stream:
        name, _, model = target.partition("/")
        return await self._providers[name].open(asked, model, 5.0)

    async def call(self, request_id: str, target: str = "a/m", **more: Any) -> bool:
        """One whole attempt: whether it met a fault."""
        injected: list[Injected] = []
        asked = request(request_id)._replace(faults=injected, **more)
        try:
            stream = await self.open(asked, target)
        except ProviderError:
            return bool(injected)
        async for _ in stream:
            pass
        await stream.aclose()
        return bool(injected)

    async def hit(self, ids: Sequence[str], target: str = "a/m", **more: Any) -> set[str]:
        """Those that met a fault."""
        return {one for one in ids if await self.call(one, target, **more)}

    def kinds_told(self) -> list[str]:
        return [type(event).__name__ for event in self.told]

    def why(self, fault: str) -> str:
        (found,) = [stopped.why for stopped in self.chaos.stopped if stopped.acting.rule.id == fault]
        return found

    @property
    def active(self) -> int:
        stopped = {id(each.acting): each.acting for each in self.chaos.stopped}
        return sum(each.active for each in (*self.chaos.acting.values(), *stopped.values()))


def rule(fault_id: str = "f", *targets: str, fault: Any = None, **more: Any) -> Rule:
    given: dict[str, Any] = {"ttl": 60.0, **more}
    return Rule(fault_id, "http_5xx", fault or Http5xx([503]), targets or ("a/m",), **given)


def holding(seconds: float = 1000.0) -> SlowTtft:
    """Keeps an attempt under it for so long."""
    return SlowTtft(delay=Law("constant", seconds))


@dataclass(slots=True, eq=False)
class Locked:
    """A fault of a test's own: nobody passes before its end."""

    async def refuse(self, hit: Hit) -> None:
        while not hit.hold.over:
            await hit.hold.sleep(1e6)


class Probed(Upstream):
    """An upstream that can be asked cheaply."""

    probes = 0

    async def probe(self, connect_timeout: float) -> None:
        self.probes += 1


def timers() -> int:
    """That are still set."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return len(loop.pending())


async def settle() -> None:
    """All that can go on now has."""
    for _ in range(10):
        await asyncio.sleep(0)


async def until(second: float) -> None:
    await asyncio.sleep(max(0.0, second - now()))
    await settle()


def started(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine)
