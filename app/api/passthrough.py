"""What the gateway does not understand and sends on all the same: other OpenAI paths, and responses stored upstream.

find ─► one provider ─► body up, answer down, both as they come ─► one log line

Only for paths that the configuration names, and for responses by their id, which go back to the provider that created
them. Nothing is read, chosen or retried: one attempt, and its status is the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import NamedTuple

import structlog

from app.api.asgi import App, Receive, Scope, Send
from app.api.client_watch import ClientGone
from app.api.errors import DRAINING, NO_RETRY, ApiError, ErrorAnswer, answer_for
from app.api.exchange import Exchange
from app.api.outgoing import check_origin, outgoing
from app.api.paths import falls_under, is_clean, response_id
from app.api.respond import send_error
from app.api.signed_fault import HEADER as FAULT_HEADER
from app.api.upload import carry_up, check_length
from app.wiring import Gateway
from providers import ProviderError
from providers.errors import Misconfigured
from providers.forwarding import Forwarding, Forwards, Patience
from router import Decision, Target
from router.ownership import MAX_RESPONSES, Ownership
from router.types import Tried

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # TRACE would show our key
RESPONSES = "/v1/responses/*"
# A page that somebody has uploaded must not run as if it were ours.
_SANDBOX = [(b"content-security-policy", b"sandbox"), (b"x-content-type-options", b"nosniff")]


class Wanted(NamedTuple):
    """``pattern``: the configured path that fits, if one does; ``held``: the id of the response that is asked about."""

    pattern: str | None
    held: str | None


class Destination(NamedTuple):
    """``target`` is for the books: the provider and the pattern, so that there are as many as are configured."""

    provider: Forwards
    target: Target
    reason: str


class Passthrough:
    """``is_ours``: the gateway answers this itself. ``finished`` is told of every exchange when it is over."""

    def __init__(
        self,
        gateway: Gateway,
        ownership: Ownership,
        is_ours: Callable[[Scope], bool],
        finished: Callable[[Exchange], None],
    ) -> None:
        self._gateway = gateway
        self._ownership = ownership
        self._is_ours = is_ours
        self._finished = finished
        self._targets: dict[tuple[str, str], Target] = {}

    def find(self, scope: Scope) -> App | None:
        """What answers this request, if it is one to send on."""
        raw = scope["raw_path"]
        if not raw.startswith(b"/v1/"):
            return None
        settings = self._gateway.settings.passthrough
        paths = settings.paths if settings is not None else ()
        wanted = Wanted(
            next((path for path in paths if falls_under(raw, path)), None), response_id(scope["method"], raw)
        )
        if wanted == (None, None) or self._is_ours(scope):
            return None
        return partial(self._answer, wanted)

    async def _answer(self, wanted: Wanted, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope)
        try:
            await self._pass_on(exchange, wanted, scope, receive, send)
        except ClientGone as gone:
            exchange.left(stalled=gone.stalled)
        except Misconfigured as error:  # no waiting cures it
            await _fail(exchange, replace(answer_for(error), headers=NO_RETRY), send)
        except (ApiError, ProviderError) as error:
            await _fail(exchange, answer_for(error), send)
        except asyncio.CancelledError:  # the time to drain is over
            await _fail(exchange, DRAINING, send)
        except Exception as error:  # the last door, as on the hot road
            log.exception("internal error", request_id=exchange.request_id)
            await _fail(exchange, answer_for(error), send)
        finally:
            self._finished(exchange)

    async def _pass_on(self, exchange: Exchange, wanted: Wanted, scope: Scope, receive: Receive, send: Send) -> None:
        _check(exchange, scope)
        destination = self._destination(wanted)
        target = destination.target
        exchange.target = target.id
        decision = exchange.decision = Decision()
        decision.reason = destination.reason
        request = outgoing(exchange, scope)
        began = perf_counter()

        def tried(label: str) -> None:
            decision.waited = perf_counter() - began
            decision.tried = [Tried(target, target.id, label, decision.waited)]

        try:
            with closing(await destination.provider.forward(request, self._patience())) as forwarding:
                await self._both_ways(exchange, forwarding, tried, receive, send)
        except ProviderError as error:
            if exchange.first_byte is None:
                tried(error.label)
            raise

    async def _both_ways(
        self, exchange: Exchange, forwarding: Forwarding, tried: Callable[[str], None], receive: Receive, send: Send
    ) -> None:
        pause = self._gateway.settings.server.receive_timeout_s
        try:
            async with asyncio.TaskGroup() as tasks:
                up = tasks.create_task(carry_up(exchange, receive, forwarding.write, pause))
                await _bring_down(exchange, forwarding, tried, send)
                up.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _destination(self, wanted: Wanted) -> Destination:
        """Raises ``ApiError`` 404."""
        providers, settings = self._gateway.providers, self._gateway.settings.passthrough
        owner = self._ownership.find(wanted.held) if wanted.held is not None else None
        if owner is not None and owner in providers:
            name, path, reason = owner, RESPONSES, "sticky"
        elif wanted.pattern is not None and settings is not None:
            name, path, reason = settings.provider, wanted.pattern, "passthrough"
        else:
            name, path, reason = self._only_one(wanted.held), RESPONSES, "passthrough"
        provider = providers[name]
        if not isinstance(provider, Forwards):
            raise _not_found(wanted.held, f"{name} created it, and keeps none")
        target = self._targets.get((name, path))
        if target is None or target.provider is not provider:
            target = self._targets[name, path] = Target(provider, path.removeprefix("/"))
        return Destination(provider, target, reason)

    def _only_one(self, held: str | None) -> str:
        """Who must have a response of which we know nothing, if there is only one that could."""
        able = [name for name, provider in self._gateway.providers.items() if isinstance(provider, Forwards)]
        if len(able) != 1:
            who = f"any of {', '.join(able)} could hold it" if able else "no provider here keeps any"
            raise _not_found(held, f"{who}, and this process has not seen who created it")
        return able[0]

    def _patience(self) -> Patience:
        timeouts = self._gateway.settings.defaults.timeouts
        return Patience(timeouts.connect, timeouts.attempt, timeouts.idle)


def _check(exchange: Exchange, scope: Scope) -> None:
    """Raises ``ApiError`` for what may not travel, whoever the provider is."""
    if not is_clean(scope["raw_path"]):
        raise ApiError(404, "no such path: it has more than one reading", code="unknown_path")
    if exchange.method not in METHODS:
        allowed = ", ".join(METHODS)
        raise ApiError(405, f"this path takes {allowed}", code="method_not_allowed", headers={"allow": allowed})
    if FAULT_HEADER in exchange.headers:
        raise ApiError(
            400, "X-Fault: faults act on inference only, not on a path that is passed on", code="invalid_header"
        )
    check_origin(exchange.method, exchange.headers)
    check_length(exchange.headers)


async def _bring_down(exchange: Exchange, forwarding: Forwarding, tried: Callable[[str], None], send: Send) -> None:
    head = await forwarding.head()
    tried(str(head.status))
    headers = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in head.headers.items()]
    exchange.stream = head.headers.get("content-type", "").lower().startswith("text/event-stream")
    if exchange.stream:
        headers.append((b"x-accel-buffering", b"no"))
    exchange.status = head.status
    exchange.first_byte = perf_counter()
    start = [*headers, *_SANDBOX, *exchange.routing_headers()]
    await send({"type": "http.response.start", "status": head.status, "headers": start})
    while part := await forwarding.read():
        exchange.bytes_out += len(part)
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _fail(exchange: Exchange, answer: ErrorAnswer, send: Send) -> None:
    """An error object; or, once the answer has begun, nothing more, so that the server breaks it off: its bytes are the
    provider's, and ours among them would be taken for a part.
    """
    if exchange.first_byte is None:
        await send_error(exchange, answer, send)
        return
    exchange.end, exchange.error = "cut", answer.code


def _not_found(held: str | None, why: str) -> ApiError:
    message = (
        f"no response {held!r} is known: {why}. The last {MAX_RESPONSES:,} that were created through this process are "
        f"known; name a provider for {RESPONSES} in passthrough to ask it about all others"
    )
    return ApiError(404, message, code="response_not_found", param="response_id")
