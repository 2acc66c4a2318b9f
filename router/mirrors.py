"""Copies of some calls to another target, whose answers nobody sees: what would it have done with this traffic?

A copy never affects its caller: it is sent once the caller's own answer has begun, has limits of its own, and counts for no
budget, breaker or health (Envoy's request_mirror_policies). What goes beyond the limits is not sent, and counted.
"""

from __future__ import annotations

import asyncio

from providers import ProviderError
from router.demand import demand
from router.select.chance import unit
from router.time_limit import TimeLimit
from router.types import Call, Route, Target

MAX_RUNNING = 32
MAX_TOKENS = 200_000


class Mirrors:
    """``outcomes`` counts the copies by how they ended: 200, a failure's label, or "dropped" for those not sent."""

    def __init__(self, seed: int = 0) -> None:
        self.outcomes: dict[tuple[Target, str], int] = {}
        self.tokens = 0
        self._seed = seed
        self._running: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        return len(self._running)

    def offer(self, call: Call, route: Route) -> None:
        """Send a copy if the route wants one of this call. In a coroutine of the event loop."""
        mirror = route.mirror
        if mirror is None or unit(self._seed, call.request.id, "mirror") >= mirror.share:
            return
        tokens = demand(call.request, route)
        if len(self._running) >= MAX_RUNNING or self.tokens + tokens > MAX_TOKENS:
            self._count(mirror.target, "dropped")
            return
        task = asyncio.get_running_loop().create_task(self._send(call, mirror.target, tokens))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def aclose(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _send(self, call: Call, target: Target, tokens: int) -> None:
        copy_id = f"{call.request.id}-mirror"
        request = call.request._replace(id=copy_id, headers={**call.request.headers, "x-request-id": copy_id})
        loop = asyncio.get_running_loop()
        timeouts = target.timeouts
        label = "cancelled"
        self.tokens += tokens
        try:
            with TimeLimit(loop, loop.time() + timeouts.total):
                stream = await target.provider.open(request, target.model or call.model, timeouts.connect)
                try:
                    async for _ in stream:
                        pass
                finally:
                    await stream.aclose()
            label = "200"
        except ProviderError as error:
            label = error.label
        except TimeoutError:
            label = "timeout"
        finally:
            self.tokens -= tokens
            self._count(target, label)

    def _count(self, target: Target, label: str) -> None:
        self.outcomes[target, label] = self.outcomes.get((target, label), 0) + 1
