"""A gateway whose routes name their models, so that others are unknown, and which tries once, so that calls can be counted."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.clients.node_client import Node
from tests.e2e.clients.upstream import ADVICE, SCRIPTS
from tests.e2e.outside import Stage, open_stage


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    models = [name for name in (*SCRIPTS, *ADVICE) if name != "None"]
    # Each model is a target of its own: what one does wrong does not take the others out.
    sections = {
        "routes": [{"model": name, "targets": [{"provider": "up", "model": name}]} for name in models]
        + [{"model": "spared", "targets": [{"provider": "spare"}]}],
        "defaults": {"retry": {"max_attempts": 1}},
        "passthrough": {"provider": "up", "paths": ["/v1/files", "/v1/files/*"]},
    }
    async with open_stage(tmp_path_factory.mktemp("clients"), {}, **sections) as stage:
        for name, script in SCRIPTS.items():
            stage.put_on(name, script)
        yield stage


@pytest.fixture(scope="session")
def node() -> Node:
    return Node()
