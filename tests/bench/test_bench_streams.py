from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from bench import streams, upstream
from bench.answers import CHUNKS, DONE, EVENT, LAST_EVENT, PLAIN, PLAIN_PATH, STREAM_PATH
from bench.streams import Incomplete, chunks_of, collect, unchunked

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


@given(PIECES)
@examples(200)
def test_a_chunked_body_is_what_its_chunks_hold(pieces: list[bytes]) -> None:
    assert unchunked(chunked(pieces)) == b"".join(pieces)


@given(PIECES, st.data())
@examples(200)
def test_no_part_of_a_body_passes_for_the_whole(pieces: list[bytes], data: st.DataObject) -> None:
    body = chunked(pieces)
    with pytest.raises(Incomplete):
        unchunked(body[: data.draw(st.integers(0, len(body) - 1))])


def test_chunks_are_counted_however_they_were_packed() -> None:
    events = [EVENT] * (CHUNKS - 1) + [LAST_EVENT]
    assert chunks_of(HEAD + chunked(events)) == CHUNKS
    assert chunks_of(HEAD + chunked([b"".join(events)])) == CHUNKS
    assert chunks_of(HEAD + chunked([bytes([byte]) for byte in b"".join(events)])) == CHUNKS
    assert chunks_of(HEAD + chunked([b": a comment\n\n", *events])) == CHUNKS


@pytest.mark.parametrize(
    ("received", "named"),
    [
        (b"", "the answer was b''"),
        (REFUSAL, "503 Service Unavailable"),
        (HEAD, "broke off after 0 bytes"),
        (HEAD + chunked([EVENT] * CHUNKS)[:-5], "broke off after"),
        (HEAD + chunked([EVENT] * CHUNKS), "did not end with"),
        (HEAD + chunked([EVENT] * 3 + [DONE]), f"3 chunks instead of {CHUNKS}"),
        (HEAD + chunked([EVENT] * CHUNKS + [LAST_EVENT]), f"{CHUNKS + 1} chunks instead of {CHUNKS}"),
        (HEAD + b"what\r\n", "'what' is no size"),
    ],
)
def test_what_is_not_a_whole_stream_is_named(received: bytes, named: str) -> None:
    with pytest.raises(Incomplete, match=named):
        chunks_of(received)


@asynccontextmanager
async def listening(protocol: Callable[[], asyncio.Protocol]) -> AsyncGenerator[int]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Saying(asyncio.Protocol):
    """Answers anything with ``words``, and then hangs up or waits."""

    def __init__(self, words: bytes, *, hang_up: bool) -> None:
        self.words, self.hang_up = words, hang_up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.words)
        if self.hang_up:
            self.transport.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RAMP_SECONDS", 0.0)
    monkeypatch.setattr(upstream, "GAP_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_streams_of_the_python_upstream_are_whole() -> None:
    async with listening(upstream.Upstream) as port:
        ended = await collect(port, STREAM_PATH, 5)
    assert [chunks_of(bytes(stream.received)) for stream in ended] == [CHUNKS] * 5
    assert all(stream.seconds > 0 and stream.reads > 1 for stream in ended)


async def test_the_python_upstream_answers_a_plain_request_after_another() -> None:
    async with listening(upstream.Upstream) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"POST %s HTTP/1.1\r\nContent-Length: 2\r\n\r\n{" % PLAIN_PATH.encode())
            await writer.drain()
            writer.write(b"}")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(len(PLAIN)) == PLAIN
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("words", "hang_up", "named"),
    [(REFUSAL, False, "503"), (HEAD + chunked([EVENT])[:-5], True, "broke off"), (b"", True, "the answer was b''")],
)
async def test_a_stream_that_goes_wrong_ends_and_is_seen(words: bytes, hang_up: bool, named: str) -> None:
    async with listening(lambda: Saying(words, hang_up=hang_up)) as port:
        (stream,) = await collect(port, STREAM_PATH, 1)
    with pytest.raises(Incomplete, match=named):
        chunks_of(bytes(stream.received))


async def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "GIVE_UP_SECONDS", 0.05)
    async with listening(lambda: Saying(HEAD, hang_up=False)) as port:
        with pytest.raises(Incomplete, match=r"only 0 of 2 streams had ended after 0\.05 s"):
            await collect(port, STREAM_PATH, 2)


async def test_nobody_there_is_named() -> None:
    async with listening(upstream.Upstream) as port:
        pass
    with pytest.raises(Incomplete, match="a connection failed"):
        await collect(port, STREAM_PATH, 1)
