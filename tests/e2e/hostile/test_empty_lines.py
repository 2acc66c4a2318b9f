"""S15: empty lines may come before a request (RFC 9112, 2.2), but they are none, and time goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.outside import Stage, open_stage
from tests.e2e.wire_http import Wire, head

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A gateway of its own: what goes wrong in a timer is seen in its log, at its end."""
    async with open_stage(tmp_path_factory.mktemp("impatient"), {"receive_timeout_s": 0.5}) as one:
        yield one


async def test_s15_empty_lines_buy_no_time(impatient: Stage) -> None:
    async with Wire(impatient.gateway.url) as wire:
        assert await wire.drip(b"\r\n" * 4, 0.2) > 1
        await wire.closed()


async def test_s15_nor_does_an_empty_line_after_an_answer(impatient: Stage) -> None:
    async with Wire(impatient.gateway.url) as wire:
        await wire.send(head("GET /health"))
        assert (await wire.response()).status == 200
        assert await wire.drip(b"\r\n" * 4, 0.2) > 1
        await wire.closed()
