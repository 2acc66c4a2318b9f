"""create_app: the whole program as one ASGI callable."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from app.api import health, models
from app.api.asgi import App
from app.api.body import BodyLimits
from app.api.edge import Edge
from app.api.errors import ApiError, answer_for
from app.api.exchange import Exchange
from app.api.inference import Inference
from app.api.openapi import describe
from app.observability.access_log import AccessLog
from app.version import installed_version
from app.wiring import Gateway
from providers import Endpoint
from router import RouterError

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")


def create_app(gateway: Gateway) -> App:
    server = gateway.settings.server
    limits = BodyLimits(int(server.max_body_mb * 1_000_000), server.receive_timeout_s)
    log_line = AccessLog()
    finished = log_line if gateway.settings.telemetry.access_log else _silent
    hot: dict[str, App] = {
        f"/v1/{endpoint.value}": Inference(endpoint, gateway.dispatcher, limits, finished) for endpoint in Endpoint
    }
    return Edge(gateway, hot, _cold_app(gateway, log_line), finished)


def _cold_app(gateway: Gateway, log_line: AccessLog) -> FastAPI:
    """Everything that is not on the hot road."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await gateway.aclose()
            log_line.flush()

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
    handlers: dict[type[Exception], Callable[[Exception], Exception]] = {
        HTTPException: _as_api_error,
        RouterError: _itself,
        Exception: _logged,
    }
    for kind, translate in handlers.items():
        app.add_exception_handler(kind, _handler(translate))
    describe(app)
    return app


def _handler(translate: Callable[[Exception], Exception]) -> Callable[[Request, Exception], Response]:
    def handle(_request: Request, error: Exception) -> Response:
        answer = answer_for(translate(error))
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


def _silent(_exchange: Exchange) -> None:
    """For ``telemetry.access_log: false``."""
