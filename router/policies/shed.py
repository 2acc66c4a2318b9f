"""Load shedding: who comes in, who waits and who is turned away when there is too much. Never a stream that has begun.

    enter ───► in, or turned away (progressive), or has to wait
    join ────► waits, maybe in another's place (queue_evicted), or is turned away (progressive, expected_wait, queue_full)
    call_up ─► those who may go; each then ``arrive``s, or is ``put_back`` if its room was gone
    expire ──► turned away (queue_timeout)

Capacity is counted in tokens, input + 2 x output, because that is what a stream holds upstream. Nobody overtakes, and a
higher priority always goes first. One queue for the gateway, in lines: calls of one route and pin wait for the same room,
so a route without room holds up nobody else's. Synchronous, and time is an argument; the waiting is the gate's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from router.config import Shedding
from router.errors import Shed
from router.policies.line import Line, Waiter
from router.types import Call, Pin, Priority, Route

# Below this share of the tokens there is no overload.
CALM = 0.8
# Netflix: a call is turned away if its rank, 100 being the first to go, exceeds 100 * (1 - overload**3). So batch goes at an
# overload of 0.63 (of the tokens: 93 %) and sheddable at 0.79 (96 %); default and critical are never turned away by rank.
RANKS = (75.0, 50.0, 0.0, 0.0)
LABELS = tuple(priority.name.lower() for priority in Priority)
CRITICAL_PATIENCE = 1 / 16  # of the time that it may wait at all
HIGHEST_FIRST = tuple(sorted(Priority, reverse=True))
RETRY_AFTER_LEAST, RETRY_AFTER_MOST = 1.0, 60.0
TICK = 0.001  # uvloop counts in milliseconds, and its timers may be early by one
NOBODY = -1


class Shedder:
    """``tokens`` are in flight, ``waiting`` calls in the queue; ``shed`` counts by cause and priority."""

    def __init__(self, settings: Shedding) -> None:
        self.tokens = 0
        self.waiting = 0
        self.shed: Counter[tuple[str, Priority]] = Counter()
        self._enabled = settings.enabled
        self._most = settings.max_tokens_in_flight
        self._calm = settings.max_tokens_in_flight * CALM
        self._length = settings.queue.length
        self._timeout = settings.queue.timeout
        self._lines: dict[tuple[str, Pin | None], Line] = {}
        self._called = 0
        self._ended = 0
        self._blocked: int = NOBODY

    def enter(self, call: Call, route: Route, tokens: int, has_room: Callable[[], bool], now: float) -> bool:
        """Whether it is in; if not, it has to wait. Raises ``Shed``."""
        held = self.tokens
        if self._enabled:
            if held > self._calm and outranked(call.priority, (held - self._calm) / (self._most - self._calm)):
                raise self.refusal("progressive", call.priority, self._lines.get((route.model, call.pin)), now)
            if held and held + tokens > self._most:  # what is larger than the whole runs alone
                return False
            if self.waiting and self._comes_after(call, route):
                return False
            if not has_room():
                return False
        self.tokens = held + tokens
        return True

    def release(self, tokens: int) -> None:
        """A call is over."""
        self.tokens -= tokens
        if self.waiting:
            self._ended += 1

    def join(
        self, call: Call, route: Route, tokens: int, has_room: Callable[[], bool], deadline: float, now: float
    ) -> tuple[Waiter, Waiter | None]:
        """Its place in the queue, and who had to leave for it. Raises ``Shed``, and what ``has_room`` raises."""
        line = self._line(route.model, call.pin, now)
        waiter = Waiter(call, line, tokens, has_room, now, min(now + self._timeout, deadline))
        self._look_ahead(waiter, now)
        evicted = None
        if self.waiting >= self._length:
            evicted = self._least_below(call.priority)
            if evicted is None:
                raise self.refusal("queue_full", call.priority, line, now)
        has_room()  # what is wrong with the call itself is for its caller to hear, not for who calls up the queue
        if evicted is not None:
            self._remove(evicted, now)
        line.join(waiter)
        self.waiting += 1
        return waiter, evicted

    def call_up(self, now: float) -> Iterator[Waiter]:
        """Those who may go now; their tokens are taken. As many as calls have ended since the last time, or one: what these
        take is seen only when they have arrived, and then the next are called up.
        """
        if self._called:
            return
        most, self._ended = max(1, self._ended), 0
        while self._called < most and (waiter := self._next(now)) is not None:
            waiter.called = True
            self._called += 1
            self.tokens += waiter.tokens
            yield waiter

    def arrive(self, waiter: Waiter, now: float) -> None:
        """It has found room, and is in."""
        self._called -= 1
        self._remove(waiter, now, served=True)

    def put_back(self, waiter: Waiter) -> None:
        """There was no room after all: it waits on, where it was."""
        waiter.called = False
        self._called -= 1
        self.tokens -= waiter.tokens

    def leave(self, waiter: Waiter, now: float) -> None:
        """Its client has left."""
        if waiter.called:
            self.put_back(waiter)
        self._remove(waiter, now)

    def expire(self, waiter: Waiter, now: float) -> bool:
        """Whether its time is over; it has then left."""
        if waiter.called or now < waiter.line.due(waiter, now) - TICK:
            return False
        self._remove(waiter, now)
        return True

    def refusal(self, cause: str, priority: Priority, line: Line | None, now: float) -> Shed:
        """Counted; its ``retry_after`` is what those ahead of it, and it itself, take to drain."""
        self.shed[cause, priority] += 1
        seconds = 0.0 if line is None else (line.ahead(priority) + 1) / line.rate(now)
        return Shed(cause, min(RETRY_AFTER_MOST, max(RETRY_AFTER_LEAST, seconds)))

    def describe(self, now: float) -> Mapping[str, Any]:
        lines = [(model, pin, line) for (model, pin), line in self._lines.items() if line.ahead(Priority.BATCH)]
        shed: dict[str, dict[str, int]] = {}
        for (cause, priority), count in sorted(self.shed.items()):
            shed.setdefault(cause, {})[LABELS[priority]] = count
        return {
            "enabled": self._enabled,
            "tokens_in_flight": self.tokens,
            "max_tokens_in_flight": self._most,
            "waiting": {LABELS[priority]: sum(line.waiting(priority) for *_, line in lines) for priority in Priority},
            "queues": [
                {"model": model, "providers": pin.providers if pin else None, **line.describe(now)}
                for model, pin, line in lines
            ],
            "shed": shed,
        }

    def _comes_after(self, call: Call, route: Route) -> bool:
        """Someone of its priority or a higher one waits for the same room, or for tokens."""
        if call.priority <= self._blocked:
            return True
        line = self._lines.get((route.model, call.pin))
        return line is not None and line.ahead(call.priority) > 0

    def _look_ahead(self, waiter: Waiter, now: float) -> None:
        """Raises ``Shed`` if it would wait for longer than it may: it had better know at once."""
        line, priority = waiter.line, waiter.priority
        ahead = line.ahead(priority)
        if not ahead:
            return
        expected = ahead / line.rate(now)
        patience = waiter.expires - now
        if line.stands(priority, now):
            patience = line.target(now)
            if priority is Priority.CRITICAL:  # a few that come together are no overload of the highest
                patience = max(patience, (waiter.expires - now) * CRITICAL_PATIENCE)
            if outranked(priority, expected / patience):
                raise self.refusal("progressive", priority, line, now)
        if expected > patience:
            raise self.refusal("expected_wait", priority, line, now)

    def _next(self, now: float) -> Waiter | None:
        """The first in order that has room; None if nobody has, or if there are too few tokens for the one that has."""
        self._blocked = NOBODY
        for priority in HIGHEST_FIRST:
            for key, line in self._lines.items():
                waiter = line.first(priority, now)
                if waiter is None or not waiter.has_room():
                    continue
                if self.tokens and self.tokens + waiter.tokens > self._most:
                    self._blocked = priority
                    return None
                self._lines[key] = self._lines.pop(key)  # the lines take turns
                return waiter
        return None

    def _least_below(self, priority: Priority) -> Waiter | None:
        """The newest of the lowest priority, if that is below ``priority``."""
        for lower in range(priority):
            newest = [waiter for line in self._lines.values() if (waiter := line.newest(lower)) is not None]
            if newest:
                return max(newest, key=lambda waiter: waiter.arrived)
        return None

    def _line(self, model: str, pin: Pin | None, now: float) -> Line:
        line = self._lines.get((model, pin))
        if line is None or line.forgotten(now):
            self._lines = {key: line for key, line in self._lines.items() if not line.forgotten(now)}
            line = self._lines[model, pin] = Line()
        return line

    def _remove(self, waiter: Waiter, now: float, *, served: bool = False) -> None:
        self.waiting -= 1
        waiter.line.leave(waiter, now, served=served)


def outranked(priority: Priority, overload: float) -> bool:
    """``overload``: where it is between 0, none, and 1, the most that can be."""
    return RANKS[priority] > 100.0 * (1.0 - min(1.0, overload) ** 3)
