"""W17 to W19: bodies, connections that the upstream closes, and what may not cross a gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.faulty import DONE, ROLE, Exchange, completion, delta
from tests.e2e.outside import MB, Stage, ask, dice, forget_peak, memory, refused, replies, says
from tests.e2e.wire_http import CHAT, Wire, chunk, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWER = completion("hello")
JSON = "Content-Type: application/json"


def image(model: str, size: int) -> bytes:
    url = "data:image/png;base64," + "iVBORw0KGgo" * (size // 11)
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    return json.dumps({"model": model, "messages": [{"role": "user", "content": parts}]}).encode()


async def test_w17_a_large_image_passes_in_bounded_memory(stage: Stage) -> None:
    """Several times, since what is not given back would add up."""
    model = stage.play(replies(ANSWER))
    body = image(model, 19 * MB)
    forget_peak(stage.gateway.pid)
    before = memory(stage.gateway.pid)
    for _ in range(4):
        assert (await stage.ask(body)).status == 200
    assert all(one.body == body for one in stage.calls(model))
    peak = memory(stage.gateway.pid, "VmHWM") - before
    kept = memory(stage.gateway.pid) - before
    print(f"4 bodies of 19 MB: {peak:.0f} MB more at the peak, {kept:.0f} MB more afterwards")
    assert peak < 19 * 6
    assert kept < 19 * 3
    stage.up.exchanges.clear()


@pytest.mark.parametrize("sizes", [[1], [5000], [1, 0x10, 70_000, 3], [200_000]], ids=str)
async def test_w17_a_chunked_body_arrives_whole(stage: Stage, sizes: list[int]) -> None:
    model = stage.play(replies(ANSWER))
    body = image(model, 300_000)
    parts = []
    at = turn = 0
    while at < len(body) and turn < 2000:
        size = sizes[turn % len(sizes)] if turn < 1999 else len(body)
        parts.append(chunk(body[at : at + size]))
        at, turn = at + size, turn + 1
    async with Wire(stage.gateway.url) as wire:
        await wire.send(head(f"POST {CHAT}", JSON, "Transfer-Encoding: chunked") + b"".join(parts) + b"0\r\n\r\n")
        assert (await wire.response()).status == 200
        await wire.send(post(ask(model)))
        assert (await wire.response()).status == 200
    assert stage.calls(model)[0].body == body


async def test_w17_expect_100_is_told_to_go_on(stage: Stage) -> None:
    body = json.dumps(ask(stage.play(replies(ANSWER)))).encode()
    async with Wire(stage.gateway.url) as wire:
        await wire.send(head(f"POST {CHAT}", JSON, f"Content-Length: {len(body)}", "Expect: 100-Continue"))
        assert (await wire.begun()).status == 100
        await wire.send(body)
        answer = await wire.response()
        assert (answer.status, answer.interim) == (200, [])
        # Who does not wait for it gets it all the same.
        await wire.send(head(f"POST {CHAT}", JSON, f"Content-Length: {len(body)}", "Expect: 100-continue") + body)
        assert (await wire.response()).status == 200


async def test_w17_expect_100_with_a_body_that_is_too_large_is_refused_at_once(stage: Stage) -> None:
    async with Wire(stage.gateway.url) as wire:
        await wire.send(head(f"POST {CHAT}", JSON, "Content-Length: 20000001", "Expect: 100-continue"))
        answer = await wire.response()
        assert answer.interim == []
        await refused(stage.gateway, answer, 413, "request_too_large")
        assert answer.header("connection") == "close"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_w17_a_body_over_the_limit_is_answered_and_not_reset(stage: Stage, framing: str) -> None:
    """The client sends all of it before it looks: a reset in between would hide the answer."""
    piece = b"x" * MB
    async with Wire(stage.gateway.url) as wire:
        if framing == "length":
            await wire.send(head(f"POST {CHAT}", JSON, f"Content-Length: {25 * MB}"))
            for _ in range(25):
                await wire.send(piece)
        else:
            await wire.send(head(f"POST {CHAT}", JSON, "Transfer-Encoding: chunked"))
            for _ in range(25):
                await wire.send(chunk(piece))
            await wire.send(b"0\r\n\r\n")
        await refused(stage.gateway, await wire.response(), 413, "request_too_large")


# --- W18 ---------------------------------------------------------------------------------------------------------


async def stale(x: Exchange) -> None:
    """The request crossed with the closing of an idle connection."""
    await (x.close() if x.earlier else x.reply(200, ANSWER))


async def closed_behind_the_answer(x: Exchange) -> None:
    await x.reply(200, ANSWER)
    await x.close()


async def closed_as_announced(x: Exchange) -> None:
    await x.reply(200, ANSWER, headers={"Connection": "close"})
    await x.close()


async def streamed_to_the_end_of_the_connection(x: Exchange) -> None:
    media_type = "text/event-stream" if x.stream else "application/json"
    await x.write(f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n\r\n".encode() + b"".join(x.pieces))
    await x.close()


async def test_w18_connections_that_the_upstream_closes_cost_no_client_an_error(stage: Stage) -> None:
    rng = dice()
    ways = [
        replies(ANSWER),
        stale,
        closed_behind_the_answer,
        closed_as_announced,
        streamed_to_the_end_of_the_connection,
    ]
    model = stage.play(replies(ANSWER))
    before = stage.up.connections
    closed = 0
    async with Wire(stage.gateway.url) as wire:
        for number in range(1000):
            way = rng.choices(ways, [20, 2, 1, 1, 1])[0]
            stage.put_on(model, way)
            if rng.random() < 0.05:
                closed += stage.up.close_idle()
            stream = way is streamed_to_the_end_of_the_connection and rng.random() < 0.5
            await wire.send(post(ask(model, stream=stream)))
            answer = await wire.response()
            assert (answer.status, answer.whole) == (200, True), (number, way, answer)
    print(f"1000 requests over {stage.up.connections - before} connections, {closed} closed while idle")
    assert closed > 10


# --- W19 ---------------------------------------------------------------------------------------------------------

# Names that must never cross; the values are searched for.
HOP_BY_HOP = [
    "Connection: keep-alive, X-Hop, traceparent", "X-Hop: LEAK", "Keep-Alive: timeout=5, x=LEAK", "Proxy-Connection: LEAK",
    "TE: trailers, LEAK", "Trailer: LEAK", "Proxy-Authorization: Basic LEAK", "Proxy-Authenticate: LEAK", "Upgrade: LEAK",
]  # fmt: skip
OURS_ONLY = [
    "Authorization: Bearer LEAK", "X-API-Key: LEAK", "Cookie: a=LEAK", "X-Forwarded-For: 10.0.0.LEAK", "Forwarded: for=LEAK",
    "X-Forwarded-Host: LEAK", "X-Real-IP: LEAK", "X-Provider-Priority: up, *", "Accept-Encoding: gzip", "Origin: http://LEAK",
    "OpenAI-Organization: LEAK", "OpenAI-Project: LEAK", "X-Stainless-Lang: LEAK", "User-Agent: LEAK", "Referer: LEAK",
]  # fmt: skip


async def test_w19_s21_the_clients_own_headers_stay_here(stage: Stage) -> None:
    model = stage.play(replies(ANSWER))
    answer = await stage.ask(ask(model), *HOP_BY_HOP, *OURS_ONLY)
    assert answer.status == 200
    (call,) = stage.calls(model)
    assert b"LEAK" not in call.head
    names = [name for name, _ in call.headers]
    assert len(names) == len(set(names))
    assert set(names) == {"host", "accept-encoding", "content-type", "content-length", "x-request-id"}
    assert dict(call.headers)["accept-encoding"] == "identity"
    assert dict(call.headers)["host"] in stage.up.url


@pytest.mark.parametrize("stream", [False, True])
async def test_w19_s21_the_upstreams_own_headers_stay_there(stage: Stage, stream: bool) -> None:
    kept = {"set-cookie", "openai-organization", "openai-project", "server", "cf-ray", "x-hop", "x-internal", "trailer"}
    kept |= {"keep-alive", "proxy-authenticate", "www-authenticate", "upgrade", "alt-svc", "strict-transport-security"}
    named: dict[str, Any] = {name.replace("-", "_"): "LEAK" for name in kept} | {"Connection": "keep-alive, x-hop"}
    script = (
        says(ROLE, delta({"content": "x"}), delta({}, "stop"), DONE, **named) if stream else replies(ANSWER, **named)
    )
    answer = await stage.ask(ask(stage.play(script), stream=stream))
    assert answer.status == 200
    assert "LEAK" not in str(answer.headers)
    names = [name for name, _ in answer.headers]
    assert len(names) == len(set(names))
    assert answer.header("date")
    assert "x-hop" not in answer.header("connection")


async def test_w19_a_page_from_elsewhere_is_allowed_nothing(stage: Stage) -> None:
    """The preflight is answered, and says no."""
    origin = ("Origin: https://evil.example", "Access-Control-Request-Method: POST")
    async with Wire(stage.gateway.url) as wire:
        await wire.send(head(f"OPTIONS {CHAT}", *origin) + head("OPTIONS *"))
        for answer in (await wire.response(), await wire.response()):
            assert 200 <= answer.status < 500
            assert not answer.header("access-control-allow-origin")
            assert answer.status < 300 or answer.error
