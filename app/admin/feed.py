"""The events of the core, as they happen: server-sent events for whoever watches, and a short memory of what matters.

    router.events ─► Feed ─┬─► history    breakers, silences, standings, weights, faults: the last HISTORY
                           └─► Watcher    a queue each, bounded; who reads too slowly is told so, and dropped

An event of every request is made only while somebody watches for it.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from app.admin.clock import Clock, read
from app.api.asgi import Receive, Scope, Send
from app.api.errors import ApiError
from app.observability.decisions import finite
from router.events import (
    EVERY,
    BreakerMoved,
    Event,
    Events,
    FaultStarted,
    FaultStopped,
    StandingChanged,
    Unanswered,
    WeightsChanged,
)

HISTORY = 100
MOST_WATCHERS = 16
MOST_WAITING = 1000
KEEP_ALIVE_SECONDS = 15.0
REMEMBERED = (BreakerMoved, Unanswered, StandingChanged, WeightsChanged, FaultStarted, FaultStopped)
_MOMENTS = frozenset({"open_until", "until", "ends"})


# ``BreakerMoved`` is breaker_moved outside.
TYPES: Mapping[type[Event], str] = {kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in EVERY}
KINDS: Mapping[str, type[Event]] = {name: kind for kind, name in TYPES.items()}


class Feed:
    """Listens from now on. ``close`` ends every watcher's stream."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._watchers: set[Watcher] = set()
        self._leave = events.listen(self._remember, *REMEMBERED)

    def close(self) -> None:
        self._leave()
        for watcher in tuple(self._watchers):
            watcher.end("closed", "the gateway is shutting down")

    def _remember(self, event: Event) -> None:
        """Of a silence that goes on, its beginning is enough: it would drive all else out."""
        if not (isinstance(event, Unanswered) and event.again):
            self._history.append(event)

    @contextmanager
    def watching(self, kinds: Sequence[type[Event]]) -> Generator[Watcher]:
        """What is remembered of these ``kinds``, then what happens. Raises ``ApiError`` 503 if too many watch."""
        if len(self._watchers) >= MOST_WATCHERS:
            message = f"{MOST_WATCHERS} watch this feed already, and no more may; close one"
            raise ApiError(503, message, code="too_many_watchers", headers={"retry-after": "10"})
        watcher = Watcher([event for event in self._history if type(event) in kinds])
        leave = self._events.listen(watcher.offer, *kinds)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            leave()
            self._watchers.discard(watcher)


class Watcher:
    """Iterates over pieces of the stream: all that has come since the last one. Ends after ``end``."""

    def __init__(self, history: Sequence[Event], keep_alive: float = KEEP_ALIVE_SECONDS) -> None:
        self._waiting: deque[Event] = deque(history)
        self._keep_alive = keep_alive
        self._awake = asyncio.Event()
        self._last: bytes | None = None
        if history:
            self._awake.set()

    def offer(self, event: Event) -> None:
        if self._last is not None:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.clear()
            self.end("dropped", f"more than {MOST_WAITING} events were waiting to be read; ask for fewer types")
            return
        self._waiting.append(event)
        self._awake.set()

    def end(self, kind: str, why: str) -> None:
        """What waits is still told, and then why there is no more."""
        self._last = encoded({"type": kind, "time": (clock := read()).date(clock.now), "message": why})
        self._awake.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b": the events of this gateway\n\n"
        while True:
            try:
                async with asyncio.timeout(self._keep_alive):
                    await self._awake.wait()
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            self._awake.clear()
            clock = read()
            piece = b"".join([encoded(shown(event, clock)) for event in self._waiting])
            self._waiting.clear()
            if self._last is not None:
                yield piece + self._last
                return
            yield piece


def shown(event: Event, clock: Clock) -> dict[str, Any]:
    """``at`` and all that is on the loop's clock become dates."""
    fields: dict[str, Any] = event._asdict()
    told: dict[str, Any] = {"type": TYPES[type(event)], "time": clock.date(fields.pop("at"))}
    for name, value in fields.items():
        if name in _MOMENTS:
            told[name] = None if not value or finite(value) is None else clock.date(value)
        elif isinstance(event, WeightsChanged) and name == "weights":
            told[name] = dict(value)
        else:
            told[name] = value
    return told


def encoded(fields: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def kinds_of(types: str | None) -> list[type[Event]]:
    """Of ``a,b``; all if there is none. Raises ``ApiError`` 400."""
    names = [name.strip() for name in types.split(",")] if types is not None else list(KINDS)
    for name in names:
        if name not in KINDS:
            message = f"types: {name[:80]!r} is not a type of event; these are: {', '.join(KINDS)}"
            raise ApiError(400, message, code="invalid_field", param="types")
    return [KINDS[name] for name in dict.fromkeys(names)]


class _Stream(Response):
    """The watcher lives as long as its response, however that ends."""

    def __init__(self, feed: Feed, kinds: Sequence[type[Event]]) -> None:
        super().__init__()
        self._feed = feed
        self._kinds = kinds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._feed.watching(self._kinds) as watcher:
            if scope["exchange"].method == "HEAD":  # the edge has made it a GET, and the server leaves the body out
                watcher.end("closed", "the headers are all that was asked for")
            await StreamingResponse(watcher, media_type="text/event-stream")(scope, receive, send)


def routes(feed: Feed) -> APIRouter:
    api = APIRouter(tags=["events"])
    content: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}

    @api.get("/admin/events", summary="Events as they happen", response_class=Response, responses=content)
    async def events(types: str | None = None) -> Response:
        """Server-sent events, each a JSON object with its `type` and `time`. `types` are those wanted: `a,b`.

        Begins with what is remembered of breakers, silences, standings, weights and faults.
        """
        return _Stream(feed, kinds_of(types))

    return api
