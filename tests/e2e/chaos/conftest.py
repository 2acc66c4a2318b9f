from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.chaos.site import Site, open_site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Faults by header are on; a fault may hit every attempt."""
    folder = tmp_path_factory.mktemp("site")
    async with open_site(folder, chaos={"max_active": 1, "header_faults": True}) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared_site: Site) -> AsyncIterator[Site]:
    """Nothing acts, before and after."""
    yield shared_site
    await shared_site.stop_all()
    for upstream in (shared_site.first, shared_site.spare):
        upstream.exchanges.clear()
