"""The demo's servers, all in one process: the gateway on its real port, and an upstream that comes and goes."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app.main import create_app
from app.observability.batch import Listener
from app.observability.metrics import Metrics
from app.server.listening import bind, listening, url_of
from app.settings import load
from app.wiring import Gateway, build

HOST = "127.0.0.1"
MODEL = "demo"
FIRST_OUTAGE_SECONDS, UP_SECONDS, DOWN_SECONDS = 6.0, 14.0, 6.0
DRAIN_SECONDS = 5


class World:
    """``async with`` it to run it. ``heard`` is told of every exchange, beside the gateway's own metrics."""

    def __init__(self, listener: socket.socket, metrics_listener: socket.socket, heard: Listener) -> None:
        self.url = url_of(listener)
        self.metrics_url = f"{url_of(metrics_listener)}/metrics"
        self._upstream = bind(HOST, 0)
        self.gateway = _gateway("gateway.yaml", {"FLAKY_URL": f"{url_of(self._upstream)}/v1"})
        self.metrics = Metrics(self.gateway)
        self._app = create_app(self.gateway, metrics=self.metrics, metrics_listener=metrics_listener, listeners=[heard])
        self._listener = listener

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with listening(self._app, self._listener, lifespan="on"):
            flaky = asyncio.create_task(_come_and_go(self._upstream))
            try:
                yield
            finally:
                flaky.cancel()
                with suppress(asyncio.CancelledError):
                    await flaky


async def _come_and_go(listener: socket.socket) -> None:
    """Serve mock_flaky; now and then its port is closed for a while, and connections to it are refused."""
    app = create_app(_gateway("flaky.yaml", {}))
    port = listener.getsockname()[1]
    seconds = FIRST_OUTAGE_SECONDS
    while True:
        # Answers that have begun may end: what is shown is an upstream that is gone, not streams that are cut.
        async with listening(app, listener, drain_seconds=DRAIN_SECONDS):
            await asyncio.sleep(seconds)
        await asyncio.sleep(DOWN_SECONDS)
        listener = bind(HOST, port)
        seconds = UP_SECONDS


def _gateway(name: str, environment: Mapping[str, str]) -> Gateway:
    file = Path(__file__).with_name(name)
    return build(load(file, environment, file.parent).settings, started=int(time.time()))
