"""The event feed: what is told, to whom, and what becomes of those who do not keep up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from app.admin.feed import HISTORY, KINDS, MOST_WAITING, MOST_WATCHERS, Watcher
from router.events import AttemptStarted, BreakerMoved, WeightsChanged
from tests.app.admin.conftest import TOKEN, Desk, error_of
from tests.e2e.harness import eventually

WHY = {"reason": "a test"}


class Listener:
    """Someone who watches the feed: ``events`` as they came, ``status`` of the answer."""

    def __init__(self, desk: Desk, query: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self.slow: asyncio.Event | None = None
        self._left = asyncio.Event()
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": "/admin/events",
            "raw_path": b"/admin/events",
            "query_string": query.encode(),
            "headers": [(b"authorization", f"Bearer {TOKEN}".encode())],
            "client": ("127.0.0.1", 4000),
            "asgi": {"spec_version": "2.3"},
        }
        self._task = asyncio.create_task(desk.edge(self._scope, self._receive, self._send))

    @property
    def events(self) -> list[Any]:
        return [orjson.loads(line[6:]) for line in self.body.split(b"\n\n") if line.startswith(b"data: ")]

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def leave(self) -> None:
        self._left.set()
        await self._task

    async def _receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self.body += message.get("body", b"")
        self.over = not message.get("more_body", False)
        if self.slow is not None:
            await self.slow.wait()


@asynccontextmanager
async def listening(desk: Desk, query: str = "") -> AsyncGenerator[Listener]:
    listener = Listener(desk, query)
    await eventually(lambda: listener.body)
    try:
        yield listener
    finally:
        if listener.slow is not None:
            listener.slow.set()
        await listener.leave()


async def test_it_tells_what_happens_as_it_happens(desk: Desk) -> None:
    async with listening(desk) as listener:
        assert (listener.status, listener.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        await desk.chat("failing", "one")
        await eventually(lambda: len(listener.events) == 6)
        ended = ["attempt_started", "attempt_ended"]
        assert listener.types() == ["admitted", *ended, "attempt_started", "committed", "attempt_ended"]
        started = listener.events[1]
        assert (started["request_id"], started["target"], started["number"]) == ("one", "broken/failing", 1)
        assert started["time"].startswith("20")
        assert "at" not in started


async def test_only_the_types_that_were_asked_for(desk: Desk) -> None:
    async with listening(desk, "types=standing_changed,weights_changed") as listener:
        await desk.chat("m")
        await desk.admin("POST", "/admin/targets/left/a/drain", WHY | {"ttl": 60})
        await desk.admin("PATCH", "/admin/routes/m/weights", {"left": 2})
        await eventually(lambda: len(listener.events) == 2)
        drained, weights = listener.events
        assert (drained["type"], drained["target"], drained["standing"]) == ("standing_changed", "left/a", "drained")
        assert drained["until"] > drained["time"]
        assert weights["weights"] == {"left/a": 2.0, "right/b": 1.0, "cloud/m": 0.0}


async def test_it_begins_with_what_is_remembered(desk: Desk) -> None:
    for n in range(HISTORY):
        await desk.admin("POST", "/admin/targets/left/a/open", {"reason": f"number {n}"})
    await desk.admin("POST", "/admin/targets/left/a/close", WHY)
    async with listening(desk) as listener:
        await eventually(lambda: len(listener.events) == HISTORY)
        assert listener.events[0]["reason"] == "number 1"
        assert (listener.events[0]["after"], listener.events[0]["open_until"]) == ("forced_open", None)
        assert (listener.events[-1]["before"], listener.events[-1]["after"]) == ("forced_open", "closed")
    async with listening(desk, "types=admitted") as other:
        assert not other.events


async def test_a_breaker_that_opens_is_a_line(desk: Desk) -> None:
    async with listening(desk, "types=breaker_moved") as listener:
        for n in range(12):
            await desk.chat("dead", f"r{n}")
        await eventually(lambda: listener.events)
        moved = listener.events[0]
        assert (moved["target"], moved["before"], moved["after"]) == ("broken/dead", "closed", "open")
        assert moved["reason"] == "5 failures in a row"
        assert moved["open_until"] > moved["time"]


async def test_events_of_requests_are_made_only_while_somebody_watches(desk: Desk) -> None:
    events = desk.gateway.events
    assert not events.wanted(AttemptStarted)
    async with listening(desk):
        assert events.wanted(AttemptStarted)
    assert not events.wanted(AttemptStarted)
    assert events.wanted(BreakerMoved)  # remembered in any case


async def test_no_more_may_watch_than_can_be_served(desk: Desk) -> None:
    listeners = [Listener(desk, "") for _ in range(MOST_WATCHERS)]
    await eventually(lambda: all(listener.body for listener in listeners))
    answer = await desk.admin("GET", "/admin/events")
    assert (answer.status_code, error_of(answer)["code"]) == (503, "too_many_watchers")
    for listener in listeners:
        await listener.leave()
    async with listening(desk) as listener:
        assert listener.status == 200


async def test_who_does_not_keep_up_is_told_so_and_dropped(desk: Desk) -> None:
    async with listening(desk, "types=weights_changed") as listener:
        listener.slow = asyncio.Event()
        for n in range(MOST_WAITING + 5):
            desk.gateway.events.emit(WeightsChanged(float(n), "m", ()))
            if n == 2:
                await eventually(lambda: len(listener.events) == 3)  # it has taken these, and takes no more
        for n in range(MOST_WAITING + 5):
            desk.gateway.events.emit(WeightsChanged(float(n), "m", ()))
        listener.slow.set()
        await eventually(lambda: listener.over)
        assert listener.types()[:3] == ["weights_changed"] * 3
        assert listener.types()[3:] == ["dropped"]


async def test_the_end_of_the_gateway_ends_the_feed(desk: Desk) -> None:
    async with listening(desk) as listener:
        desk.parts._feed.close()
        await eventually(lambda: listener.over)
        assert listener.types() == ["closed"]


async def test_head_has_the_headers_at_once_and_watches_nothing(desk: Desk) -> None:
    async with asyncio.timeout(5):
        answer = await desk.admin("HEAD", "/admin/events?types=admitted")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "content-length" not in answer.headers  # as for GET
    assert not desk.gateway.events.wanted(AttemptStarted)
    assert (await desk.admin("HEAD", "/admin/events?types=nothing")).status_code == 400


async def test_silence_is_kept_alive() -> None:
    watcher = Watcher([], keep_alive=0.01)
    pieces = aiter(watcher)
    assert (await anext(pieces)).startswith(b": ")
    assert [await anext(pieces) for _ in range(2)] == [b": keep-alive\n\n"] * 2
    watcher.offer(WeightsChanged(0.0, "m", ()))
    assert b"weights_changed" in await anext(pieces)


@pytest.mark.parametrize("types", ["", "nothing", "admitted,nothing", "Admitted"])
async def test_a_type_that_there_is_not(desk: Desk, types: str) -> None:
    answer = await desk.admin("GET", f"/admin/events?types={types}")
    assert (answer.status_code, error_of(answer)["param"]) == (400, "types")
    assert ", ".join(KINDS) in error_of(answer)["message"]
