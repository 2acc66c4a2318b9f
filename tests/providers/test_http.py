"""One upstream: its pool and what goes with every request. Whatever a server does, the next request is right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import LOOPS, on_each_loop, on_loop
from props import examples
from raw_server import Peer, RawServer, always, answers, chunked, plain

from providers import http, http1
from providers.answer import Answer
from providers.errors import Disconnected, Malformed, Misconfigured, ProviderError
from providers.http import Upstream, read_body
from tests.e2e.harness import eventually

SAID = b"HTTP/1.1 200 OK\r\n"
OK = plain(b"hi")


@asynccontextmanager
async def pool(server: RawServer, **headers: str) -> AsyncGenerator[Upstream]:
    upstream = Upstream("up", server.url, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        yield upstream
    finally:
        await upstream.aclose()
    await eventually(lambda: not upstream._open and not upstream._idle and not server.playing)
    assert upstream._reaper is None or upstream._reaper.cancelled()


async def post(upstream: Upstream, body: bytes = b"{}", **headers: str) -> Answer:
    return await upstream.post("chat", body, headers, 5.0)


async def asked(upstream: Upstream, body: bytes = b"{}") -> bytes:
    return await read_body(await post(upstream, body), 100_000, "up")


# --- what is sent --------------------------------------------------------------------------------------------------


def lines_of(request: bytes) -> tuple[bytes, list[bytes]]:
    first, *lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return first, lines


@on_each_loop
async def test_a_request_carries_what_is_its_own_and_nothing_twice():
    async with (
        RawServer(always(OK)) as server,
        pool(server, Authorization="Bearer key", X_Own="ours", Accept_Encoding="identity") as upstream,
    ):
        travelling = {"x-request-id": "r1", "authorization": "Bearer evil", "x-own": "theirs", "host": "evil"}
        travelling |= {"accept-encoding": "gzip", "content-length": "0", "transfer-encoding": "chunked"}
        travelling |= {"connection": "close", "tracestate": "é→"}
        await read_body(await upstream.post("chat/completions", b"{}", travelling, 5.0), 9, "up")
        first, lines = lines_of(server.peers[0].requests[0])
        assert first == b"POST /v1/chat/completions HTTP/1.1"
        assert sorted(lines) == sorted(
            [
                b"Host: 127.0.0.1:%d" % server.port,
                b"Accept-Encoding: identity",
                b"Authorization: Bearer key",
                b"X-Own: ours",
                b"Content-Type: application/json",
                b"x-request-id: r1",
                b"tracestate: \xe9?",
                b"Content-Length: 2",
            ]
        )


@pytest.mark.parametrize(
    ("base_url", "host", "start"),
    [
        ("http://up", b"up", b"GET /files?a=b HTTP/1.1"),
        ("http://up/", b"up", b"GET /files?a=b HTTP/1.1"),
        ("https://user:secret@up:8443/a/b/", b"up:8443", b"GET /a/b/files?a=b HTTP/1.1"),
        ("http://[::1]:80/v1", b"[::1]:80", b"GET /v1/files?a=b HTTP/1.1"),
    ],
)
def test_the_head_of_any_request(base_url, host, start):
    head = Upstream("up", base_url, {}).head("GET", "/files?a=b", [("x-a", "1"), ("x-a", "2")], "\r\n")
    first, lines = lines_of(head)
    assert (first, lines) == (start, [b"Host: " + host, b"Accept-Encoding: identity", b"x-a: 1", b"x-a: 2"])
    assert head.endswith(b"\r\n\r\n")
    assert b"secret" not in head


@pytest.mark.parametrize("value", ["a\r\nX-Evil: b", "a\nb", "a\rb", "\r\n\r\nGET /smuggled"])
@on_each_loop
async def test_a_header_value_with_a_line_break_is_not_sent(value):
    async with RawServer(always(OK)) as server, pool(server) as upstream:
        with pytest.raises(Misconfigured, match="x-evil holds a line break") as refused:
            await upstream.post("chat", b"{}", {"x-evil": value}, 5.0)
        assert value not in refused.value.message
        assert not server.peers


# --- connections are kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [OK, chunked(b"h", b"i"), b"HTTP/1.1 204 No Content\r\n\r\n"], ids=range(3))
@on_each_loop
async def test_one_after_another_share_a_connection(reply):
    async with RawServer(always(reply)) as server, pool(server) as upstream:
        for _ in range(20):
            assert await asked(upstream) in (b"hi", b"")
        assert len(server.peers) == 1
        assert len(server.peers[0].requests) == 20


@on_each_loop
async def test_those_at_the_same_time_do_not_and_the_last_one_used_is_used_first():
    meeting = asyncio.Barrier(3)

    async def script(peer: Peer) -> None:
        await peer.request()
        await meeting.wait()
        while True:
            await peer.send(OK)
            await peer.request()

    async with RawServer(script) as server, pool(server) as upstream:
        assert await asyncio.gather(*[asked(upstream) for _ in range(3)]) == [b"hi"] * 3
        assert len(server.peers) == 3
        for _ in range(5):
            await asked(upstream)
        assert sorted(len(peer.requests) for peer in server.peers) == [1, 1, 6]


CLOSING = {
    "connection: close": plain(b"hi", b"Connection: close"),
    "HTTP/1.0": OK.replace(b"1.1", b"1.0", 1),
    "until the end": SAID + b"\r\nhi",
}


@pytest.mark.parametrize("name", CLOSING)
@on_each_loop
async def test_an_answer_that_ends_the_connection_ends_it(name):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CLOSING[name])
        if name != "until the end":
            assert await peer.hung_up() == b""

    async with RawServer(script) as server, pool(server) as upstream:
        for count in (1, 2, 3):
            assert await asked(upstream) == b"hi"
            assert len(server.peers) == count
            assert not upstream._idle


@on_each_loop
async def test_idle_connections_leave_after_their_time_and_then_nothing_ticks(monkeypatch):
    monkeypatch.setattr(http, "POOL_IDLE_SECONDS", 0.05)
    async with RawServer(always(OK)) as server, pool(server) as upstream:
        loop = asyncio.get_running_loop()
        await asked(upstream)
        began = loop.time()
        assert upstream._reaper is not None
        await eventually(lambda: not server.playing)
        assert loop.time() - began >= 0.04
        assert not upstream._idle
        assert upstream._reaper is None
        await asked(upstream)  # and it begins again
        assert len(server.peers) == 2
        await eventually(lambda: upstream._reaper is None and not server.playing)


@on_each_loop
async def test_each_leaves_in_its_own_time(monkeypatch):
    monkeypatch.setattr(http, "POOL_IDLE_SECONDS", 0.2)
    meeting = asyncio.Barrier(2)

    async def script(peer: Peer) -> None:
        await peer.request()
        await meeting.wait()
        while True:
            await peer.send(OK)
            await peer.request()

    async with RawServer(script) as server, pool(server) as upstream:
        await asyncio.gather(asked(upstream), asked(upstream))
        while server.playing == 2:  # one of them is kept busy, the other idles
            assert await asked(upstream) == b"hi"
            await asyncio.sleep(0)
        (connection,) = upstream._idle
        assert not connection.closing
        await asked(upstream)
        assert len(server.peers) == 2
        await eventually(lambda: upstream._reaper is None and not server.playing)


@on_each_loop
async def test_one_that_is_too_old_is_not_used_although_nobody_has_cleared_it_away(monkeypatch):
    async with RawServer(always(OK)) as server, pool(server) as upstream:
        await asked(upstream)
        upstream._idle[0].idle_since -= http.POOL_IDLE_SECONDS
        await asked(upstream)
        assert len(server.peers) == 2
        await eventually(lambda: server.playing == 1)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@on_each_loop
async def test_one_that_the_server_closes_leaves_the_pool(reset):
    close = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await close.wait()
        if reset:
            peer.reset()

    async with RawServer(script, always(OK)) as server, pool(server) as upstream:
        await asked(upstream)
        (idle,) = upstream._idle
        close.set()
        await eventually(lambda: not upstream._idle)
        assert idle not in upstream._open
        assert await asked(upstream) == b"hi"
        assert len(server.peers) == 2


@on_each_loop
async def test_after_a_broken_connection_those_that_idle_are_not_trusted():
    async def breaks(peer: Peer) -> None:
        await peer.request()
        await meeting.wait()
        await peer.send(OK)
        await peer.request()
        await rest.wait()

    rest = asyncio.Event()
    rest.set()
    meeting = asyncio.Barrier(2)
    async with RawServer(breaks, breaks, always(OK)) as server, pool(server) as upstream:
        await asyncio.gather(asked(upstream), asked(upstream))
        assert len(upstream._idle) == 2
        with pytest.raises(Disconnected):
            await asked(upstream)
        assert await asked(upstream) == b"hi"
        assert len(server.peers) == 3


# --- whatever a server does, the next request is right -------------------------------------------------------------

EVIL = plain(b"EVIL")


def numbered(body: bytes) -> bytes:
    """What a server makes of a request: its number, so that each answer tells whose it is."""
    return plain(b"answer to " + body)


def tricks(number: bytes) -> dict[str, tuple[bytes, bool]]:
    """What is sent in answer to a request, and whether the connection then ends."""
    good = numbered(number)
    body = b"answer to " + number
    return {
        "as it should be": (good, False),
        "in chunks": (chunked(body), False),
        "and closes": (good, True),
        "with another one": (good + EVIL, False),
        "with half of another one": (good + EVIL[:20], False),
        "with garbage": (good + b"\0\0", False),
        "with an empty line": (good + b"\r\n", False),
        "with a longer body": (good + b"EVIL" * 9, False),
        "after interim answers": (b"HTTP/1.1 103 So\r\n\r\n" * 2 + good, False),
        "after an interim with a body": (b"HTTP/1.1 104 So\r\nContent-Length: 4\r\n\r\nEVIL" + good, False),
        "204 and another": (b"HTTP/1.1 204 No\r\n\r\n" + EVIL, False),
        "204 with a body": (b"HTTP/1.1 204 No\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL, False),
        "304 in chunks": (b"HTTP/1.1 304 So\r\nTransfer-Encoding: chunked\r\n\r\n" + EVIL, False),
        "nothing": (b"", True),
        "half a head": (good[:25], True),
        "half a body": (good[:-4], True),
        "a chunk and no end": (chunked(body)[:-5], True),
        "until the end": (SAID + b"\r\n" + body, True),
        "garbage": (b"EVIL\r\n\r\n", False),
        "two lengths": (good.replace(b"\r\n", b"\r\nContent-Length: 4\r\n", 1), False),
        "101": (b"HTTP/1.1 101 So\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\n" + EVIL, False),
    }


TRICKS = list(tricks(b"0"))


@pytest.mark.parametrize("loop_name", LOOPS)
@examples(80)
@given(st.lists(st.sampled_from(TRICKS), min_size=1, max_size=12), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_no_answer_is_ever_taken_for_that_to_another_request(loop_name, played, sizes):
    async def script(peer: Peer) -> None:
        while True:
            number = (await peer.request()).rpartition(b"\r\n\r\n")[2]
            data, ends = tricks(number)[played[int(number)]] if int(number) < len(played) else (numbered(number), False)
            size = sizes[int(number) % len(sizes)]
            await peer.send(*[data[at : at + size] for at in range(0, len(data), size)])
            if ends:
                return

    async def scenario() -> None:
        async with RawServer(script) as server, pool(server) as upstream:
            for number in range(len(played) + 3):
                body = b"%d" % number
                try:
                    answer = await post(upstream, body)
                    got = await read_body(answer, 1000, "up")
                except ProviderError:
                    assert number < len(played), "a good server's answer failed"
                else:
                    assert got == b"answer to " + body or (answer.status in (204, 304) and not got)
                # What a server sends unasked may come late: what has come by now must be known.
                await settled(upstream)

    on_loop(loop_name, scenario())


async def settled(upstream: Upstream) -> None:
    """Whatever the server has sent is read."""
    for _ in range(10):
        await asyncio.sleep(0)


class Fickle:
    """A server that takes its time, and clients that are cancelled anywhere; ``chance`` says when."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    async def pause(self, longest: int) -> None:
        for _ in range(self._chance.randrange(longest)):
            await asyncio.sleep(0)

    async def serve(self, peer: Peer) -> None:
        while True:
            number = (await peer.request()).rpartition(b"\r\n\r\n")[2].strip(b"x")
            await peer.send(SAID + b"Transfer-Encoding: chunked\r\n\r\n")
            for part in (b"answer", b" to ", number):
                await self.pause(4)
                await peer.send(b"%x\r\n%b\r\n" % (len(part), part))
            await self.pause(4)
            await peer.send(b"0\r\n\r\n")

    async def ask(self, upstream: Upstream, number: int) -> bytes:
        answer = await post(upstream, b"%d" % number + b"x" * self._chance.choice([0, 0, 100_000, 3_000_000]))
        try:
            got = b""
            while part := await answer.read():
                got += part
                if self._chance.random() < 0.1:
                    answer.leave()
                    return b"left"
            return got
        finally:
            answer.close()

    async def ask_and_cancel(self, upstream: Upstream, first: int) -> None:
        """Six at once, and five of them are cancelled, sooner or later; some of those not soon enough."""
        tasks = [asyncio.create_task(self.ask(upstream, first + place)) for place in range(6)]
        for task in self._chance.sample(tasks, 5):
            await self.pause(12)
            task.cancel()
        for place, got in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
            assert isinstance(got, asyncio.CancelledError) or got in (b"left", b"answer to %d" % (first + place))


