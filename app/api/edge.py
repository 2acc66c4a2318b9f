"""The outermost callable: one look-up of the path sends a request down the hot road or to FastAPI.

FastAPI's own stack costs about half of what the whole hot road may, so the hot endpoints are reached
before it. Whatever it is, each request gets an id and one log line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.api.asgi import App, Message, Receive, Scope, Send
from app.api.errors import DRAINING, INVALID, ErrorAnswer
from app.api.exchange import Exchange
from app.api.respond import send_error
from app.wiring import Gateway

_NOT_POST = ErrorAnswer(405, "this endpoint takes POST", INVALID, "method_not_allowed", headers={"allow": "POST"})


class Edge:
    """``hot`` maps exact paths to their endpoints, which take POST; ``cold`` serves all else."""

    def __init__(
        self, gateway: Gateway, hot: Mapping[str, App], cold: App, finished: Callable[[Exchange], None]
    ) -> None:
        self._gateway = gateway
        self._hot = hot
        self._cold = cold
        self._finished = finished

    def drain(self) -> None:
        """From now on: not ready, and new inference requests are refused. Those that run may finish."""
        self._gateway.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._cold(scope, receive, send)
            return
        endpoint = self._hot.get(scope["path"])
        if endpoint is None:
            await self._serve_cold(scope, receive, send)
        elif scope["method"] != "POST":
            await self._refuse(scope, send, _NOT_POST)
        elif self._gateway.draining:
            await self._refuse(scope, send, DRAINING)
        else:
            await endpoint(scope, receive, send)

    async def _refuse(self, scope: Scope, send: Send, answer: ErrorAnswer) -> None:
        exchange = Exchange(scope)
        await send_error(exchange, answer, send)
        self._finished(exchange)

    async def _serve_cold(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope)
        if scope["method"] == "HEAD":  # as GET; the server leaves the body out
            scope = {**scope, "method": "GET"}

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                given: Any = message.get("headers", ())
                message["headers"] = [*given, (b"x-request-id", exchange.request_id.encode())]
            elif message["type"] == "http.response.body":
                exchange.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._cold(scope, receive, numbered)
        finally:
            self._finished(exchange)
