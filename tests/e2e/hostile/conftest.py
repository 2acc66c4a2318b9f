"""One gateway with little patience for all of S13 to S21: a second to send, a second to receive, 1 MB a body."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.outside import Stage, open_stage

PATIENCE = 1.0


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    server = {"receive_timeout_s": PATIENCE, "send_timeout_s": PATIENCE, "max_body_mb": 1}
    async with open_stage(tmp_path_factory.mktemp("strict"), server) as one:
        yield one