@pytest.mark.parametrize("loop_name", LOOPS)
@examples(25)
@given(st.integers(0, 2**32))
def test_requests_that_are_cancelled_anywhere_leave_nothing_behind(loop_name, seed):
    """Dialling, sending, in the head, in the body, draining. After that all answers are right."""
    fickle = Fickle(Random(seed))

    async def scenario() -> None:
        async with RawServer(fickle.serve) as server, pool(server) as upstream:
            for first in range(0, 40, 10):
                await fickle.ask_and_cancel(upstream, first)
            for number in range(100, 104):
                assert await asked(upstream, b"%d" % number) == b"answer to %d" % number
            await eventually(lambda: upstream._open == set(upstream._idle), within=http1.DRAIN_SECONDS + 1)
            assert not any(connection.closing for connection in upstream._idle)

    on_loop(loop_name, scenario())


@pytest.mark.parametrize("how", ["fin", "rst"])
@on_each_loop
async def test_a_server_that_closes_as_soon_as_one_has_connected_is_a_broken_connection(how):
    """Once a request was sent on a connection that was gone: a mistake of ours under one loop, a wait for ever under the other."""

    async def script(peer: Peer) -> None:
        if how == "rst":
            peer.reset()

    async with RawServer(script) as server, pool(server) as upstream:
        for _ in range(20):
            with pytest.raises(Disconnected):
                await asked(upstream)


