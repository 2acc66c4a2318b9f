"""A provider that exists only on the clock: a queue, and so many calls a second."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence

from providers import Chunk, Request, Stream
from providers.scripted import ScriptedStream, Step

BODY = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}'
_ANSWER = (Step(0.0, Chunk(BODY, content=True)),)
MEDIA_TYPE = "application/json"


class Server:
    """One call after the other, first come, first served, with a queue that has no end. ``capacity`` a second, at a time.

    ``patience`` None: a call whose caller has gone is worked off like any other, as most servers do. Else it is how long callers
    wait, in seconds, and what could not be finished by then is left out.
    ``stopped``: spans of time (from, until) in which nothing is worked off; what comes meanwhile waits. Times are the loop's.
    """

    def __init__(
        self,
        name: str,
        capacity: Callable[[float], float],
        *,
        patience: float | None = None,
        stopped: Sequence[tuple[float, float]] = (),
    ) -> None:
        self.name = name
        self.arrived = 0
        self.served = 0
        self._capacity = capacity
        self._patience = math.inf if patience is None else patience
        self._stopped = stopped
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._working = False

    @property
    def queued(self) -> int:
        return len(self._waiting)

    async def open(self, request: Request, model: str, connect_timeout: float) -> Stream:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self.arrived += 1
        self._waiting.append((loop.time(), turn))
        if not self._working:
            self._next(loop)
        await turn
        return ScriptedStream(_ANSWER, MEDIA_TYPE)

    async def aclose(self) -> None:
        self._waiting.clear()

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with the first that waits."""
        self._working = False
        while self._waiting:
            came, turn = self._waiting.popleft()
            now = loop.time()
            begins = next((until for since, until in self._stopped if since <= now < until), now)
            ends = begins + 1.0 / self._capacity(begins)
            if ends <= came + self._patience:
                self._working = True
                loop.call_at(ends, self._finish, turn, loop)
                return

    def _finish(self, turn: asyncio.Future[None], loop: asyncio.AbstractEventLoop) -> None:
        if not turn.done():  # its caller is still there
            self.served += 1
            turn.set_result(None)
        self._next(loop)
