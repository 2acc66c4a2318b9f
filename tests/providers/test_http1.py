"""One connection: what is an answer, what is none, and what becomes of the connection. The bytes are the server's."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import on_each_loop
from props import examples
from raw_server import Peer, RawServer, answers, chunked, plain

from providers.errors import Disconnected, Malformed
from providers.http1 import MAX_HEAD_BYTES, Connection
from tests.e2e.harness import eventually

ASK = b"GET / HTTP/1.1\r\nHost: up\r\n\r\n"
OK = plain(b"hi")
READ_BYTES = 256 * 1024  # the most that either loop takes from a socket at once


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


class Plug:
    """In place of a socket where each read must bring exactly what the test says."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ended = ""
        self.released: list[Connection] = []
        self.connection = Connection(loop, "up", self.released.append, lambda _: None)
        self.connection.connection_made(self)

    def feed(self, reads: Sequence[bytes], *, no_body: bool = False):
        """The answer to one request, after all reads; what is read stops when the connection does."""
        answer = self.connection.send(ASK, no_body=no_body)
        for read in reads:
            if not self.ended:
                self.connection.data_received(read)
        return answer

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        self.ended = "aborted"

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def is_closing(self) -> bool:
        return bool(self.ended)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


LOOP = asyncio.SelectorEventLoop()
LOOP.close()  # what is fed by hand never waits


