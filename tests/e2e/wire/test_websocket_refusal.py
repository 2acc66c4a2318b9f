"""W20: no WebSocket is on offer. Who asks for one gets a clean refusal, and the connection no second meaning."""

from __future__ import annotations

import pytest

from tests.e2e.outside import Stage
from tests.e2e.wire_http import CHAT, Wire, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

UPGRADE = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
# What a client that believed in the upgrade would send next: not HTTP, or worse, HTTP.
FRAME = bytes([0x81, 0x82, 1, 2, 3, 4, 0x69, 0x6B])


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=m", CHAT, "/nope"])
@pytest.mark.parametrize("behind", [b"", FRAME, head("GET /health")], ids=["nothing", "a frame", "a request"])
async def test_w20_a_websocket_is_refused_cleanly(stage: Stage, path: str, behind: bytes) -> None:
    calls = len(stage.up.exchanges)
    async with Wire(stage.gateway.url) as wire:
        await wire.send(head(f"GET {path}", *UPGRADE) + behind)
        answer = await wire.response()
        assert 400 <= answer.status < 500 or answer.status == 501
        assert answer.whole
        code = answer.error["code"]
        assert code
        line = await stage.gateway.log_line(answer.header("x-request-id"))
        assert (line["status"], line["path"]) == (answer.status, path.partition("?")[0])
        if behind == FRAME:
            assert b"HTTP/1.1 2" not in await wire.closed()
    assert len(stage.up.exchanges) == calls
