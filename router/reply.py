"""An answer past its commit point: forwarded, counted, and settled exactly once.

All four endings settle: drained, failed midway, closed early, never read. Hold it in ``async with``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Self

from providers import Chunk, Outcome, ProviderError, Stream
from router.errors import DeadlineExceeded
from router.policy import Settle, settle_all
from router.types import Attempt, Call, Tried
from router.watchdog import Watchdog


def route_reason(attempts: Sequence[Tried], call: Call) -> str:
    """Why the last target: failover if any attempt went to another one, else sticky, pin or weight."""
    if any(tried.target is not attempts[-1].target for tried in attempts):
        return "failover"
    if call.pin is None:
        return "weight"
    return "sticky" if call.pin.sticky else "pin"


class Reply:
    """``held`` are the chunks up to the first content. Iteration raises ``ProviderError`` or ``DeadlineExceeded``
    if the answer breaks off; it ends only if the answer is complete.
    """

    def __init__(
        self,
        attempt: Attempt,
        stream: Stream,
        held: list[Chunk],
        tickets: list[Settle],
        attempts: tuple[Tried, ...],
        waited: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # Not the attempt itself: it leads to the request, whose body would live as long as the stream.
        self.attempts = attempts
        self.route_reason = route_reason(attempts, attempt.call)
        self.waited = waited
        self._stream = stream
        self._held = deque(held)
        self._tickets = tickets
        self._now = loop.time
        self._watchdog: Watchdog | None = None
        if attempt.call.request.stream:
            self._watchdog = Watchdog(attempt.target.timeouts.idle, attempt.deadline, loop)

    @property
    def target(self) -> str:
        """provider/model that answered."""
        return self.attempts[-1].name

    @property
    def headers(self) -> Mapping[str, str]:
        """The upstream's response headers that may travel to the client."""
        return self._stream.headers

    @property
    def media_type(self) -> str:
        return self._stream.media_type

    @property
    def begun(self) -> bytes:
        """What is in hand already, and not yet read: up to the first content, or the whole body."""
        return b"".join([chunk.raw for chunk in self._held])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._held:
            return self._held.popleft()
        try:
            if self._watchdog is None:
                return await anext(self._stream)
            return await self._watchdog.read(self._stream)
        except StopAsyncIteration:
            self._settle(Outcome.OK)
            raise
        except ProviderError as failure:
            self._settle(failure.outcome)
            raise
        except DeadlineExceeded:
            self._settle(Outcome.IGNORED)
            raise

    async def aclose(self) -> None:
        """Close the upstream. If the answer has not ended by now, nobody is to blame."""
        self._settle(Outcome.IGNORED)
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _settle(self, outcome: Outcome) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
        settle_all(self._tickets, outcome, self._now())
