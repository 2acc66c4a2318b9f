"""S18 and S25: providers that send too much, in every place where one can, and providers that point elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from functools import cache

import pytest

from tests.e2e.faulty import DONE, ROLE, Exchange, delta
from tests.e2e.harness import eventually
from tests.e2e.outside import MB, Stage, ask, forget_peak, memory, refused, replies, says
from tests.e2e.wire_http import error_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAID = delta({"content": "hello"})
END = delta({}, "stop")
BLOCK = b"x" * 65_536


@cache
def zipped(body: bytes, coding: str) -> bytes:
    return gzip.compress(body) if coding == "gzip" else zlib.compress(body)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "GZIP"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_s18_what_was_compressed_without_asking_is_refused_unopened(
    strict: Stage, coding: str, stream: bool
) -> None:
    """A bomb: twenty kilobytes that would be twenty megabytes."""
    bomb = zipped(b'{"choices":[' + b" " * 20 * MB, "gzip" if coding != "deflate" else coding)
    assert len(bomb) < 0.05 * MB
    script = says(bomb, Content_Encoding=coding) if stream else replies(bomb, Content_Encoding=coding)
    model = strict.play(script)
    forget_peak(strict.gateway.pid)
    before = memory(strict.gateway.pid)
    answer = await strict.ask(ask(model, stream=stream))
    await refused(strict.gateway, answer, 502, "upstream_error")
    assert memory(strict.gateway.pid, "VmHWM") - before < 10
    assert all(dict(call.headers)["accept-encoding"] == "identity" for call in strict.calls(model))


async def test_s18_a_bomb_fails_over(strict: Stage) -> None:
    strict.put_on("two", replies(zipped(b" " * MB, "gzip"), Content_Encoding="gzip"))
    answer = await strict.ask(ask("two"))
    assert (answer.status, answer.header("x-provider")) == (200, "spare")


async def event_of_8_mb(x: Exchange) -> None:
    await x.begin()
    for _ in range(8 * MB // len(BLOCK)):
        await x.say(BLOCK)
    await x.say(b"\n\n", SAID, END, DONE)
    await x.end()


async def endless_event(x: Exchange) -> None:
    await x.begin()
    while True:
        await x.say(BLOCK)


async def endless_body(x: Exchange) -> None:
    await x.begin()
    await x.say(b'{"choices":[{"index":0,"message":{"content":"')
    while True:
        await x.say(BLOCK)


async def endless_error(x: Exchange) -> None:
    await x.write(b"HTTP/1.1 500 No\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await x.say(BLOCK)


async def endless_head(x: Exchange) -> None:
    await x.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while True:
        await x.write(BLOCK)


async def endless_headers(x: Exchange) -> None:
    await x.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await x.write(b"X-Endless: 1\r\n" * 4096)


async def endless_interims(x: Exchange) -> None:
    while True:
        await x.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1024)


async def endless_chunk_extension(x: Exchange) -> None:
    await x.begin()
    await x.write(b"5;")
    while True:
        await x.write(BLOCK)


async def endless_heartbeats(x: Exchange) -> None:
    await x.begin()
    while True:
        await x.say(b": ping\n\n" * 4096)


async def declared_without_end(x: Exchange) -> None:
    await x.begin(length=10**15)
    while True:
        await x.write(BLOCK)


# What they send, streamed or not, and how much memory that may cost: a whole body is held until it is complete.
TOO_MUCH: dict[str, tuple[Callable[[Exchange], Awaitable[None]], bool, float]] = {
    "an event of 8 MB": (event_of_8_mb, True, 40),
    "an event": (endless_event, True, 40),
    "a body": (endless_body, False, 250),
    "an error": (endless_error, False, 15),
    "a header": (endless_head, False, 10),
    "headers": (endless_headers, False, 10),
    "interim answers": (endless_interims, False, 10),
    "a chunk's extension": (endless_chunk_extension, False, 10),
    "heartbeats": (endless_heartbeats, True, 40),
    "a body of a declared length": (declared_without_end, False, 250),
}


@pytest.mark.parametrize("what", TOO_MUCH)
async def test_s18_what_has_no_end_is_given_up_in_bounded_memory(strict: Stage, what: str) -> None:
    """Within the limits of an attempt, which is some tenths of a second here."""
    script, stream, allowed = TOO_MUCH[what]
    strict.put_on("short", script)
    forget_peak(strict.gateway.pid)
    before = memory(strict.gateway.pid)
    answer = await strict.ask(ask("short", stream=stream))
    peak = memory(strict.gateway.pid, "VmHWM") - before
    print(f"{answer.status}, {peak:.0f} MB more at the peak")
    assert peak < allowed
    await refused(strict.gateway, answer, answer.status)
    assert answer.status in (502, 504)
    await eventually(lambda: all(call.over for call in strict.calls("short")))


async def test_s18_an_event_that_grows_too_large_in_mid_stream_ends_it_with_an_error(strict: Stage) -> None:
    async def script(x: Exchange) -> None:
        await x.begin()
        await x.say(ROLE, SAID)
        for _ in range(8 * MB // len(BLOCK)):
            await x.say(BLOCK)
        await x.say(b"\n\n", END, DONE)
        await x.end()

    forget_peak(strict.gateway.pid)
    before = memory(strict.gateway.pid)
    answer = await strict.ask(ask(strict.play(script), stream=True))
    assert memory(strict.gateway.pid, "VmHWM") - before < 40
    assert answer.body.startswith(ROLE + SAID)
    error_in(json.loads(answer.data[-1]))
    assert not answer.whole
    assert len(answer.body) < 0.1 * MB


async def test_s18_an_endless_line_of_small_events_is_parsed_in_time_that_grows_with_its_size(strict: Stage) -> None:
    """One byte at a time, or a megabyte without a line end: neither may be searched again and again."""
    event = delta({"content": "y" * MB})
    pieces = [event[at : at + 64] for at in range(0, len(event), 64)]
    model = strict.play(says(ROLE, *pieces, END, DONE))
    async with asyncio.timeout(5):
        answer = await strict.ask(ask(model, stream=True))
    assert answer.body == b"".join([ROLE, event, END, DONE])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_s25_a_redirect_is_followed_by_nobody(strict: Stage, code: int) -> None:
    connections = strict.spare.connections
    for target in (f"{strict.spare.url}/chat/completions", "/v1/elsewhere", "http://169.254.169.254/latest/meta-data"):
        for stream in (True, False):
            model = strict.play(replies(b"", code, Location=target))
            answer = await strict.ask(ask(model, stream=stream))
            await refused(strict.gateway, answer, 502, "upstream_error")
            assert len(strict.calls(model)) == 1
            assert target not in answer.body.decode()
            assert not answer.header("location")
    assert strict.spare.connections == connections
