"""S14, S19 and S20: trailers. A client may send them; they say nothing, and there is an end to them."""

from __future__ import annotations

import json

import pytest

from tests.e2e.faulty import completion
from tests.e2e.outside import Stage, ask, forget_peak, memory, replies
from tests.e2e.wire_http import CHAT, Wire, chunk, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

START = head(f"POST {CHAT}", "Content-Type: application/json", "Transfer-Encoding: chunked")


async def test_s20_trailers_are_no_headers(strict: Stage) -> None:
    """A proxy in front checks and strips headers, not trailers: what comes in one must never count as the other."""
    model = strict.play(replies(completion("hello")))
    trailers = [
        "X-Request-ID: from-a-trailer",
        "X-Provider-Priority: nobody",
        "traceparent: trailing",
        "Host: other",
        "",
    ]
    body = json.dumps(ask(model)).encode()
    async with Wire(strict.gateway.url) as wire:
        await wire.send(START + chunk(body) + b"0\r\n" + "\r\n".join([*trailers, ""]).encode())
        answer = await wire.response()
    assert answer.status == 200, answer.body
    assert answer.header("x-request-id") != "from-a-trailer"
    (call,) = strict.calls(model)
    assert b"trailing" not in call.head


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"X-A: b\r\n" * 8192], ids=["one", "many"])
async def test_s14_trailers_without_an_end_are_cut_off_in_bounded_memory(strict: Stage, piece: bytes) -> None:
    forget_peak(strict.gateway.pid)
    before = memory(strict.gateway.pid)
    sent = 0
    async with Wire(strict.gateway.url) as wire:
        await wire.send(START + chunk(json.dumps(ask("m")).encode()) + b"0\r\nX-Endless: ")
        try:
            while sent < 300:
                await wire.send(piece)
                sent += 1
        except ConnectionError:
            pass
    grown = memory(strict.gateway.pid, "VmHWM") - before
    print(f"{sent * 65_536 / 1e6:.0f} MB of trailers: {grown:.1f} MB more")
    assert grown < 5
