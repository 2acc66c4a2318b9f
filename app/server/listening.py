"""Sockets that are bound before anything else starts, and servers that run inside a loop that is somebody else's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

import uvicorn

from app.api.edge import Edge
from app.server.protocol import Protocol


def bind(host: str, port: int) -> socket.socket:
    """A socket that holds its port and does not listen yet. Port 0 is any free one. Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Guest(uvicorn.Server):
    """Signals are the host's affair."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def listening(
    app: Edge,
    listener: socket.socket,
    *,
    lifespan: Literal["on", "off"] = "off",
    max_connections: int | None = None,
    drain_seconds: int = 1,
) -> AsyncGenerator[None]:
    """Serve ``app`` while inside. Leaving lets the requests that run finish, for ``drain_seconds`` at most."""
    listener.listen()  # whoever connects before the server is up waits
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=max_connections,
        timeout_graceful_shutdown=drain_seconds,
    )
    server = _Guest(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