@on_each_loop
async def test_a_connection_that_is_lost_while_its_maker_still_waits_is_not_used(monkeypatch):
    async with RawServer(answers(OK)) as server, pool(server) as upstream:
        dial = upstream._dialer.dial

        async def slowly(loop: asyncio.AbstractEventLoop, *rest: object) -> http1.Connection:
            connection = await dial(loop, *rest)
            connection.abort()
            await eventually(lambda: not server.playing)
            return connection

        monkeypatch.setattr(upstream._dialer, "dial", slowly)
        with pytest.raises(Disconnected, match="up closed the connection"):
            await asked(upstream)
        assert not upstream._open


# --- shutting down -------------------------------------------------------------------------------------------------


@on_each_loop
async def test_closing_ends_everything_also_in_the_middle_of_an_answer():
    begun = SAID + b"\r\nhalf"

    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.send(begun if b"stream" in request else OK)
        await peer.hung_up()

    async with RawServer(script) as server, pool(server) as upstream:
        streaming = await post(upstream, b"stream")
        assert await streaming.read() == b"half"
        await asked(upstream)
        assert (len(upstream._idle), server.playing) == (1, 2)
        waiting = asyncio.create_task(streaming.read())
        await asyncio.sleep(0)
        await upstream.aclose()
        with pytest.raises(Disconnected):
            await waiting
        await eventually(lambda: not server.playing)


