"""W20: a response lives on the backend that made it. What refers to it must go there, or be refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.faulty import Exchange, FaultyServer
from tests.e2e.outside import provider, running
from tests.e2e.wire_http import Wire, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/v1/responses"


async def makes(x: Exchange) -> None:
    """Its id tells who made it."""
    number = len(x.server.exchanges)
    body = {
        "id": f"resp_{x.server.name}_{number}",
        "object": "response",
        "status": "completed",
        "output": [{"type": "message"}],
    }
    await x.reply(200, json.dumps(body).encode())


async def test_w20_what_refers_to_a_response_goes_to_its_backend(tmp_path: Path) -> None:
    async with FaultyServer("left", makes) as left, FaultyServer("right", makes) as right:
        targets = [{"provider": "left", "weight": 50}, {"provider": "right", "weight": 50}]
        config = {
            "providers": [provider(one.name, one.url) for one in (left, right)],
            "routes": [{"model": "m", "targets": targets}],
        }
        owners = set()
        async with running(config, tmp_path) as gateway, Wire(gateway.url) as wire:
            for _ in range(12):
                await wire.send(post({"model": "m", "input": "hi"}, path=PATH))
                made = (await wire.response()).json["id"]
                owners.add(owner := made.split("_")[1])
                await wire.send(post({"model": "m", "input": "more", "previous_response_id": made}, path=PATH))
                answer = await wire.response()
                assert answer.header("x-provider") == owner or answer.error["param"] == "previous_response_id"
                for request in (head(f"GET {PATH}/{made}"), post({}, path=f"{PATH}/{made}/cancel")):
                    await wire.send(request)
                    answer = await wire.response()
                    assert answer.status == 404 or answer.header("x-provider") == owner
    assert owners == {"left", "right"}
