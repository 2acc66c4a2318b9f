"""Asking an upstream whether it is there: real sockets, and what is left of the connection afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext

import pytest
from loops import on_each_loop
from raw_server import Peer, RawServer, Script, always, answers, chunked, plain

from providers.errors import Disconnected, Malformed, Overloaded, ProviderError, ServerFault, Unreachable
from providers.http import read_body
from providers.openai_compatible import HttpOptions, OpenAICompatible
from tests.e2e.faulty import refusing
from tests.e2e.harness import eventually

MODELS = plain(b'{"object":"list","data":[{"id":"m"}]}', b"Content-Type: application/json")
LARGE = plain(b"x" * 2_000_000)


@asynccontextmanager
async def asking(url: str, **options: object) -> AsyncGenerator[OpenAICompatible]:
    """A provider, and afterwards nothing of it is left open."""
    provider = OpenAICompatible("up", HttpOptions(url, **options))  # type: ignore[arg-type]
    try:
        yield provider
    finally:
        await provider.aclose()
    await eventually(lambda: not provider._upstream._open and not provider._upstream._idle)


async def post(provider: OpenAICompatible) -> bytes:
    return await read_body(await provider._upstream.post("chat", b"{}", {}, 5.0), 1_000, "up")


@on_each_loop
async def test_what_is_asked():
    async with (
        RawServer(always(MODELS)) as server,
        asking(server.url, api_key="key", headers={"X-Team": "blue"}) as provider,
    ):
        await provider.probe(2.0)
        first, *lines = server.peers[0].requests[0].decode().rstrip().split("\r\n")
        assert first == "GET /v1/models HTTP/1.1"
        assert sorted(lines) == [
            "Accept-Encoding: identity",
            "Authorization: Bearer key",
            f"Host: 127.0.0.1:{server.port}",
            "X-Team: blue",
        ]


ALIVE = {
    "200": MODELS,
    "200 in chunks": chunked(b'{"object":', b'"list"}'),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "301": plain(b"", b"Location: http://127.0.0.1:1/", status=b"301 Moved Permanently"),
    "401": plain(b'{"error":"Unauthorized"}', status=b"401 Unauthorized"),
    "403": plain(b"", status=b"403 Forbidden"),
    "404": plain(b"not here", status=b"404 Not Found"),
    "429": plain(b"slow down", b"Retry-After: 60", status=b"429 Too Many Requests"),
    "an interim answer first": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + MODELS,
}


@pytest.mark.parametrize("reply", ALIVE.values(), ids=ALIVE)
@on_each_loop
async def test_whoever_answers_below_500_is_there(reply):
    async with RawServer(always(reply)) as server, asking(server.url) as provider:
        await provider.probe(2.0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(b"500 Internal Server Error", ServerFault), (b"502 Bad Gateway", ServerFault), (b"503 Loading", Overloaded)],
)
@on_each_loop
async def test_from_500_on_it_is_not(status, kind):
    reply = plain(b"SECRET WORDS OF THE UPSTREAM", status=status)
    async with RawServer(always(reply)) as server, asking(server.url) as provider:
        with pytest.raises(kind) as failed:
            await provider.probe(2.0)
        assert failed.value.label == status[:3].decode()
        assert "SECRET" not in failed.value.message


async def says_nothing(peer: Peer) -> None:
    await peer.request()
    await peer.hung_up()


async def resets(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def greets_only(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"SSH-2.0-OpenSSH_9.9\r\n")
    await peer.hung_up()


async def closes(peer: Peer) -> None:
    await peer.request()


BROKEN: dict[str, tuple[Script, type[ProviderError]]] = {
    "closes": (closes, Disconnected),
    "resets": (resets, Disconnected),
    "garbage": (greets_only, Malformed),
    "endless headers": (answers(b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 400_000), Malformed),
}


@pytest.mark.parametrize("name", BROKEN)
@on_each_loop
async def test_what_is_no_answer_is_a_failure_and_the_connection_is_gone(name):
    script, kind = BROKEN[name]
    async with RawServer(script) as server, asking(server.url) as provider:
        with pytest.raises(kind):
            await provider.probe(2.0)
        await eventually(lambda: not provider._upstream._open)
        await eventually(lambda: not server.playing)


@on_each_loop
async def test_nobody_there():
    with refusing() as url:
        async with asking(url) as provider:
            with pytest.raises(Unreachable):
                await provider.probe(2.0)


@on_each_loop
async def test_one_that_hangs_is_given_up_by_whoever_asks_and_hung_up_on():
    async with RawServer(says_nothing) as server, asking(server.url) as provider:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await provider.probe(2.0)
        await eventually(lambda: not server.playing)
        assert not provider._upstream._open


# --- the pool --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply", [MODELS, plain(b"no", status=b"404 Not Found"), plain(b"no", status=b"500 No")], ids=range(3)
)
@on_each_loop
async def test_after_a_short_answer_the_connection_serves_on(reply):
    """Its body came with its head."""

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            await peer.send(reply if asked.startswith(b"GET") else plain(b"chat"))

    async with RawServer(script) as server, asking(server.url) as provider:
        for _ in range(3):
            with pytest.raises(ServerFault) if b"500" in reply[:20] else nullcontext():
                await provider.probe(2.0)
            assert await post(provider) == b"chat"
        assert len(server.peers) == 1


@pytest.mark.parametrize("cut", [0, 1, 10])
@on_each_loop
async def test_a_body_that_nobody_read_is_never_taken_for_the_next_answer(cut):
    """The head comes alone, or with a part of the body; the rest comes when another request could be waiting for its own."""
    head, _, body = plain(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").partition(b"\r\n\r\n")
    late = asyncio.Event()

    async def script(peer: Peer) -> None:
        asked = await peer.request()
        while asked.startswith(b"POST"):
            await peer.send(plain(b"good"))
            asked = await peer.request()
        await peer.send(head + b"\r\n\r\n" + body[:cut])
        await late.wait()
        await peer.send(body[cut:])
        await peer.hung_up()

    async with RawServer(script) as server, asking(server.url) as provider:
        await provider.probe(2.0)
        running = asyncio.create_task(post(provider))
        late.set()
        assert await running == b"good"
        assert await post(provider) == b"good"
        assert len(server.peers) == 2
        await eventually(lambda: server.playing == 1)


@on_each_loop
async def test_a_large_list_is_not_read():
    async with RawServer(always(LARGE), always(plain(b"chat"))) as server, asking(server.url) as provider:
        await provider.probe(2.0)
        assert await post(provider) == b"chat"
        await eventually(lambda: server.playing == 1)


@on_each_loop
async def test_many_at_once_are_independent():
    async with RawServer(always(MODELS)) as server, asking(server.url) as provider:
        await asyncio.gather(*[provider.probe(2.0) for _ in range(20)])
        assert len(provider._upstream._idle) == len(provider._upstream._open) <= 20
        assert len(server.peers) <= 20


@on_each_loop
async def test_one_is_asked_on_a_new_connection_if_the_old_one_has_died_meanwhile():
    """A restarted server has closed what idled: that must not count as a failed probe."""

    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(MODELS)

    async with RawServer(once) as server, asking(server.url) as provider:
        await provider.probe(2.0)
        await eventually(lambda: not provider._upstream._idle)
        await provider.probe(2.0)
        assert len(server.peers) == 2


@on_each_loop
async def test_cancelled_at_any_moment_it_leaves_nothing_behind():
    async with RawServer(says_nothing) as server, asking(server.url) as provider:
        for turns in range(12):
            task = asyncio.create_task(provider.probe(2.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: not provider._upstream._open and not server.playing)