@on_each_loop
async def test_closing_while_one_is_being_dialled_leaves_no_connection():
    async with RawServer(always(OK)) as server, pool(server) as upstream:
        asking = asyncio.create_task(asked(upstream))
        await asyncio.sleep(0)
        await upstream.aclose()
        with pytest.raises(Disconnected):
            await asking
        await eventually(lambda: not server.playing)
        with pytest.raises(Disconnected):
            await asked(upstream)
        await eventually(lambda: not server.playing)


# --- read_body -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [plain(b"x" * 1000), chunked(*[b"x" * 100] * 10), SAID + b"\r\n" + b"x" * 1000])
@on_each_loop
async def test_a_body_within_the_limit_is_whole_and_one_beyond_it_is_not_read_on(reply):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)
        while b"Transfer" in reply or b"Length" in reply:
            await peer.request()
            await peer.send(reply)

    async with RawServer(script) as server, pool(server) as upstream:
        assert await read_body(await post(upstream), 1000, "up") == b"x" * 1000
        answer = await post(upstream)
        with pytest.raises(Malformed, match="up answered with more than 999 bytes"):
            await read_body(answer, 999, "up")


@on_each_loop
async def test_a_body_beyond_the_limit_ends_its_connection():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(plain(b"x" * 1000)[:-1])
        assert await peer.hung_up() == b""

    async with RawServer(script) as server, pool(server) as upstream:
        with pytest.raises(Malformed):
            await read_body(await post(upstream), 500, "up")
        await eventually(lambda: not server.playing)


@on_each_loop
async def test_a_body_that_is_cut_is_a_broken_connection():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(plain(b"x" * 1000)[:-1])

    async with RawServer(script) as server, pool(server) as upstream:
        with pytest.raises(Disconnected):
            await read_body(await post(upstream), 5000, "up")
