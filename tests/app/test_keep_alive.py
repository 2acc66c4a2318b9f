"""How long a connection may idle: one timer a connection, however many requests it carries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from worlds import now, on_virtual_clock, pending

from app.server.protocol import Protocol

KEEP_ALIVE = 5
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Pipe(asyncio.Transport):
    """Where a socket would be."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed_at: float | None = None

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def close(self) -> None:
        self.closed_at = now() if self.closed_at is None else self.closed_at

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Slow:
    """An app that takes its time, in seconds."""

    receive_timeout = send_timeout = 60.0

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(self.seconds)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def connected(seconds: float = 0.0) -> tuple[Protocol, Pipe]:
    config = uvicorn.Config(Slow(seconds), timeout_keep_alive=KEEP_ALIVE, log_config=None, lifespan="off")  # type: ignore[arg-type]
    config.load()
    protocol, pipe = Protocol(config, ServerState(), {}, asyncio.get_running_loop()), Pipe()
    protocol.connection_made(pipe)
    return protocol, pipe


@on_virtual_clock
async def test_it_is_closed_when_it_has_idled_for_long_enough():
    protocol, pipe = connected()
    protocol.data_received(REQUEST)
    await asyncio.sleep(100)
    assert pipe.written.endswith(b"ok")
    assert pipe.closed_at == pytest.approx(KEEP_ALIVE)


@on_virtual_clock
async def test_each_request_gives_it_as_long_again():
    protocol, pipe = connected()
    for _ in range(4):
        protocol.data_received(REQUEST)
        await asyncio.sleep(3)
        assert pipe.closed_at is None
    await asyncio.sleep(100)
    assert pipe.written.count(b"ok") == 4
    assert pipe.closed_at == pytest.approx(9 + KEEP_ALIVE)


@on_virtual_clock
async def test_who_waits_for_an_answer_does_not_idle():
    protocol, pipe = connected(seconds=12)
    protocol.data_received(REQUEST)
    await asyncio.sleep(13)
    protocol.data_received(REQUEST)  # the timer was set before, and goes off meanwhile
    await asyncio.sleep(11)
    assert pipe.closed_at is None
    await asyncio.sleep(100)
    assert pipe.written.count(b"ok") == 2
    assert pipe.closed_at == pytest.approx(25 + KEEP_ALIVE)


@on_virtual_clock
async def test_many_requests_have_one_timer():
    protocol, pipe = connected()
    for _ in range(10):
        protocol.data_received(REQUEST)
        await asyncio.sleep(0)
        await asyncio.sleep(0.1)
    timers = pending()
    assert len(timers) == 1
    protocol.connection_lost(None)
    assert all(timer.cancelled() for timer in timers)
    assert pipe.written.count(b"ok") == 10
