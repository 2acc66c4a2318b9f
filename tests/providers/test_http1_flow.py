"""One connection: sending, holding back, leaving and closing, on real sockets. What an answer is: test_http1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from loops import on_each_loop
from raw_server import Peer, RawServer, always, answers, chunked, plain

from providers import http1
from providers.answer import HIGH_WATER_BYTES
from providers.errors import Disconnected, Malformed
from providers.http1 import JOINED_BYTES, Connection
from tests.e2e.harness import eventually

ASK = b"GET / HTTP/1.1\r\nHost: up\r\n\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = plain(b"hi")
READ_BYTES = 256 * 1024  # the most that either loop takes from a socket at once


def upload(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: up\r\nContent-Length: %d\r\n\r\n" % size


class Line(NamedTuple):
    """A connection and what it told its owner."""

    connection: Connection
    released: list[Connection]
    lost: list[Connection]


@asynccontextmanager
async def dialled(server: RawServer) -> AsyncGenerator[Line]:
    loop = asyncio.get_running_loop()
    released: list[Connection] = []
    lost: list[Connection] = []
    _, connection = await loop.create_connection(
        lambda: Connection(loop, "up", released.append, lost.append), "127.0.0.1", server.port
    )
    try:
        yield Line(connection, released, lost)
    finally:
        connection.abort()
    await eventually(lambda: lost == [connection])


async def whole(answer) -> bytes:
    await answer.begin()
    parts = []
    while part := await answer.read():
        parts.append(part)
    return b"".join(parts)


# --- sending -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, JOINED_BYTES, JOINED_BYTES + 1, 5_000_000])
@on_each_loop
async def test_a_body_arrives_whole_whatever_its_size(size):
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    async with RawServer(always(OK)) as server, dialled(server) as (connection, released, _):
        for _ in range(2):
            assert await whole(connection.send(upload(size), body)) == b"hi"
        assert server.peers[0].requests == [upload(size) + body] * 2
        assert released == [connection] * 2


@on_each_loop
async def test_a_body_that_follows_in_parts_arrives_and_waits_while_the_server_does():
    parts = [bytes([number]) * 100_000 for number in range(50)]
    reads = asyncio.Event()
    got = b""

    async def script(peer: Peer) -> None:
        nonlocal got
        peer.keep_little()
        await peer.head()
        await reads.wait()
        got = await peer.read(5_000_000)
        await peer.send(OK)
        await peer.request()
        await peer.send(OK)

    async with RawServer(script) as server, dialled(server) as (connection, released, _):
        answer = connection.send(upload(5_000_000), more=True)
        written = 0

        async def write() -> None:
            nonlocal written
            for part in parts:
                await connection.write(part, more=part is not parts[-1])
                written += 1

        writing = asyncio.create_task(write())
        await eventually(lambda: connection._blocked)
        held_at = written
        await eventually(lambda: connection._transport.get_write_buffer_size() < 300_000)
        assert held_at == written < 50
        reads.set()
        await writing
        assert await whole(answer) == b"hi"
        assert got == b"".join(parts)
        assert released == [connection]
        assert await whole(connection.send(ASK)) == b"hi"


@pytest.mark.parametrize("how", ["reset", "finish", "we abort"])
@on_each_loop
async def test_a_write_that_waits_fails_with_the_connection(how):
    blocked = asyncio.Event()

    async def script(peer: Peer) -> None:
        peer.keep_little()
        await peer.head()
        await blocked.wait()
        if how == "reset":
            peer.reset()
        elif how == "finish":  # and it goes on not reading
            peer.finish()
        await done.wait()

    done = asyncio.Event()
    async with RawServer(script) as server, dialled(server) as (connection, released, lost):
        answer = connection.send(upload(50_000_000), more=True)
        writing = asyncio.create_task(connection.write(b"x" * 20_000_000, more=True))
        await eventually(lambda: connection._blocked)
        blocked.set()
        if how == "we abort":
            connection.abort()
        with pytest.raises(Disconnected):
            await writing
        with pytest.raises(Disconnected):
            await answer.begin()
        with pytest.raises(Disconnected):
            await connection.write(b"more", more=False)
        await eventually(lambda: lost)
        assert not released
        done.set()


@on_each_loop
async def test_a_write_that_is_cancelled_waits_no_more_and_closing_ends_all():
    async def script(peer: Peer) -> None:
        peer.keep_little()
        await peer.head()
        await done.wait()

    done = asyncio.Event()
    async with RawServer(script) as server, dialled(server) as (connection, released, lost):
        answer = connection.send(upload(50_000_000), more=True)
        writing = asyncio.create_task(connection.write(b"x" * 20_000_000, more=False))
        await eventually(lambda: connection._blocked)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        answer.close()
        await eventually(lambda: lost)
        assert not released
        done.set()


REFUSAL = plain(b"too large", status=b"413 So")


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("in_parts", [True, False])
@on_each_loop
async def test_an_answer_to_half_a_request_is_read_and_the_connection_ends_at_once(in_parts, kept):
    """Once a body that the server did not read kept the connection, and all of the body in memory, until it did."""
    reply = REFUSAL if kept else REFUSAL.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)

    async def script(peer: Peer) -> None:
        peer.keep_little()
        await peer.head()
        await peer.send(reply)
        await done.wait()

    done = asyncio.Event()
    body = b"x" * 20_000_000
    async with RawServer(script) as server, dialled(server) as (connection, released, lost):
        if in_parts:
            answer = connection.send(upload(len(body) + 1), more=True)
            writing = asyncio.create_task(connection.write(body, more=True))
        else:
            answer = connection.send(upload(len(body)), body)
            writing = None
        assert await whole(answer) == b"too large"
        assert answer.status == 413
        await eventually(lambda: lost)
        assert not released
        if writing is not None:
            with pytest.raises(Disconnected):
                await writing
        done.set()


@on_each_loop
async def test_what_is_written_after_an_early_answer_goes_to_nobody():
    """Request smuggling: the rest of one body must never stand where the next request is expected."""
    async with RawServer(always(OK)) as server, dialled(server) as (connection, released, _):
        answer = connection.send(upload(0), more=True)  # for all that the server can see, that was the request
        assert await whole(answer) == b"hi"
        assert not released
        with pytest.raises(Disconnected):
            await connection.write(b"GET /smuggled HTTP/1.1\r\n\r\n", more=False)
        await eventually(lambda: not server.playing)
        assert len(server.peers[0].requests) == 1


# --- holding back --------------------------------------------------------------------------------------------------


@on_each_loop
async def test_a_reader_that_does_not_read_holds_the_server_back_and_then_gets_everything():
    piece = bytes(range(256)) * 256
    total = 20_000_000
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(piece[: total - sent])
            sent += min(len(piece), total - sent)
        await peer.request()
        await peer.send(OK)

    async with RawServer(script) as server, dialled(server) as (connection, released, _):
        answer = connection.send(ASK)
        await answer.begin()
        await eventually(lambda: answer._size > HIGH_WATER_BYTES)
        settled = -1
        while settled != sent:  # until it no longer gets anything off its hands
            settled = sent
            for _ in range(50):
                await asyncio.sleep(0)
        assert answer._size <= HIGH_WATER_BYTES + READ_BYTES
        assert sent < total
        size = 0
        while part := await answer.read():
            assert len(part) <= HIGH_WATER_BYTES + READ_BYTES
            assert part == (piece * 6)[size % len(piece) :][: len(part)]
            size += len(part)
        assert size == total
        assert released == [connection]
        assert await whole(connection.send(ASK)) == b"hi"


@on_each_loop
async def test_an_answer_that_nobody_has_read_yet_does_not_hold_back_the_next_one():
    """It ended while it was held back: the connection is whole again, and is read again."""
    body = b"x" * (HIGH_WATER_BYTES + 10_000)
    async with RawServer(always(plain(body))) as server, dialled(server) as (connection, released, _):
        first = connection.send(ASK)
        await eventually(lambda: released)
        second = connection.send(ASK)
        assert await whole(second) == body
        assert await whole(first) == body


@on_each_loop
async def test_a_server_that_hangs_up_is_noticed_behind_what_was_held_back():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(BEGUN + b"%x\r\n%b\r\n" % (HIGH_WATER_BYTES * 2, b"x" * HIGH_WATER_BYTES * 2))

    async with RawServer(script) as server, dialled(server) as (connection, *_):
        answer = connection.send(ASK)
        got: list[bytes] = []

        async def read_on() -> None:
            while True:
                got.append(await answer.read())

        with pytest.raises(Disconnected):
            await read_on()
        assert len(b"".join(got)) == HIGH_WATER_BYTES * 2


# --- leaving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [b"0\r\n\r\n", b"9\r\n: ignored\r\n0\r\nX-A: b\r\n\r\n"])
@on_each_loop
async def test_a_body_that_is_left_and_ends_soon_leaves_the_connection_usable(rest):
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(BEGUN + b"4\r\nDONE\r\n")
        await left.wait()
        await peer.send(rest)
        await peer.request()
        await peer.send(OK)

    async with RawServer(script) as server, dialled(server) as (connection, released, lost):
        answer = connection.send(ASK)
        await answer.begin()
        assert await answer.read() == b"DONE"
        answer.leave()
        answer.close()  # whoever leaves also closes, later
        assert not released
        left.set()
        await eventually(lambda: released)
        assert await whole(connection.send(ASK)) == b"hi"
        await asyncio.sleep(0)
        assert not lost


@on_each_loop
async def test_a_body_that_is_left_when_it_is_over_keeps_the_connection():
    async with RawServer(always(chunked(b"DONE"))) as server, dialled(server) as (connection, released, lost):
        for count in (1, 2):
            answer = connection.send(ASK)
            assert await whole(answer) == b"DONE"
            answer.leave()
            answer.close()
            answer.close()
            assert released == [connection] * count
        assert not lost
        assert connection._draining is None


@on_each_loop
async def test_a_body_that_is_left_and_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr(http1, "DRAIN_SECONDS", 0.02)
    async with RawServer(answers(BEGUN + b"4\r\nDONE\r\n")) as server, dialled(server) as (connection, released, lost):
        answer = connection.send(ASK)
        await answer.begin()
        began = connection.loop.time()
        answer.leave()
        await eventually(lambda: lost)
        assert connection.loop.time() - began >= 0.019  # uvloop counts whole milliseconds
        assert not released
        await eventually(lambda: not server.playing)


@on_each_loop
async def test_a_body_that_is_left_and_floods_is_given_up_before_its_time(monkeypatch):
    monkeypatch.setattr(http1, "DRAIN_SECONDS", 60.0)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(BEGUN + b"4\r\nDONE\r\n")
        while True:
            await peer.send(b"2000\r\n%b\r\n" % (b"x" * 8192))

    async with RawServer(script) as server, dialled(server) as (connection, released, lost):
        answer = connection.send(ASK)
        await answer.begin()
        answer.leave()
        await eventually(lambda: lost)
        assert not released
        assert answer._size <= HIGH_WATER_BYTES + READ_BYTES, "what is drained is not kept"
        assert connection._draining is None or connection._draining.cancelled()


@on_each_loop
async def test_a_body_that_is_left_while_it_was_held_back_is_read_to_its_end():
    body = b"x" * (HIGH_WATER_BYTES + 1)
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(BEGUN + b"%x\r\n%b\r\n" % (len(body), body))
        await left.wait()
        await peer.send(b"0\r\n\r\n")
        await peer.hung_up()

    async with RawServer(script) as server, dialled(server) as (connection, released, _):
        answer = connection.send(ASK)
        await eventually(lambda: connection._paused)
        answer.leave()
        left.set()
        await eventually(lambda: released)


# --- closing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the head", "in the head", "in the body"])
@on_each_loop
async def test_closing_in_the_middle_of_an_answer_hangs_up_at_once(when):
    said = {"before the head": b"", "in the head": BEGUN[:9], "in the body": BEGUN + b"4\r\nDO"}[when]
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        assert await peer.hung_up() == b""
        gone.set()

    async with RawServer(script) as server, dialled(server) as (connection, released, lost):
        answer = connection.send(ASK)
        if when == "in the body":
            await answer.begin()
            assert await answer.read() == b"DO"
        waiting = asyncio.create_task(answer.read())
        await asyncio.sleep(0)
        answer.close()
        answer.close()
        await gone.wait()
        with pytest.raises(Disconnected):
            await waiting
        with pytest.raises(Disconnected):
            await answer.read()
        assert lost
        assert not released


@on_each_loop
async def test_a_closed_answer_cannot_hurt_the_next_one():
    async with RawServer(always(OK)) as server, dialled(server) as (connection, released, lost):
        first = connection.send(ASK)
        assert await whole(first) == b"hi"
        second = connection.send(ASK)
        first.close()
        first.leave()
        assert await whole(second) == b"hi"
        assert released == [connection] * 2
        assert not lost


@on_each_loop
async def test_a_wait_that_is_cancelled_loses_nothing():
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(OK)
        await peer.hung_up()

    async with RawServer(script) as server, dialled(server) as (connection, released, _):
        answer = connection.send(ASK)
        for wait in (answer.begin, answer.read):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        go.set()
        assert await whole(answer) == b"hi"
        assert released == [connection]


@on_each_loop
async def test_malformed_in_mid_body_is_said_after_what_came_before_it():
    async with (
        RawServer(answers(BEGUN + b"2\r\nhi\r\nzz\r\n")) as server,
        dialled(server) as (connection, released, lost),
    ):
        answer = connection.send(ASK)
        await eventually(lambda: lost)
        await answer.begin()
        assert await answer.read() == b"hi"
        with pytest.raises(Malformed):
            await answer.read()
        assert not released
