"""llama.cpp's server ends a connection after each stream, and says nothing of it beforehand."""

from __future__ import annotations

import orjson
import pytest
from loops import on_each_loop
from raw_server import Peer, RawServer, Script, always, chunked, plain

from providers import Endpoint, Request
from providers.errors import Overloaded
from providers.llamacpp import LlamaCpp, LlamaCppOptions
from tests.e2e.harness import eventually

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
STREAM = chunked(EVENT, b"data: [DONE]\n\n")
WHOLE = plain(b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}', b"Content-Type: application/json")
LOADING = plain(b'{"error":{"code":503,"message":"Loading model"}}', status=b"503 Service Unavailable")


def asking(*, stream: bool) -> Request:
    fields = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    return Request("r1", Endpoint.CHAT, orjson.dumps(fields), fields, stream, {})


def closing_after(reply: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)

    return script


async def read(provider: LlamaCpp, *, stream: bool) -> bytes:
    answer = await provider.open(asking(stream=stream), "m", 5.0)
    try:
        return b"".join([chunk.raw async for chunk in answer])
    finally:
        await answer.aclose()


@on_each_loop
async def test_no_request_follows_a_stream_on_its_connection():
    async with RawServer(closing_after(STREAM)) as server:
        provider = LlamaCpp("local", LlamaCppOptions(server.url))
        for _ in range(20):  # each is sent while the end of the one before may still be on its way
            assert EVENT in await read(provider, stream=True)
        assert len(server.peers) == 20
        assert all(b"Connection: close\r\n" in peer.requests[0] for peer in server.peers)
        await provider.aclose()
        await eventually(lambda: not provider._upstream._open)


@on_each_loop
async def test_a_plain_answer_leaves_its_connection_to_the_next():
    async with RawServer(always(WHOLE)) as server:
        provider = LlamaCpp("local", LlamaCppOptions(server.url))
        for _ in range(3):
            await read(provider, stream=False)
        assert [len(peer.requests) for peer in server.peers] == [3]
        assert b"Connection:" not in server.peers[0].requests[0]
        await provider.aclose()


@on_each_loop
async def test_a_server_that_still_loads_its_model_is_not_well():
    async with RawServer(always(LOADING)) as server:
        provider = LlamaCpp("local", LlamaCppOptions(server.url))
        with pytest.raises(Overloaded):
            await provider.probe(2.0)
        assert server.peers[0].requests[0].startswith(b"GET /v1/health ")
        await provider.aclose()
