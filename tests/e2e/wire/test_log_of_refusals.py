"""W11: the log line of a refusal says why, whichever part of the gateway refused."""

from __future__ import annotations

import pytest

from tests.e2e.outside import Stage, refused
from tests.e2e.wire_http import CHAT, Wire, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("request_", "status"),
    [(head("GET /nope"), 404), (head("PUT /health"), 405), (head(f"GET {CHAT}"), 405), (post(b"{"), 400)],
    ids=["unknown path", "method of a cold path", "method of a hot path", "no JSON"],
)
async def test_w11_the_log_line_of_a_refusal_names_its_code(stage: Stage, request_: bytes, status: int) -> None:
    async with Wire(stage.gateway.url) as wire:
        await wire.send(request_)
        answer = await wire.response()
    error = await refused(stage.gateway, answer, status)
    assert (await stage.gateway.log_line(answer.header("x-request-id")))["error"] == error["code"]
