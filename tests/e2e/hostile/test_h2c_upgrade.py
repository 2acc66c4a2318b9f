"""S20: HTTP/2 is not on offer. Clients that ask for it beside a plain request (Java's do) lose nothing by it."""

from __future__ import annotations

import json

import pytest

from tests.e2e.faulty import completion
from tests.e2e.outside import Stage, ask, refused, replies
from tests.e2e.wire_http import CHAT, Wire, chunk, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

OFFER = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


@pytest.mark.parametrize("offer", [OFFER, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize("framing", ["length", "chunked", "in pieces"])
async def test_s20_an_upgrade_that_is_ignored_leaves_the_body_a_body(
    strict: Stage, offer: tuple[str, ...], framing: str
) -> None:
    """RFC 9110, 7.8: a server may ignore Upgrade; then it is a request like any other, with its body."""
    model = strict.play(replies(completion("hello")))
    body = json.dumps(ask(model)).encode()
    length = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(body)}"
    async with Wire(strict.gateway.url) as wire:
        await wire.send(head(f"POST {CHAT}", "Content-Type: application/json", length, *offer))
        if framing == "in pieces":
            for byte in body:
                await wire.send(bytes([byte]))
        else:
            await wire.send(chunk(body) + b"0\r\n\r\n" if framing == "chunked" else body)
        answer = await wire.response()
    assert answer.status == 200, answer.body
    assert [call.body for call in strict.calls(model)] == [body]


async def test_s20_another_version_in_the_request_line_is_refused(strict: Stage) -> None:
    for version in ("HTTP/2.0", "HTTP/3.0"):
        async with Wire(strict.gateway.url) as wire:
            await wire.send(head("GET /health").replace(b"HTTP/1.1", version.encode()))
            answer = await wire.response()
        assert answer.status in (400, 505)
        await refused(strict.gateway, answer, answer.status)
