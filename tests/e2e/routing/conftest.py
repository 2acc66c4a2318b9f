"""Upstreams and clients for a module; gateways come from tests/e2e/conftest.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest_asyncio

from tests.e2e.harness import Gateway
from tests.e2e.routing.town import Client, Upstream

StartUpstream = Callable[[str], Awaitable[Upstream]]
OpenClient = Callable[[Gateway], Awaitable[Client]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[StartUpstream]:
    async with AsyncExitStack() as servers:

        async def start(name: str) -> Upstream:
            server = Upstream(name)
            await servers.enter_async_context(server)
            return server

        yield start


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[OpenClient]:
    async with AsyncExitStack() as clients:

        async def start(gateway: Gateway) -> Client:
            return await clients.enter_async_context(Client(gateway))

        yield start
