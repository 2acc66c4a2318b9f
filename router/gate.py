"""The gate: where a call waits until there is room for it. The only place of the core that does.

Who may go, who waits and who is turned away is decided by ``policies.shed``; here are the futures and the timers. Whoever
waits is called up in the turn of the loop after something has ended, never inside of it: however much ends at once, the
queue is looked through once, and everybody has been told by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from router.config import Shedding
from router.errors import Shed
from router.events import Admitted, Events
from router.events import Shed as TurnedAway
from router.policies.line import Waiter
from router.policies.shed import LABELS, Shedder
from router.policy import Ending, Ticket
from router.types import Call, Priority, Route


class Gate:
    """``enter`` first; ``wait`` if that gives no ticket. ``tokens``: what a call is expected to hold, input + 2 x output.
    ``has_room``: False if every target that could take it is at its limit.
    """

    def __init__(self, settings: Shedding, events: Events | None = None) -> None:
        self._shedder = Shedder(settings)
        self._events = events or Events()
        self._seats: dict[Waiter, _Seat] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calling_up = False

    def enter(self, call: Call, route: Route, tokens: int, has_room: Callable[[], bool], now: float) -> Ticket | None:
        """A ticket if the call may go at once, None if it has to wait. Raises ``Shed``."""
        try:
            if not self._shedder.enter(call, route, tokens, has_room, now):
                return None
        except Shed as shed:
            self._tell(call, shed, now)
            raise
        return self._ticket(call, tokens, now, 0.0)

    async def wait(
        self,
        call: Call,
        route: Route,
        tokens: int,
        has_room: Callable[[], bool],
        deadline: float,
        loop: asyncio.AbstractEventLoop,
    ) -> Ticket:
        """``deadline`` on the loop's clock. Raises ``Shed``, at once if waiting makes no sense. Cancelling it leaves the
        queue, and gives back what was granted in that very moment.
        """
        self._loop = loop
        now = loop.time()
        try:
            waiter, evicted = self._shedder.join(call, route, tokens, has_room, deadline, now)
        except Shed as shed:
            self._tell(call, shed, now)
            raise
        if evicted is not None:
            self._turn_away(evicted, "queue_evicted", now)
        try:
            await self._call_up_of(waiter, loop)
        except BaseException:
            if self._seats.pop(waiter, None) is not None:
                self._shedder.leave(waiter, loop.time())
                self._call_up_soon()
            raise
        del self._seats[waiter]
        arrived = loop.time()
        self._shedder.arrive(waiter, arrived)
        self._call_up_soon()
        return self._ticket(call, tokens, arrived, arrived - now)

    def poke(self, now: float) -> None:
        """Something has ended: there may be room again."""
        if self._shedder.waiting:
            self._call_up_soon()

    def release(self, tokens: int) -> None:
        """A call that held ``tokens`` is over."""
        self._shedder.release(tokens)
        if self._shedder.waiting:
            self._call_up_soon()

    @property
    def tokens_in_flight(self) -> int:
        return self._shedder.tokens

    @property
    def shed(self) -> Mapping[tuple[str, Priority], int]:
        """How many were turned away, by cause and priority."""
        return self._shedder.shed

    def describe(self, now: float) -> Mapping[str, Any]:
        return self._shedder.describe(now)

    async def _call_up_of(self, waiter: Waiter, loop: asyncio.AbstractEventLoop) -> None:
        """Returns when there is room for it. Raises ``Shed``."""
        while True:
            due = waiter.line.due(waiter, loop.time())
            seat = _Seat(loop.create_future(), loop.call_at(due, self._look_at, waiter, loop))
            self._seats[waiter] = seat
            self._call_up_soon()
            try:
                shed = await seat.verdict
            finally:
                seat.timer.cancel()
            if shed is not None:
                raise shed
            if waiter.has_room():
                return
            self._shedder.put_back(waiter)

    def _call_up_soon(self) -> None:
        assert self._loop is not None  # noqa: S101 - somebody waits, or has
        if not self._calling_up:
            self._calling_up = True
            self._loop.call_soon(self._call_up, self._loop)

    def _call_up(self, loop: asyncio.AbstractEventLoop) -> None:
        self._calling_up = False
        for waiter in self._shedder.call_up(loop.time()):
            self._seats[waiter].tell(None)

    def _look_at(self, waiter: Waiter, loop: asyncio.AbstractEventLoop) -> None:
        """Its time may be over."""
        now = loop.time()
        if self._shedder.expire(waiter, now):
            self._turn_away(waiter, "queue_timeout", now)
            self._call_up_soon()
        elif not waiter.called:
            due = waiter.line.due(waiter, now)
            self._seats[waiter].timer = loop.call_at(due, self._look_at, waiter, loop)

    def _turn_away(self, waiter: Waiter, cause: str, now: float) -> None:
        shed = self._shedder.refusal(cause, waiter.priority, waiter.line, now)
        seat = self._seats.pop(waiter)
        seat.timer.cancel()
        seat.tell(shed)
        self._tell(waiter.call, shed, now)

    def _ticket(self, call: Call, tokens: int, now: float, waited: float) -> Ticket:
        if self._events.wanted(Admitted):
            self._events.emit(Admitted(now, call.request.id, call.model, LABELS[call.priority], tokens, waited))
        return _Ticket(self, tokens)

    def _tell(self, call: Call, shed: Shed, now: float) -> None:
        if self._events.wanted(TurnedAway):
            self._events.emit(TurnedAway(now, call.request.id, call.model, LABELS[call.priority], shed.cause))


class _Seat:
    """Where one call waits for its verdict: None if it may go. ``timer`` watches its time."""

    __slots__ = ("timer", "verdict")

    def __init__(self, verdict: asyncio.Future[Shed | None], timer: asyncio.TimerHandle) -> None:
        self.verdict = verdict
        self.timer = timer

    def tell(self, verdict: Shed | None) -> None:
        if not self.verdict.done():  # else its client has left, and it has not noticed yet
            self.verdict.set_result(verdict)


class _Ticket:
    __slots__ = ("_gate", "_tokens")

    def __init__(self, gate: Gate, tokens: int) -> None:
        self._gate = gate
        self._tokens = tokens

    def begun(self, seconds: float, now: float) -> None:
        """Nothing changes: a stream holds its tokens until it ends."""

    def settle(self, ending: Ending, now: float) -> None:
        self._gate.release(self._tokens)
