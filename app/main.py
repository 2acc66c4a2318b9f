"""create_app: the whole program as one ASGI callable."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.routing import Match

from app.admin.app import Admin, Door
from app.api import health, models
from app.api import metrics as metrics_api
from app.api.asgi import App, Scope
from app.api.body import BodyLimits
from app.api.edge import Edge
from app.api.handlers import answer_errors
from app.api.inference import Inference
from app.api.openapi import describe
from app.api.passthrough import Passthrough
from app.api.prompted import as_chat
from app.api.signed_fault import HeaderFaults
from app.observability.access_log import AccessLog
from app.observability.batch import Batch, Listener
from app.observability.exposition import Exposition
from app.observability.guarding import Guarding
from app.observability.metrics import Metrics
from app.observability.sink import finish
from app.observability.timeline import Timeline
from app.server.listening import listening
from app.version import installed_version
from app.wiring import Gateway
from providers import Endpoint
from router.ownership import Ownership

MAX_SCRAPERS = 64


def create_app(
    gateway: Gateway,
    *,
    metrics: Metrics | None = None,
    metrics_listener: socket.socket | None = None,
    admin_door: Door | None = None,
    worker: str | None = None,
    listeners: Sequence[Listener] = (),
) -> Edge:
    """``metrics_listener``: where to serve the metrics a second time, by themselves; ``admin_door``: where the admin API.
    ``worker`` names this process where there are several; ``listeners`` are told of every exchange beside the metrics and
    the access log.
    """
    server = gateway.settings.server
    limits = BodyLimits(int(server.max_body_mb * 1_000_000), server.receive_timeout_s)
    metrics = metrics or Metrics(gateway)
    Timeline(gateway.events)
    access_log = [AccessLog()] if gateway.settings.telemetry.access_log else []
    admin = None if admin_door is None else Admin(gateway)
    finished = Batch(
        metrics, Guarding(gateway.chaos), *access_log, *(() if admin is None else admin.listeners), *listeners
    )
    ownership = Ownership()
    inference = partial(
        Inference,
        dispatcher=gateway.dispatcher,
        limits=limits,
        finished=finished,
        mirrors=gateway.mirrors,
        header_faults=HeaderFaults(gateway, None if admin_door is None else admin_door.token),
        metered=gateway.settings.telemetry.stream_usage,
    )
    hot: dict[bytes, App] = {f"/v1/{endpoint.value}".encode(): inference(endpoint) for endpoint in Endpoint}
    hot[b"/v1/responses"] = inference(Endpoint.RESPONSES, ownership=ownership)
    hot[b"/v1/inference/complete"] = inference(Endpoint.CHAT, prepare=partial(as_chat, stream=False))
    hot[b"/v1/inference/stream"] = inference(Endpoint.CHAT, prepare=partial(as_chat, stream=True))
    exposition = Exposition(metrics, finished.flush, worker)
    beside: list[AbstractAsyncContextManager[None]] = []
    if metrics_listener is not None:
        app = _metrics_app(gateway, exposition)
        beside.append(listening(app, metrics_listener, max_connections=MAX_SCRAPERS))
    if admin is not None and admin_door is not None:
        beside.append(admin.serving(admin_door, finished.flush))
    cold = _cold_app(gateway, finished, exposition, beside)
    passthrough = Passthrough(gateway, ownership, partial(_serves, cold), finished)
    return Edge(gateway, hot, cold, finished, passthrough.find)


def _serves(app: FastAPI, scope: Scope) -> bool:
    """It has this path, with whatever method."""
    return any(route.matches(scope)[0] is not Match.NONE for route in app.routes)


def _cold_app(
    gateway: Gateway,
    finished: Batch,
    exposition: Exposition,
    beside: Sequence[AbstractAsyncContextManager[None]],
) -> FastAPI:
    """Everything that is not on the hot road. ``beside`` are the other ports, open as long as it runs."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        gateway.prober.start()
        try:
            async with AsyncExitStack() as ports:
                for port in beside:
                    await ports.enter_async_context(port)
                yield
        finally:
            await gateway.aclose()
            finished.flush()
            finish()

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
    answer_errors(app)
    describe(app)
    return app


def _metrics_app(gateway: Gateway, exposition: Exposition) -> Edge:
    """What the metrics port serves: nothing that costs money, and no line in the log."""
    app = FastAPI(openapi_url=None)
    app.include_router(health.routes(gateway))
    app.include_router(metrics_api.routes(exposition))
    answer_errors(app)
    return Edge(gateway, {}, app, finished=lambda _: None)
