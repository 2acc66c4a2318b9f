"""The outermost callable: one look-up of the path sends a request down the hot road or to FastAPI.

FastAPI's own stack costs about half of what the whole hot road may, so the hot endpoints are reached
before it. Whatever it is, each request gets an id and one log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from app.api.asgi import App, Message, Receive, Scope, Send
from app.api.client_watch import ClientGone
from app.api.errors import DRAINING, INVALID, NO_RETRY, ErrorAnswer
from app.api.exchange import Exchange
from app.api.respond import send_error
from app.wiring import Gateway

_NOT_POST = ErrorAnswer(405, "this endpoint takes POST", INVALID, "method_not_allowed", headers={"allow": "POST"})
_NO_WEBSOCKET = ErrorAnswer(
    501,
    'WebSockets are not served here; POST /v1/responses with "stream": true gives the same events over HTTP',
    INVALID,
    "websocket_not_supported",
    headers=NO_RETRY | {"connection": "close"},
)


class Edge:
    """``hot`` maps exact paths, as they come on the wire, to their endpoints, which take POST; ``passed_on`` finds what goes
    to a provider as it is; ``cold`` serves all else.

    ``receive_timeout`` and ``send_timeout`` (seconds) are for the protocol underneath.
    """

    def __init__(
        self,
        gateway: Gateway,
        hot: Mapping[bytes, App],
        cold: App,
        finished: Callable[[Exchange], None],
        passed_on: Callable[[Scope], App | None] = lambda _: None,
    ) -> None:
        self.receive_timeout = gateway.settings.server.receive_timeout_s
        self.send_timeout = gateway.settings.server.send_timeout_s
        self._gateway = gateway
        self._hot = hot
        self._cold = cold
        self._finished = finished
        self._passed_on = passed_on

    def drain(self) -> None:
        """From now on: not ready, and new inference requests are refused. Those that run may finish, and no fault holds them
        up any more. Signals come at any moment, so that has its turn in the loop.
        """
        self._gateway.draining = True
        asyncio.get_running_loop().call_soon_threadsafe(self._gateway.chaos.retire)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._cold(scope, receive, send)
            return
        endpoint = self._hot.get(scope["raw_path"])
        if endpoint is None or scope["method"] != "POST":
            await self._serve_other(scope, receive, send, hot=endpoint is not None)
        elif self._gateway.draining:
            await self._refuse(scope, send, DRAINING)
        else:
            await endpoint(scope, receive, send)

    def refusing(self, answer: ErrorAnswer) -> App:
        """An app that gives this answer: for the protocol, to what never became a request."""

        async def refuse(scope: Scope, _receive: Receive, send: Send) -> None:
            await self._refuse(scope, send, answer)

        return refuse

    async def _refuse(self, scope: Scope, send: Send, answer: ErrorAnswer) -> None:
        exchange = Exchange(scope)
        await send_error(exchange, answer, send)
        self._finished(exchange)

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send, *, hot: bool) -> None:
        """What is not a POST to a ``hot`` path."""
        if _asks_for_websocket(scope):
            await self._refuse(scope, send, _NO_WEBSOCKET)
        elif (passed_on := self._passed_on(scope)) is not None:
            if self._gateway.draining:
                await self._refuse(scope, send, DRAINING)
            else:
                await passed_on(scope, receive, send)
        elif hot:
            await self._refuse(scope, send, _NOT_POST)
        else:
            await self._serve_cold(scope, receive, send)

    async def _serve_cold(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = scope["exchange"] = Exchange(scope)
        if scope["method"] == "HEAD":  # as GET; the server leaves the body out
            scope = {**scope, "method": "GET"}

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                given: Any = message.get("headers", ())
                message["headers"] = [*given, (b"x-request-id", exchange.request_id.encode())]
            elif message["type"] == "http.response.body":
                exchange.bytes_out += len(message.get("body", b""))
            try:
                await send(message)
            except ClientGone as gone:
                exchange.left(stalled=gone.stalled)

        try:
            await self._cold(scope, receive, numbered)
        finally:
            self._finished(exchange)


def _asks_for_websocket(scope: Scope) -> bool:
    return scope["method"] == "GET" and any(
        name == b"upgrade" and b"websocket" in value.lower() for name, value in scope["headers"]
    )
