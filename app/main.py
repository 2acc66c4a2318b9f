"""create_app: the whole program as one ASGI callable."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.api import health, models
from app.api import metrics as metrics_api
from app.api.asgi import App, Scope
from app.api.body import BodyLimits
from app.api.edge import Edge
from app.api.errors import ApiError, answer_for
from app.api.inference import Inference
from app.api.openapi import describe
from app.api.passthrough import Passthrough
from app.api.prompted import as_chat
from app.observability.access_log import AccessLog
from app.observability.batch import Batch, Listener
from app.observability.exposition import Exposition
from app.observability.metrics import Metrics
from app.server.listening import listening
from app.version import installed_version
from app.wiring import Gateway
from providers import Endpoint
from router import RouterError
from router.ownership import Ownership

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")

MAX_SCRAPERS = 64


def create_app(
    gateway: Gateway,
    *,
    metrics: Metrics | None = None,
    metrics_listener: socket.socket | None = None,
    worker: str | None = None,
    listeners: Sequence[Listener] = (),
) -> Edge:
    """``metrics_listener``: where to serve the metrics a second time, by themselves. ``worker`` names this process where
    there are several; ``listeners`` are told of every exchange beside the metrics and the access log.
    """
    server = gateway.settings.server
    limits = BodyLimits(int(server.max_body_mb * 1_000_000), server.receive_timeout_s)
    metrics = metrics or Metrics(gateway)
    access_log = [AccessLog()] if gateway.settings.telemetry.access_log else []
    finished = Batch(metrics, *access_log, *listeners)
    ownership = Ownership()
    inference = partial(
        Inference,
        dispatcher=gateway.dispatcher,
        limits=limits,
        finished=finished,
        metered=gateway.settings.telemetry.stream_usage,
    )
    hot: dict[bytes, App] = {f"/v1/{endpoint.value}".encode(): inference(endpoint) for endpoint in Endpoint}
    hot[b"/v1/responses"] = inference(Endpoint.RESPONSES, ownership=ownership)
    hot[b"/v1/inference/complete"] = inference(Endpoint.CHAT, prepare=partial(as_chat, stream=False))
    hot[b"/v1/inference/stream"] = inference(Endpoint.CHAT, prepare=partial(as_chat, stream=True))
    exposition = Exposition(metrics, finished.flush, worker)
    cold = _cold_app(gateway, finished, exposition, metrics_listener)
    passthrough = Passthrough(gateway, ownership, partial(_serves, cold), finished)
    return Edge(gateway, hot, cold, finished, passthrough.find)


def _serves(app: FastAPI, scope: Scope) -> bool:
    """It has this path, with whatever method."""
    return any(route.matches(scope)[0] is not Match.NONE for route in app.routes)


def _cold_app(
    gateway: Gateway, finished: Batch, exposition: Exposition, metrics_listener: socket.socket | None
) -> FastAPI:
    """Everything that is not on the hot road."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        try:
            if metrics_listener is None:
                yield
            else:
                app = _metrics_app(gateway, exposition)
                async with listening(app, metrics_listener, max_connections=MAX_SCRAPERS):
                    yield
        finally:
            await gateway.aclose()
            finished.flush()

    # Its docs page loads nothing from elsewhere: gateways run where there is no internet.
    app = FastAPIOffline(
        title="Breakwater",
        version=installed_version(),
        description="The LLM gateway that you can break on purpose.",
        lifespan=lifespan,
        redoc_url=None,
        static_url="/docs/assets",
    )
    app.include_router(health.routes(gateway))
    app.include_router(models.routes(gateway))
    app.include_router(metrics_api.routes(exposition))
    _answer_errors(app)
    describe(app)
    return app


def _metrics_app(gateway: Gateway, exposition: Exposition) -> Edge:
    """What the metrics port serves: nothing that costs money, and no line in the log."""
    app = FastAPI(openapi_url=None)
    app.include_router(health.routes(gateway))
    app.include_router(metrics_api.routes(exposition))
    _answer_errors(app)
    return Edge(gateway, {}, app, finished=lambda _: None)


def _answer_errors(app: FastAPI) -> None:
    handlers: dict[type[Exception], Callable[[Exception], Exception]] = {
        HTTPException: _as_api_error,
        RouterError: _itself,
        Exception: _logged,
    }
    for kind, translate in handlers.items():
        app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Callable[[Exception], Exception]) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        answer = answer_for(translate(error))
        request.scope["exchange"].error = answer.code
        return Response(
            answer.encoded(), status_code=answer.status, headers=dict(answer.headers), media_type="application/json"
        )

    return handle


def _as_api_error(error: Exception) -> Exception:
    """Starlette's own 404 and 405 in the one error shape."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    codes = {404: "unknown_path", 405: "method_not_allowed"}
    message = "no such path; /docs lists them all" if error.status_code == 404 else str(error.detail)
    return ApiError(error.status_code, message, code=codes.get(error.status_code), headers=error.headers)


def _itself(error: Exception) -> Exception:
    return error


def _logged(error: Exception) -> Exception:
    log.error("internal error", exc_info=error)
    return error
