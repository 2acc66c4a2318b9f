"""The hot endpoints: chat completions, completions, embeddings, responses. One road for all of them.

read ─► check ─► Call ─► Dispatcher.open ─► Reply ─► plain or stream ─► one log line
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from app.api.asgi import Receive, Scope, Send
from app.api.body import BodyLimits, read_body
from app.api.client_watch import GRACE_SECONDS, ClientGone, ClientWatch
from app.api.errors import DRAINING, ApiError, answer_for
from app.api.exchange import Exchange
from app.api.fields import check, parse_object
from app.api.respond import send_error, send_reply
from app.api.signed_fault import HEADER as FAULT_HEADER
from app.api.signed_fault import HeaderFaults
from app.api.wishes import wishes_of
from providers import Endpoint, ProviderError, Request
from router import Call, Decision, Dispatcher, Pin, RouterError
from router.errors import RequestRejected
from router.experiments import assign
from router.mirrors import Mirrors
from router.ownership import Ownership, response_id_in
from router.shared_timer import SharedTimer

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")

# Request headers that travel upstream; all others stay here, the client's Authorization first of all.
TRAVELLING = (
    b"traceparent",
    b"tracestate",
    b"openai-beta",
    b"x-client-request-id",
    b"x-data-parallel-rank",
    b"endpoint-load-metrics-format",
)
_TRAVELLING = frozenset(TRAVELLING)


class Inference:
    """One endpoint as an ASGI callable. ``finished`` is told of every exchange when it is over; ``metered``: the tokens
    of streams are counted also for clients that did not ask; ``ownership``: where it has ids that are continued later;
    ``mirrors`` get copies of some; ``header_faults`` are for requests that bring their own;
    ``prepare`` makes the endpoint's body of the client's, if that is another.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        dispatcher: Dispatcher,
        limits: BodyLimits,
        finished: Callable[[Exchange], None],
        *,
        mirrors: Mirrors,
        header_faults: HeaderFaults,
        metered: bool = False,
        ownership: Ownership | None = None,
        prepare: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._dispatcher = dispatcher
        self._limits = limits
        self._finished = finished
        self._mirrors = mirrors
        self._header_faults = header_faults
        self._metered = metered
        self._ownership = ownership
        self._prepare = prepare
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope)
        try:
            await self._serve(exchange, receive, send)
        except ClientGone as gone:
            exchange.left(stalled=gone.stalled)
        except (ApiError, RouterError, ProviderError) as error:
            await send_error(exchange, answer_for(error), send)
        except asyncio.CancelledError:  # the time to drain is over; the task ends here, after a last word
            await send_error(exchange, DRAINING, send)
        except Exception as error:  # the last door: a bug of ours becomes a 500, and a traceback in the log only
            log.exception("internal error", request_id=exchange.request_id)
            await send_error(exchange, answer_for(error), send)
        finally:
            if exchange.own_fault is not None:
                self._header_faults.end(exchange.own_fault)
            self._finished(exchange)

    async def _serve(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        # Looked up once: on Python 3.11 each look-up is a system call.
        loop = self._loop or self._start()
        body = await read_body(receive, exchange.headers.get(b"content-length"), self._limits, loop)
        exchange.bytes_in = len(body)
        call = self._call(exchange, body)
        del body
        if FAULT_HEADER in exchange.headers:
            exchange.own_fault = self._header_faults.begin(exchange.headers[FAULT_HEADER], call.request.id, time.time())
        with ClientWatch(receive, loop, self._grace):
            decision = exchange.decision = Decision()
            try:
                reply = await self._dispatcher.open(call, decision)
            except RequestRejected:  # a target did answer: it found the request wrong
                exchange.target = decision.tried[-1].name
                raise
            if self._ownership is not None:
                self._ownership.learn(response_id_in(reply.begun), reply.answered.provider.name)
            if decision.route is not None and decision.route.mirror is not None:
                self._mirrors.offer(call, decision.route)
            del call  # past the commit point nobody needs the request, and a stream may last long
            async with reply:
                await send_reply(exchange, reply, send)

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.get_running_loop()
        self._grace = SharedTimer(loop, GRACE_SECONDS)
        return loop

    def _call(self, exchange: Exchange, body: bytes) -> Call:
        """Raises ``ApiError`` 400."""
        headers = exchange.headers
        _check_origin(headers)
        if self._prepare is not None:
            body = self._prepare(body)
        fields = parse_object(body)
        check(self._endpoint, fields)
        model = exchange.model = fields["model"]
        stream = exchange.stream = self._endpoint is not Endpoint.EMBEDDINGS and fields.get("stream") is True
        travelling = {} if _TRAVELLING.isdisjoint(headers) else _travelling(headers)
        travelling["x-request-id"] = exchange.request_id
        now = int(time.time())
        pin, timeout, priority, session, arm, retries = wishes_of(headers)
        request = Request(
            exchange.request_id,
            self._endpoint,
            body,
            fields,
            stream,
            travelling,
            now,
            self._metered,
            session,
            exchange.faults,
        )
        if pin is None:
            pin = self._place_of(exchange, request, arm)
        return Call(request, model, pin, timeout, priority, retries)

    def _place_of(self, exchange: Exchange, request: Request, arm: str | None) -> Pin | None:
        """Where what it continues lives, else the arm of an experiment."""
        route = self._dispatcher.routes.find(exchange.model or "")
        if arm is None:
            pin = None if self._ownership is None else self._ownership.pin_for(request.fields, route)
            if pin is not None or not route.experiments:
                return pin
        try:
            assignment = assign(route.experiments, arm, request.session, request.id)
        except ValueError as error:
            raise ApiError(400, str(error), code="invalid_header") from None
        if assignment is None:
            return None
        exchange.experiment = f"{assignment.experiment}={assignment.arm}"
        return assignment.pin


def _check_origin(headers: dict[bytes, bytes]) -> None:
    """A web page may post to a loopback server without asking, but not as JSON: so JSON is what it must send."""
    if b"origin" not in headers:
        return
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise ApiError(400, "Content-Type must be application/json", code="invalid_content_type")


def _travelling(headers: dict[bytes, bytes]) -> dict[str, str]:
    """Those that go upstream, but for what ``Connection`` names."""
    travelling = {name.decode(): headers[name].decode("latin-1") for name in TRAVELLING if name in headers}
    if headers.get(b"connection", b"keep-alive").lower() not in (b"keep-alive", b"close"):
        for name in headers[b"connection"].decode("latin-1").split(","):
            travelling.pop(name.strip().lower(), None)
    return travelling
