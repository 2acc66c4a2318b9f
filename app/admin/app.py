"""The admin API as one ASGI callable, and what it listens to."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.admin import audit, config, experiments, explain_api, faults, feed, requests, targets, weights
from app.admin.access import Access
from app.admin.given import Examiner
from app.api.edge import Edge
from app.api.handlers import answer_errors
from app.observability.batch import Listener
from app.observability.decisions import Decisions
from app.server.listening import listening
from app.version import installed_version
from app.wiring import Gateway

MAX_CONNECTIONS = 64


class Door(NamedTuple):
    """Where the admin API is served, and what opens it."""

    listener: socket.socket
    token: str


class Index(BaseModel):
    """All that there is without the token."""

    name: str = "Breakwater admin"
    version: str
    links: list[str]


class ErrorObject(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorObject


class Admin:
    """``listeners`` are to be told of every exchange; ``fresh`` has them told of all that are over."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._feed = feed.Feed(gateway.events)
        self._decisions = Decisions(gateway.settings.telemetry.decisions)
        self._arms = experiments.Arms()

    @property
    def listeners(self) -> Sequence[Listener]:
        return (self._decisions, self._arms)

    def edge(self, token: str, fresh: Callable[[], None]) -> Edge:
        gateway, trail, examiner = self._gateway, audit.Audit(), Examiner()
        app = FastAPI(
            title="Breakwater admin",
            version=installed_version(),
            description="Every path but `/` needs the token: `Authorization: Bearer <token>`.",
            docs_url=None,
            redoc_url=None,
            responses={status: {"model": ErrorBody} for status in (400, 401, 404)},
        )
        parts = (
            targets.routes(gateway, trail),
            weights.routes(gateway, trail),
            requests.routes(self._decisions, fresh),
            explain_api.routes(gateway, examiner),
            feed.routes(self._feed),
            config.routes(gateway, examiner),
            experiments.routes(gateway, self._arms, fresh),
            faults.routes(gateway, trail),
            audit.routes(trail),
        )
        for part in parts:
            app.include_router(part)
        app.include_router(_index(parts))
        _describe(app)
        answer_errors(app, listed="GET /")
        return Edge(gateway, {}, Access(app, token), finished=lambda _: None)

    @asynccontextmanager
    async def serving(self, door: Door, fresh: Callable[[], None]) -> AsyncGenerator[None]:
        """Serve while inside. Leaving ends the feeds first: they would never end by themselves."""
        async with listening(self.edge(door.token, fresh), door.listener, max_connections=MAX_CONNECTIONS):
            try:
                yield
            finally:
                self._feed.close()


def _index(parts: Sequence[APIRouter]) -> APIRouter:
    api = APIRouter()
    served = [route for part in parts for route in part.routes if isinstance(route, APIRoute)]
    links = [
        "GET /openapi.json",
        *(f"{method} {route.path}" for route in served for method in sorted(route.methods or ())),
    ]
    answer = Index(version=installed_version(), links=[link.replace(":path}", "}") for link in links])

    @api.get("/", summary="What there is")
    async def index() -> Index:
        return answer

    return api


def _describe(app: FastAPI) -> None:
    """Make ``app.openapi()`` true: FastAPI's own 422 never leaves here, and nothing opens without the token."""

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
                    operation["security"] = [] if path == "/" else [{"token": []}]
            components = document["components"]
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for name in [name for name in components["schemas"] if name.endswith("ValidationError")]:
                del components["schemas"][name]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # the way that FastAPI documents
