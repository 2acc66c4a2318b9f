"""Copies of some calls to another target, whose answers nobody sees: what would it have done with this traffic?

A copy never affects its caller: it is sent once the caller's own answer has begun, has limits of its own, and counts for no
budget, breaker or health (Envoy's request_mirror_policies). What goes beyond the limits is not sent, and counted. Its answer
is read as a caller's would be, to the end and within the timeouts of its target, so that it fails as a caller's would.
"""

from __future__ import annotations

import asyncio
from functools import partial

from providers import ProviderError
from router.decision import Decision
from router.demand import demand
from router.dispatch import begin
from router.errors import DeadlineExceeded
from router.reply import Reply
from router.select.chance import unit
from router.types import Attempt, Call, Route, Target

# Of all copies that run at once. Bodies are held for as long as their copies run, and pictures are large for their tokens.
MAX_RUNNING = 32
MAX_TOKENS = 200_000
MAX_BYTES = 64 * 1024 * 1024


class Mirrors:
    """``outcomes`` counts the copies by how they ended: 200, a failure's label, "deadline", "cancelled" as the gateway
    stopped, or "dropped" for those not sent. ``tokens`` and ``bytes`` are what those that run hold.
    """

    def __init__(self, seed: int = 0) -> None:
        self.outcomes: dict[tuple[Target, str], int] = {}
        self.tokens = 0
        self.bytes = 0
        self._seed = seed
        self._running: set[asyncio.Task[str]] = set()

    @property
    def running(self) -> int:
        return len(self._running)

    def offer(self, call: Call, route: Route) -> None:
        """Send a copy if the route wants one of this call. In a coroutine of the event loop; never waits, never fails."""
        mirror = route.mirror
        if mirror is None or unit(self._seed, call.request.id, "mirror") >= mirror.share:
            return
        prompt, tokens = demand(call.request, route)
        size = len(call.request.body)
        if self.running >= MAX_RUNNING or self.tokens + tokens > MAX_TOKENS or self.bytes + size > MAX_BYTES:
            self._count(mirror.target, "dropped")
            return
        loop = asyncio.get_running_loop()
        attempt = Attempt(_copy_of(call), route, mirror.target, 1, 0.0, loop.time() + route.total, tokens, prompt)
        self.tokens += tokens
        self.bytes += size
        task = loop.create_task(_send(attempt, loop))
        self._running.add(task)
        task.add_done_callback(partial(self._ended, mirror.target, tokens, size))

    async def aclose(self) -> None:
        """Those that run are cancelled, and closed upstream."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, target: Target, tokens: int, size: int, task: asyncio.Task[str]) -> None:
        self._running.discard(task)
        self.tokens -= tokens
        self.bytes -= size
        # A bug of ours is raised here, and so told by the loop: nobody waits for the task.
        self._count(target, "cancelled" if task.cancelled() else task.result())

    def _count(self, target: Target, label: str) -> None:
        self.outcomes[target, label] = self.outcomes.get((target, label), 0) + 1


def _copy_of(call: Call) -> Call:
    """Under an id of its own. The caller's deadline is not the copy's."""
    request = call.request
    copy_id = f"{request.id}-mirror"
    headers = {**request.headers, "x-request-id": copy_id}
    return Call(request._replace(id=copy_id, headers=headers, faults=None), call.model)


async def _send(attempt: Attempt, loop: asyncio.AbstractEventLoop) -> str:
    """The label of how it ended."""
    try:
        stream, held = await begin(attempt, loop.time(), loop)
        async with Reply(attempt, stream, held, [], Decision(), loop) as reply:
            async for _ in reply:
                pass
    except ProviderError as failure:
        return failure.label
    except DeadlineExceeded:
        return "deadline"
    return "200"
