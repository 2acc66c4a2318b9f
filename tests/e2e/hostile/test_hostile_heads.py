"""S14 and S20: heads that are too large, and heads that two servers could read in two ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.outside import Stage, ask, memory, refused
from tests.e2e.wire_http import CHAT, Response, Wire, chunk, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = json.dumps(ask("m")).encode()
LENGTH = f"Content-Length: {len(BODY)}"
JSON = "Content-Type: application/json"
# What an attacker would have the next server read as a request of somebody else.
SMUGGLED = head("GET /smuggled")


def lines(*raw: bytes, start: bytes = b"POST /v1/chat/completions HTTP/1.1") -> bytes:
    return b"\r\n".join([start, *raw, b"", b""])


HOST = b"Host: gateway"
CL = LENGTH.encode()
TE = b"Transfer-Encoding: chunked"
CHUNKED = chunk(BODY) + b"0\r\n\r\n"
TWO_READINGS: dict[str, bytes] = {
    "length and chunked": lines(HOST, CL, TE) + CHUNKED,
    "chunked and length": lines(HOST, TE, b"Content-Length: 4") + CHUNKED,
    "two lengths": lines(HOST, CL, b"Content-Length: 4") + BODY,
    "the same length twice": lines(HOST, CL, CL) + BODY,
    "a list of lengths": lines(HOST, CL + b", " + CL[16:]) + BODY,
    "a negative length": lines(HOST, b"Content-Length: -1") + BODY,
    "a length with a sign": lines(HOST, b"Content-Length: +" + CL[16:]) + BODY,
    "a length in hex": lines(HOST, b"Content-Length: 0x10") + BODY,
    "a length beyond all numbers": lines(HOST, b"Content-Length: 99999999999999999999999") + BODY,
    "an empty length": lines(HOST, b"Content-Length:") + BODY,
    "a length of two words": lines(HOST, b"Content-Length: 1 2") + BODY,
    "chunked is not the last coding": lines(HOST, b"Transfer-Encoding: chunked, identity") + CHUNKED,
    "a coding nobody knows": lines(HOST, b"Transfer-Encoding: xchunked") + CHUNKED,
    "chunked twice": lines(HOST, TE, TE) + CHUNKED,
    "chunked with a tab": lines(HOST, b"Transfer-Encoding:\x0bchunked") + CHUNKED,
    "space before the colon": lines(HOST, b"Transfer-Encoding : chunked") + CHUNKED,
    "chunked in HTTP/1.0": lines(HOST, TE, start=b"POST /v1/chat/completions HTTP/1.0") + CHUNKED,
    "a bad chunk size": lines(HOST, TE) + b"zz\r\n" + BODY,
    "a chunk size beyond all numbers": lines(HOST, TE) + b"f" * 17 + b"\r\n" + BODY,
    "a negative chunk size": lines(HOST, TE) + b"-1\r\n" + BODY,
    "a chunk longer than it says": lines(HOST, TE) + b"2\r\n" + CHUNKED,
    "bare LF after a chunk size": lines(HOST, TE) + b"%x\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "bare LF": lines(HOST, CL).replace(b"\r\n", b"\n") + BODY,
    "one bare LF": lines(HOST, b"A: b\nC: d", CL) + BODY,
    "a bare CR": lines(HOST, b"A: b\rC: d", CL) + BODY,
    "a folded header": lines(HOST, b"A: b\r\n c", CL) + BODY,
    "a folded first header": lines(b" " + HOST, CL) + BODY,
    "a NUL": lines(HOST, b"A: b\x00c", CL) + BODY,
    "a control character": lines(HOST, b"A: b\x01c", CL) + BODY,
    "a value that is not ASCII": lines(HOST, "X-Api-Key: clé".encode(), CL) + BODY,
    "a value in Latin-1": lines(HOST, b"X-Api-Key: cl\xe9", CL) + BODY,
    "a name that is not ASCII": lines(HOST, "Clé: a".encode(), CL) + BODY,
    "no name": lines(HOST, b": a", CL) + BODY,
    "no colon": lines(HOST, b"abc", CL) + BODY,
    "no host": lines(CL) + BODY,
    "two hosts": lines(HOST, b"Host: other", CL) + BODY,
    "the same host twice": lines(HOST, HOST, CL) + BODY,
    "HTTP/1.9": lines(HOST, CL, start=b"POST /v1/chat/completions HTTP/1.9") + BODY,
    "no version": b"POST /v1/chat/completions\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in small letters": lines(HOST, CL, start=b"post /v1/chat/completions HTTP/1.1") + BODY,
    "a method nobody knows": lines(HOST, CL, start=b"BREW /v1/chat/completions HTTP/1.1") + BODY,
    "a space in the URL": lines(HOST, CL, start=b"POST /v1/chat/completions a HTTP/1.1") + BODY,
    "a URL that is not ASCII": lines(HOST, CL, start="POST /v1/chat/é HTTP/1.1".encode()) + BODY,
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(range(64, 128)) + b"\r\n\r\n",
}


async def refusals(stage: Stage, data: bytes) -> Response:
    """The one answer: whatever stands behind it in the connection is heard by nobody."""
    async with Wire(stage.gateway.url) as wire:
        await wire.send(data)
        answer = await wire.response()
        assert await wire.closed() == b"", "something more was answered"
    return answer


# RFC 9112, 6.1: it may be processed, if the connection ends with it.
MAY_BE_SERVED = "chunked in HTTP/1.0"


async def examined(stage: Stage, what: str) -> int:
    """The status, after checking what must hold whatever it says."""
    answer = await refusals(stage, TWO_READINGS[what] + SMUGGLED)
    assert answer.header("connection") == "close"
    if what != MAY_BE_SERVED:
        await refused(stage.gateway, answer, answer.status)
    return answer.status


class Asked(NamedTuple):
    """What became of each, and how many of them reached the upstream."""

    statuses: Mapping[str, asyncio.Task[int]]
    calls: int


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asked(strict: Stage) -> AsyncIterator[Asked]:
    """All at once: most of the time is spent waiting for log lines."""
    before = len(strict.up.exchanges)
    tasks = {what: asyncio.create_task(examined(strict, what)) for what in TWO_READINGS}
    await asyncio.wait(tasks.values())
    yield Asked(tasks, len(strict.up.exchanges) - before)
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("what", TWO_READINGS)
async def test_s20_what_could_be_read_in_two_ways_is_refused(asked: Asked, what: str) -> None:
    assert await asked.statuses[what] in (400, 405, 414, 501, 505) or what == MAY_BE_SERVED


async def test_s20_none_of_it_is_served_to_anybody(strict: Stage, asked: Asked) -> None:
    assert asked.calls == (await asked.statuses[MAY_BE_SERVED] == 200)
    assert all(line.get("path") != "/smuggled" for line in strict.gateway.log_lines())


ONE_READING: dict[str, bytes] = {
    "as it should be": lines(HOST, CL) + BODY,
    "empty lines before it": b"\r\n\r\n" + lines(HOST, CL) + BODY,
    "names in any case": lines(b"hOsT: gateway", CL.upper()) + BODY,
    "tabs around a value": lines(b"Host:\tgateway\t", CL) + BODY,
    "chunked in capitals": lines(HOST, b"transfer-encoding: Chunked") + CHUNKED,
    "chunk extensions": lines(HOST, TE) + b"%x;a=b\r\n%b\r\n0;c\r\n\r\n" % (len(BODY), BODY),
    "a chunk size with zeros": lines(HOST, TE) + b"000%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "HTTP/1.0 without a host": lines(CL, start=b"POST /v1/chat/completions HTTP/1.0") + BODY,
    "a URL with a host": lines(HOST, CL, start=b"POST http://gateway/v1/chat/completions HTTP/1.1") + BODY,
    "a query": lines(HOST, CL, start=b"POST /v1/chat/completions?a=b HTTP/1.1") + BODY,
    "an empty value": lines(HOST, b"A:", CL) + BODY,
}


@pytest.mark.parametrize("what", ONE_READING)
async def test_s20_what_can_be_read_in_one_way_only_is_served(strict: Stage, what: str) -> None:
    async with Wire(strict.gateway.url) as wire:
        await wire.send(ONE_READING[what])
        answer = await wire.response()
        assert answer.status == 200, answer
        assert answer.header("x-request-id") != "from-a-trailer"
        if "1.0" not in what:
            await wire.send(head("GET /health"))
            assert (await wire.response()).status == 200


def padded(size: int, count: int = 1) -> list[str]:
    """``count`` headers of ``size`` bytes, names and values, in all."""
    share = size // count
    return [f"X-Pad-{number:05d}: {'x' * (share - 11)}" for number in range(count)]


KIB = 1024
HEADS: dict[str, tuple[list[str], int]] = {
    "64 KiB in one": (padded(64 * KIB - 200), 200),
    "64 KiB in sixty": (padded(64 * KIB - 200, 60), 200),
    "60 lines": (padded(60 * 50, 60), 200),
    "70 KiB in one": (padded(70 * KIB), 431),
    "70 KiB in sixty": (padded(70 * KIB, 60), 431),
    "200 lines": (padded(200 * 20, 200), 431),
    "10,000 lines": (padded(10_000 * 12, 10_000), 431),
}


@pytest.mark.parametrize("what", HEADS)
async def test_s14_w17_heads_up_to_64_kib_are_read_and_larger_ones_are_not(strict: Stage, what: str) -> None:
    more, status = HEADS[what]
    request = head(f"POST {CHAT}", JSON, LENGTH, *more) + BODY
    if status == 200:
        answer = await strict.ask(BODY, *more)
        assert answer.status == 200
        return
    answer = await refusals(strict, request + SMUGGLED)
    error = await refused(strict.gateway, answer, 431)
    assert "64 KiB" in error["message"]
    assert answer.header("x-should-retry") == "false"


ENDLESS = {
    "a header": b"GET /health HTTP/1.1\r\nHost: gateway\r\nX-Endless: ",
    "a header's name": b"GET /health HTTP/1.1\r\nHost: gateway\r\n",
    "a URL": b"GET /",
    "a method": b"",
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_s14_a_head_without_an_end_is_cut_off_in_bounded_memory(strict: Stage, what: str) -> None:
    before = memory(strict.gateway.pid)
    async with Wire(strict.gateway.url) as wire:
        await wire.send(ENDLESS[what])
        answering = asyncio.create_task(wire.response())
        for _ in range(1000):
            if answering.done():
                break
            try:
                await wire.send(b"x" * 65_536)
            except ConnectionError:
                break
        else:
            raise AssertionError("it takes 64 MB and more")
        answer = await answering
        await refused(strict.gateway, answer, answer.status)
    assert answer.status in (400, 414, 431)
    grown = memory(strict.gateway.pid) - before
    print(f"{grown:.1f} MB more")
    assert grown < 5
