"""An answer past its commit point: forwarded, counted, and settled exactly once.

All four endings settle: drained, failed midway, closed early, never read. Hold it in ``async with``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from providers import Chunk, Outcome, ProviderError, Stream, Usage
from router.decision import Decision
from router.errors import DeadlineExceeded
from router.policy import IGNORED, OK, Ending, Ticket, settle_all
from router.types import Attempt, Tried
from router.watchdog import Watchdog


class Reply:
    """``held`` are the chunks up to the first content. Iteration raises ``ProviderError`` or ``DeadlineExceeded``
    if the answer breaks off; it ends only if the answer is complete. ``ended`` is told how, when the tickets have been;
    ``usage`` is known once a chunk had it.
    """

    def __init__(
        self,
        attempt: Attempt,
        stream: Stream,
        held: list[Chunk],
        tickets: list[Ticket],
        decision: Decision,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # Not the attempt itself: it leads to the request, whose body would live as long as the stream.
        self.decision = decision
        self.route_reason = decision.reason or ""
        self.answered = attempt.target
        self.ended: Callable[[Ending], None] | None = None
        self.usage: Usage | None = None
        self._stream = stream
        self._held = deque(held)
        self._tickets = tickets
        self._now = loop.time
        self._watchdog: Watchdog | None = None
        if attempt.call.request.stream:
            self._watchdog = Watchdog(attempt.target.timeouts.idle, attempt.deadline, loop)

    def hold(self, tickets: list[Ticket]) -> None:
        """These are the reply's from here on: they end with the answer, after its own."""
        self._tickets = tickets + self._tickets
        tickets.clear()

    @property
    def attempts(self) -> Sequence[Tried]:
        """The last is the one that answered."""
        return self.decision.tried

    @property
    def waited(self) -> float:
        """Seconds that were spent waiting for upstreams, up to the first content."""
        return self.decision.waited

    @property
    def target(self) -> str:
        """provider/model that answered."""
        return self.decision.tried[-1].name

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
            chunk = self._held.popleft()
            self.usage = chunk.usage or self.usage
            return chunk
        try:
            if self._watchdog is None:
                chunk = await anext(self._stream)
            else:
                chunk = await self._watchdog.read(self._stream)
        except StopAsyncIteration as end:
            if end.args:  # the client has what there was, and no error; its target has failed all the same
                flaw: ProviderError = end.args[0]
                self._settle(Ending(flaw.outcome, flaw, midway=True, usage=self.usage))
            else:
                self._settle(OK if self.usage is None else Ending(Outcome.OK, usage=self.usage))
            raise
        except ProviderError as failure:
            self._settle(Ending(failure.outcome, failure, midway=True))
            raise
        except DeadlineExceeded:
            self._settle(IGNORED)
            raise
        if chunk.usage is not None:
            self.usage = chunk.usage
        return chunk

    async def aclose(self) -> None:
        """Close the upstream. If the answer has not ended by now, nobody is to blame."""
        self._settle(IGNORED)
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _settle(self, ending: Ending) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
        if self._tickets:
            settle_all(self._tickets, ending, self._now())
            if self.ended is not None:
                self.ended(ending)
