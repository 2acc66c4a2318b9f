"""S13 and S15: bodies without an end, bodies that lie about it, and clients that take their time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.faulty import completion
from tests.e2e.outside import MB, Stage, ask, forget_peak, memory, refused, replies
from tests.e2e.wire_http import CHAT, Response, Wire, chunk, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = "Content-Type: application/json"
CHUNKED = head(f"POST {CHAT}", JSON, "Transfer-Encoding: chunked")
PACE = 0.2

# --- without an end ----------------------------------------------------------------------------------------------

ENDLESS = {
    "large chunks": (CHUNKED, chunk(b"x" * 65_536)),
    "one byte a chunk": (CHUNKED, chunk(b"x") * 10_000),
    "white space": (CHUNKED, chunk(b" " * 65_536)),
    "no end of a declared body": (head(f"POST {CHAT}", JSON, f"Content-Length: {10**15}"), b"x" * 65_536),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_s13_a_body_without_an_end_is_refused_in_bounded_memory(strict: Stage, what: str) -> None:
    start, piece = ENDLESS[what]
    calls = len(strict.up.exchanges)
    forget_peak(strict.gateway.pid)
    before = memory(strict.gateway.pid)
    async with Wire(strict.gateway.url) as wire:
        await wire.send(start)
        answering = asyncio.create_task(wire.response())
        sent = 0
        while not answering.done() and sent < 100 * MB:
            try:
                await wire.send(piece)
            except ConnectionError:  # it has heard enough; its answer has come all the same
                break
            sent += len(piece)
        answer = await answering
        await refused(strict.gateway, answer, 413, "request_too_large")
        assert answer.header("connection") == "close"
        await send_until_closed(wire, piece)
    assert memory(strict.gateway.pid, "VmHWM") - before < 8
    assert len(strict.up.exchanges) == calls
    assert sent < 100 * MB


async def send_until_closed(wire: Wire, piece: bytes) -> None:
    """It waits for the rest, so as not to hide its answer, but not for ever."""
    async with asyncio.timeout(5):
        try:
            while True:
                await wire.send(piece)
        except ConnectionError:
            pass


async def test_s13_chunk_extensions_do_not_get_past_the_limits(strict: Stage) -> None:
    """A few bytes of body in a sea of what surrounds it (CVE-2023-39326 was one of them)."""
    forget_peak(strict.gateway.pid)
    before = memory(strict.gateway.pid)
    async with Wire(strict.gateway.url) as wire:
        await wire.send(CHUNKED)
        sea = b"1;" + b"e" * 65_536 + b"\r\nx\r\n"
        await send_until_closed(wire, sea)
    assert memory(strict.gateway.pid, "VmHWM") - before < 8


BOMBS = {
    "arrays": b'{"model":"m","messages":' + b"[" * 200_000,
    "closed arrays": b'{"model":"m","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "objects": b'{"model":"m","messages":' + b'{"a":' * 100_000,
}


@pytest.mark.parametrize("what", BOMBS)
async def test_s13_nesting_without_reason_is_a_400(strict: Stage, what: str) -> None:
    answer = await strict.ask(BOMBS[what])
    await refused(strict.gateway, answer, 400, "invalid_json")


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5000, b"0." + b"1" * 5000, b"1E-999"])
async def test_s13_numbers_without_reason_are_not_ours_to_judge(strict: Stage, number: bytes) -> None:
    model = strict.play(replies(completion("hello"))).encode()
    body = b'{"model":"%b","messages":[{"role":"user","content":"x"}],"seed":%b}' % (model, number)
    answer = await strict.ask(body)
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert strict.calls(model.decode())[0].body == body


# --- lies --------------------------------------------------------------------------------------------------------


async def test_s13_what_goes_beyond_the_declared_length_is_no_part_of_the_body(strict: Stage) -> None:
    body = json.dumps(ask("m")).encode()
    async with Wire(strict.gateway.url) as wire:
        await wire.send(post(body) + b"x" * 500 + b"\r\n\r\n" + head("GET /smuggled"))
        assert (await wire.response()).status == 200
        rest = await wire.closed()
    assert not rest or rest.startswith(b"HTTP/1.1 400 ")
    assert rest.count(b"HTTP/1.1") < 2


async def test_s13_w16_a_body_that_is_cut_off_is_sent_to_nobody(strict: Stage) -> None:
    """A half-closed connection is the same: nothing more can come."""
    calls = len(strict.up.exchanges)
    for number, half_close in enumerate((True, False)):
        async with Wire(strict.gateway.url) as wire:
            await wire.send(
                head(f"POST {CHAT}", JSON, "Content-Length: 500", f"X-Request-ID: s13.{number}") + b'{"model":'
            )
            if half_close:
                wire.half_close()
                assert await wire.closed() == b""
        assert (await strict.gateway.log_line(f"s13.{number}"))["status"] == 499
    assert len(strict.up.exchanges) == calls


# --- slowness: all at once, since they wait most of the time -------------------------------------------------------


class Slow(NamedTuple):
    """What became of one slow client: how long it was borne, and what it was told."""

    seconds: float
    answer: Response | None


async def dripping(stage: Stage, at_once: bytes, slowly: bytes) -> Slow:
    loop = asyncio.get_running_loop()
    async with Wire(stage.gateway.url) as wire:
        began = loop.time()
        await wire.send(at_once)
        if at_once.startswith(b"GET"):
            assert (await wire.response()).status == 200
        elif b"Expect" in at_once:
            assert (await wire.begun()).status == 100
        await wire.drip(slowly, PACE)
        seconds = loop.time() - began
        try:
            answer = await wire.response()
        except ConnectionError:
            return Slow(seconds, None)
        await wire.closed()
        return Slow(seconds, answer)


async def silent(stage: Stage) -> Slow:
    loop = asyncio.get_running_loop()
    async with Wire(stage.gateway.url) as wire:
        began = loop.time()
        assert await wire.closed() == b""
        return Slow(loop.time() - began, None)


BODY = json.dumps(ask("m")).encode()
LENGTH = f"Content-Length: {len(BODY)}"
SLOWLY: dict[str, Callable[[Stage], Awaitable[Slow]]] = {
    "a head": lambda stage: dripping(stage, b"", post(BODY)),
    "the end of a head": lambda stage: dripping(stage, post(BODY)[:60], post(BODY)[60:]),
    "a second head": lambda stage: dripping(stage, head("GET /health"), post(BODY)),
    "a body": lambda stage: dripping(stage, head(f"POST {CHAT}", JSON, LENGTH), BODY),
    "a chunked body": lambda stage: dripping(stage, CHUNKED, b"".join(chunk(bytes([byte])) for byte in BODY)),
    "a chunk size": lambda stage: dripping(stage, CHUNKED, b"0" * 50),
    "trailers": lambda stage: dripping(stage, CHUNKED + chunk(BODY) + b"0\r\n", b"A: b\r\n" * 20),
    "a body that was promised": lambda stage: dripping(
        stage, head(f"POST {CHAT}", JSON, LENGTH, "Expect: 100-continue"), BODY
    ),
    "nothing": silent,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def slow(strict: Stage) -> AsyncIterator[Mapping[str, asyncio.Future[Slow]]]:
    tasks = {what: asyncio.ensure_future(client(strict)) for what, client in SLOWLY.items()}
    yield tasks
    for task in tasks.values():
        task.cancel()


@pytest.mark.parametrize("what", SLOWLY)
async def test_s15_a_slow_client_is_told_so_in_time(
    strict: Stage, slow: Mapping[str, asyncio.Future[Slow]], what: str
) -> None:
    end = await slow[what]
    assert 0.8 < end.seconds < 2.5, "the limit is one second"
    if what != "nothing":
        assert end.answer is not None
        await refused(strict.gateway, end.answer, 408, "request_timeout")
        assert end.answer.header("connection") == "close"
        assert end.answer.header("x-should-retry") == "false"


async def test_s15_pauses_between_requests_are_no_slowness(
    strict: Stage, slow: Mapping[str, asyncio.Future[Slow]]
) -> None:
    """A client's pool keeps its connections open: they are idle, not slow."""
    async with Wire(strict.gateway.url) as wire:
        await wire.send(head("GET /health"))
        assert (await wire.response()).status == 200
        assert (await silent(strict)).seconds > 0.8
        await wire.send(head("GET /health"))
        assert (await wire.response()).status == 200