def cut_up(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


CUTS = st.lists(st.integers(1, 10_000), max_size=40)

# --- answers -------------------------------------------------------------------------------------------------------


class Good(NamedTuple):
    """``kept``: the connection may carry another request. ``until_eof``: the body's end is the connection's."""

    data: bytes
    body: bytes
    status: int = 200
    kept: bool = True
    until_eof: bool = False
    no_body: bool = False


def lines(first: bytes, *more: bytes) -> bytes:
    return b"\r\n".join([first, *more, b"", b""])


SAID = b"HTTP/1.1 200 OK"
GOOD = {
    "by length": Good(OK, b"hi"),
    "nothing, by length": Good(plain(b""), b""),
    "a length with space around it": Good(lines(SAID, b"Content-Length: \t2 ") + b"hi", b"hi"),
    "without a reason": Good(lines(b"HTTP/1.1 200", b"Content-Length: 2") + b"hi", b"hi"),
    "empty lines before it": Good(b"\r\n\r\n" + OK, b"hi"),
    "chunked": Good(chunked(b"a", b"bc" * 20, b"d"), b"a" + b"bc" * 20 + b"d"),
    "nothing, chunked": Good(chunked(), b""),
    "chunked with space behind it": Good(lines(SAID, b"transfer-encoding: Chunked ") + b"1\r\na\r\n0\r\n\r\n", b"a"),
    "chunk sizes with zeros, extensions": Good(
        lines(SAID, b"Transfer-Encoding: chunked") + b'002;a="b;c";d\r\nhi\r\n000;e\r\n\r\n', b"hi"
    ),
    "trailers": Good(chunked(b"hi", trailers=b"X-Status: 500\r\nSet-Cookie: a\r\n"), b"hi"),
    "until the end": Good(lines(SAID, b"Content-Type: text/plain") + b"hi\r\n\r\n", b"hi\r\n\r\n", 200, False, True),
    "nothing until the end": Good(lines(SAID), b"", 200, False, True),
    "HTTP/1.0 until the end": Good(lines(b"HTTP/1.0 200 OK") + b"hi", b"hi", 200, False, True),
    "HTTP/1.0 by length": Good(lines(b"HTTP/1.0 200 OK", b"Content-Length: 2") + b"hi", b"hi", 200, False),
    "HTTP/1.0 that stays": Good(
        lines(b"HTTP/1.0 200 OK", b"Connection: keep-alive", b"Content-Length: 2") + b"hi", b"hi"
    ),
    "connection: close": Good(plain(b"hi", b"Connection: close"), b"hi", 200, kept=False),
    "close among others": Good(plain(b"hi", b"Connection: keep-alive, CLOSE"), b"hi", 200, kept=False),
    "close in a second header": Good(
        plain(b"hi", b"Connection: keep-alive", b"connection: close"), b"hi", 200, kept=False
    ),
    "an upgrade on offer": Good(plain(b"hi", b"Connection: Upgrade", b"Upgrade: h2c"), b"hi"),
    "100": Good(lines(b"HTTP/1.1 100 Continue") + OK, b"hi"),
    "100, 102, 103, 103": Good(
        lines(b"HTTP/1.1 100 Continue", b"X-Interim: a")
        + lines(b"HTTP/1.1 102 Processing")
        + lines(b"HTTP/1.1 103 Early Hints", b"Link: </a>", b"X-Interim: b") * 2
        + OK,
        b"hi",
    ),
    "204": Good(lines(b"HTTP/1.1 204 No Content"), b"", 204),
    "204 of length 0": Good(lines(b"HTTP/1.1 204 No Content", b"Content-Length: 0"), b"", 204),
    "304 with the length that it would have": Good(lines(b"HTTP/1.1 304 So", b"Content-Length: 9"), b"", 304),
    "HEAD": Good(lines(SAID, b"Content-Length: 9"), b"", 200, kept=False, no_body=True),
    "HEAD, chunked": Good(lines(SAID, b"Transfer-Encoding: chunked"), b"", 200, kept=False, no_body=True),
    "an error": Good(plain(b"{}", status=b"503 Full"), b"{}", 503),
    "a status nobody knows": Good(plain(b"hi", status=b"999 So"), b"hi", 999),
}


@pytest.mark.parametrize("name", GOOD)
@examples(60)
@given(cuts=CUTS)
def test_an_answer_is_the_same_however_it_is_cut_up(name, cuts):
    good = GOOD[name]
    for reads in (cut_up(good.data, cuts), [good.data], [bytes([byte]) for byte in good.data]):
        plug = Plug(LOOP)
        answer = plug.feed(reads, no_body=good.no_body)
        if good.until_eof:
            assert not answer.complete
            plug.connection.eof_received()
        assert (answer.status, b"".join(answer._parts), answer.complete, answer.failure) == (
            good.status,
            good.body,
            True,
            None,
        )
        assert "x-interim" not in answer.headers
        assert "x-status" not in answer.headers
        assert plug.released == ([plug.connection] if good.kept else [])
        assert plug.ended == ("" if good.kept else "closed")


@pytest.mark.parametrize("name", GOOD)
@on_each_loop
async def test_an_answer_on_a_socket(name):
    good = GOOD[name]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(good.data)
        if good.kept:
            await peer.request()
            await peer.send(OK)
        if not good.until_eof:
            assert await peer.hung_up() == b""

    async with RawServer(script) as server, dialled(server) as (connection, released, lost):
        answer = connection.send(ASK, no_body=good.no_body)
        assert await whole(answer) == good.body
        assert answer.status == good.status
        assert released == ([connection] if good.kept else [])
        if good.kept:
            assert await whole(connection.send(ASK)) == b"hi"
        else:
            await eventually(lambda: lost == [connection])


@on_each_loop
async def test_an_answer_that_comes_byte_by_byte():
    data = lines(b"HTTP/1.1 103 Early") + chunked(b"hello", b"world", trailers=b"A: b\r\n")
    sent = bytes(range(33, 127))

    async def script(peer: Peer) -> None:
        for reply in (data, plain(sent)):
            await peer.request()
            await peer.send(*(bytes([byte]) for byte in reply))
        await peer.hung_up()

    async with RawServer(script) as server, dialled(server) as (connection, *_):
        assert await whole(connection.send(ASK)) == b"helloworld"
        assert await whole(connection.send(ASK)) == sent


def test_headers_have_lower_case_names_and_what_came_twice_is_joined():
    sent = (
        b"X-A: 1",
        b"Content-Type: Text/Event-Stream ; charset=utf-8",
        b"x-a:2",
        b"X-Empty:",
        b"X-L: \xe9",
        b"X-A: ",
    )
    answer = Plug(LOOP).feed([plain(b"", *sent)])
    assert answer.headers == {
        "x-a": "1, 2, ",
        "content-type": "Text/Event-Stream ; charset=utf-8",
        "x-empty": "",
        "x-l": "é",
        "content-length": "0",
    }
    assert answer.media_type == "text/event-stream"


# --- what is none --------------------------------------------------------------------------------------------------

CHUNKED = lines(SAID, b"Transfer-Encoding: chunked")
BAD = {
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "TLS": bytes.fromhex("1503010002020a"),
    "HTML": b"<html>502</html>",
    "HTTP/3.0": lines(b"HTTP/3.0 200 OK", b"Content-Length: 0"),
    "two digits": lines(b"HTTP/1.1 20 OK"),
    "four digits": lines(b"HTTP/1.1 2000 OK"),
    "no status": lines(b"HTTP/1.1 OK"),
    "only LF": OK.replace(b"\r\n", b"\n"),
    "one LF": lines(SAID, b"A: b\nC: d", b"Content-Length: 2") + b"hi",
    "LF at the end of the head": lines(SAID, b"Content-Length: 2")[:-2] + b"\nhi",
    "a bare CR": lines(SAID, b"A: b\rC: d", b"Content-Length: 2") + b"hi",
    "a NUL": lines(SAID, b"A: b\x00", b"Content-Length: 2") + b"hi",
    "a folded header": lines(SAID, b"A: b\r\n c", b"Content-Length: 2") + b"hi",
    "chunked in a fold": lines(SAID, b"Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n",
    "space before the colon": lines(SAID, b"Content-Length : 2") + b"hi",
    "no colon": lines(SAID, b"abc"),
    "two lengths": lines(SAID, b"Content-Length: 2", b"Content-Length: 3") + b"hi!",
    "the same length twice": lines(SAID, b"Content-Length: 2", b"Content-Length: 2") + b"hi",
    "a list of lengths": lines(SAID, b"Content-Length: 2, 2") + b"hi",
    "no length in the length": lines(SAID, b"Content-Length:") + b"hi",
    "a negative length": lines(SAID, b"Content-Length: -2") + b"hi",
    "a length with a sign": lines(SAID, b"Content-Length: +2") + b"hi",
    "a length in hex": lines(SAID, b"Content-Length: 0x2") + b"hi",
    "a length beyond all numbers": lines(SAID, b"Content-Length: 99999999999999999999999") + b"hi",
    "length and chunked": lines(SAID, b"Content-Length: 2", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked and length": lines(SAID, b"Transfer-Encoding: chunked", b"Content-Length: 2") + b"0\r\n\r\n",
    "gzip as a transfer coding": lines(SAID, b"Transfer-Encoding: gzip") + b"hi",
    "gzip, chunked": lines(SAID, b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "chunked twice": lines(SAID, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked, identity": lines(SAID, b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "a chunk size that is none": CHUNKED + b"xyz\r\n",
    "a negative chunk size": CHUNKED + b"-1\r\n",
    "a chunk size beyond all numbers": CHUNKED + b"f" * 17 + b"\r\n",
    "a chunk size with a space": CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\nhi\r\n0\r\n\r\n",
    "LF after a chunk size": CHUNKED + b"2\nhi\r\n0\r\n\r\n",
    "LF after a chunk": CHUNKED + b"2\r\nhi\n0\r\n\r\n",
    "a length in the trailers": CHUNKED + b"2\r\nhi\r\n0\r\nContent-Length: 9\r\n\r\n",
    "101": lines(b"HTTP/1.1 101 Switching Protocols") + OK,
    "101 to something": lines(b"HTTP/1.1 101 So", b"Upgrade: h2c", b"Connection: Upgrade") + OK,
    "interim that ends the connection": lines(b"HTTP/1.1 100 Continue", b"Connection: close") + OK,
    "interim with a length": lines(b"HTTP/1.1 103 So", b"Content-Length: 5") + b"hello" + OK,
}
# The parser reads the body of a 1xx that it does not know, and its bytes once came before the answer's own.
BAD |= {
    "interim with a body": lines(b"HTTP/1.1 104 So", b"Content-Length: 5") + b"hello" + OK,
    "interim in chunks": lines(b"HTTP/1.1 104 So", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n" + OK,
}


@pytest.mark.parametrize("name", BAD)
@examples(60)
@given(cuts=CUTS)
def test_what_is_no_answer_is_malformed_however_it_is_cut_up(name, cuts):
    data = BAD[name] + b"\r\n"
    for reads in (cut_up(data, cuts), [data], [bytes([byte]) for byte in data]):
        plug = Plug(LOOP)
        answer = plug.feed(reads)
        assert isinstance(answer.failure, Malformed)
        assert not answer.complete
        assert (plug.ended, plug.released) == ("aborted", [])


@pytest.mark.parametrize("name", BAD)
@on_each_loop
async def test_what_is_no_answer_ends_the_connection(name):
    async with RawServer(answers(BAD[name] + b"\r\n")) as server, dialled(server) as (connection, released, lost):
        with pytest.raises(Malformed, match="up "):
            await whole(connection.send(ASK))
        assert connection.closing
        await eventually(lambda: lost and not server.playing)
        assert not released


# --- cut off -------------------------------------------------------------------------------------------------------

# Head and body.
BREAKABLE = {
    "by length": (lines(SAID, b"Content-Length: 11"), b"hello world"),
    "chunked": (CHUNKED, b"5\r\nhello\r\n6\r\n world\r\n0\r\nA: b\r\n\r\n"),
    "until the end": (lines(SAID, b"A: b"), b"hello world"),
    "after an interim": (lines(b"HTTP/1.1 103 Early", b"A: b") + lines(SAID, b"Content-Length: 2"), b"hi"),
}


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("name", BREAKABLE)
@on_each_loop
async def test_an_answer_that_is_cut_at_any_byte_is_never_complete(name, reset):
    head, body = BREAKABLE[name]
    data = head + body
    arrived = asyncio.Event()
    cut = 0

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data[:cut])
        if reset:
            await arrived.wait()  # a reset takes along what has not been read
            peer.reset()

    async with RawServer(script) as server:
        for cut in range(len(data)):
            arrived.clear()
            async with dialled(server) as (connection, released, _):
                answer = connection.send(ASK)
                begun = cut >= len(head)
                if begun:
                    await answer.begin()
                arrived.set()
                if begun and name == "until the end" and not reset:
                    assert await whole(answer) == data[len(head) : cut]
                    continue
                with pytest.raises(Disconnected, match="before it was complete" if begun else "closed the connection"):
                    await whole(answer)
                assert not answer.complete
                assert not released


@on_each_loop
async def test_a_body_until_the_end_is_not_whole_because_we_close():
    """Once it was: our own abort looked like the server's FIN, so a stream cut by a shutdown ended well."""
    async with (
        RawServer(answers(lines(SAID) + b"half a")) as server,
        dialled(server) as (connection, *_),
    ):
        answer = connection.send(ASK)
        await answer.begin()
        assert await answer.read() == b"half a"
        connection.abort()
        with pytest.raises(Disconnected):
            await answer.read()


@on_each_loop
async def test_what_came_before_the_cut_is_read_first():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(plain(b"hello world")[:-6])

    async with RawServer(script) as server, dialled(server) as (connection, _, lost):
        answer = connection.send(ASK)
        await eventually(lambda: lost)
        await answer.begin()
        assert await answer.read() == b"hello"
        for _ in range(2):
            with pytest.raises(Disconnected):
                await answer.read()


# --- sizes ---------------------------------------------------------------------------------------------------------

ENDLESS = {
    "a header": (SAID + b"\r\nX-Endless: ", b"x" * 8192),
    "headers": (SAID + b"\r\n", b"X-A: b\r\n" * 1000),
    "interim answers": (b"", lines(b"HTTP/1.1 102 Processing", b"X-A: b") * 200),
    "a trailer": (CHUNKED + b"2\r\nhi\r\n0\r\nX-Endless: ", b"x" * 8192),
    "a chunk extension": (CHUNKED + b"2;", b"x" * 8192),
}


@pytest.mark.parametrize("name", ENDLESS)
@on_each_loop
async def test_what_has_no_end_and_is_no_body_is_given_up(name):
    start, more = ENDLESS[name]
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        peer.keep_little()
        await peer.request()
        await peer.send(start)
        while True:
            await peer.send(more)
            sent += len(more)

    async with RawServer(script) as server, dialled(server) as (connection, *_):
        with pytest.raises(Malformed, match=f"more than {MAX_HEAD_BYTES} bytes"):
            await whole(connection.send(ASK))
        await eventually(lambda: not server.playing)
    assert MAX_HEAD_BYTES - len(more) <= sent < MAX_HEAD_BYTES + 2 * READ_BYTES


def test_a_large_body_that_comes_with_its_head_is_no_large_head():
    """Once it was: one read may bring more than a head may hold, and most of that is body."""
    data = plain(b"x" * 400_000)
    plug = Plug(LOOP)
    answer = plug.feed([data[:READ_BYTES], data[READ_BYTES:]])
    assert (answer.complete, sum(map(len, answer._parts))) == (True, 400_000)


def test_a_long_stream_whose_framing_comes_apart_is_no_large_head():
    """Some servers write a chunk's size, its data and its end one by one; together those are more than a head may hold."""
    plug = Plug(LOOP)
    events = MAX_HEAD_BYTES // 2
    answer = plug.feed([CHUNKED, *[b"1;extension\r\n", b"x", b"\r\n"] * events, b"0\r\n\r\n"])
    assert (answer.complete, len(answer._parts)) == (True, events)


# --- out of step ---------------------------------------------------------------------------------------------------

TOO_MUCH = {
    "a second answer": OK + plain(b"EVIL"),
    "half a second answer": OK + SAID,
    "garbage": OK + b"x",
    "a body longer than its length": plain(b"hi") + b"!" * 100,
    "a body behind a 204": lines(b"HTTP/1.1 204 No Content") + plain(b"EVIL"),
    "a 204 with a length": lines(b"HTTP/1.1 204 No Content", b"Content-Length: 60") + plain(b"EVIL"),
    "a 204 in chunks": lines(b"HTTP/1.1 204 No Content", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "a 304 in chunks": lines(b"HTTP/1.1 304 So", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "a body behind a HEAD": lines(SAID, b"Content-Length: 60") + plain(b"EVIL"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
@on_each_loop
async def test_more_than_the_answer_ends_the_connection_and_not_the_answer(name):
    async with RawServer(answers(TOO_MUCH[name])) as server, dialled(server) as (connection, _, lost):
        answer = connection.send(ASK, no_body="HEAD" in name)
        assert await whole(answer) in (b"hi", b"")
        assert answer.complete
        assert connection.closing
        await eventually(lambda: lost and not server.playing)


@pytest.mark.parametrize("late", [plain(b"EVIL"), SAID, b"\r\n", b"x"])
@on_each_loop
async def test_bytes_that_nobody_asked_for_end_an_idle_connection(late):
    idle = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await idle.wait()
        await peer.send(late)
        await peer.hung_up()

    async with RawServer(script) as server, dialled(server) as (connection, released, lost):
        assert await whole(connection.send(ASK)) == b"hi"
        assert released == [connection]
        idle.set()
        await eventually(lambda: lost)
        assert connection.closing


@on_each_loop
async def test_a_server_that_speaks_first_is_not_listened_to():
    async def script(peer: Peer) -> None:
        await peer.send(plain(b"EVIL"))
        await peer.hung_up()

    async with RawServer(script) as server, dialled(server) as (connection, _, lost):
        await eventually(lambda: lost)
        assert connection.closing
