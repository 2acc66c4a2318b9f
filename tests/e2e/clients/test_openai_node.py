"""The official Node client, in a process of its own: the same scenarios, and the same must come of them.

Without node or a network it is skipped.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.clients.node_client import FOLDER, Node
from tests.e2e.clients.upstream import ADVICE, EXPECTED
from tests.e2e.harness import eventually
from tests.e2e.outside import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

LEAVES = {"timeout": "hangs", "abort": "talks"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def results(node: Node, served: Stage) -> dict[str, Any]:
    """All scenarios, at once."""
    return await node.play(served.gateway, {})


@pytest.mark.parametrize("name", EXPECTED)
async def test_the_node_client_gets_what_it_would_get_from_openai(
    served: Stage, results: dict[str, Any], name: str
) -> None:
    result = results[name]
    if isinstance(result, dict) and "request_id" in result:
        line = await served.gateway.log_line(result.pop("request_id"))
        assert line["status"] == result.get("status", 200)
    assert result == EXPECTED[name]
    if name in LEAVES:
        call = served.calls(LEAVES[name])[-1]
        await eventually(lambda: call.abandoned_at, within=1)


async def test_the_node_client_retries_as_it_is_told(served: Stage, node: Node) -> None:
    before = {}
    for advice, (make, _) in ADVICE.items():
        served.put_on(advice, make())
        before[advice] = len(served.calls(advice))
    results = await node.play(served.gateway, {"ADVICE": ",".join(ADVICE)})
    assert {advice: len(served.calls(advice)) - before[advice] for advice in ADVICE} == {
        advice: calls for advice, (_, calls) in ADVICE.items()
    }
    assert {advice: result["failed"] for advice, result in results.items()} == {
        advice: calls == 1 for advice, (_, calls) in ADVICE.items()
    }
    assert 0.9 < results["throttled"]["seconds"] < 5
    assert results["retry-after-ms"]["seconds"] < 5
    retried = [dict(call.headers) for call in served.calls("throttled")[before["throttled"] :]]
    assert "x-stainless-retry-count" not in retried[1], "what only tells who the client is stays here"


async def test_no_file_of_it_names_a_registry() -> None:
    for file in (FOLDER / "package.json", FOLDER / "package-lock.json"):
        assert "://" not in file.read_text()
