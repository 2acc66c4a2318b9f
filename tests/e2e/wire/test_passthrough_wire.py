"""Pass-through paths, from outside: any method and any body, as it came, to one provider and nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.faulty import Exchange, Fault
from tests.e2e.harness import eventually
from tests.e2e.outside import MB, Stage, forget_peak, memory, open_stage, refused, replies
from tests.e2e.wire_http import Wire, chunk, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILE = b'{"id":"file-1", "object":"file","bytes":1.0}'
PATHS = ["/v1/files", "/v1/files/*", "/v1/batches"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def passing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A request for a file has no model, so it plays under the name None."""
    sections = {"passthrough": {"provider": "up", "paths": PATHS}}
    async with open_stage(tmp_path_factory.mktemp("passing"), {}, **sections) as stage:
        yield stage


def play(stage: Stage, script: Fault) -> list[Exchange]:
    """The exchanges from here on."""
    stage.put_on("None", script)
    stage.up.exchanges.clear()
    return stage.up.exchanges


REQUESTS = {
    "list": (
        head("GET /v1/files?limit=2&after=a%2Fb&purpose="),
        b"GET /v1/files?limit=2&after=a%2Fb&purpose= HTTP/1.1\r\n",
    ),
    "retrieve": (head("GET /v1/files/file-1"), b"GET /v1/files/file-1 HTTP/1.1\r\n"),
    "below": (head("GET /v1/files/file-1/content"), b"GET /v1/files/file-1/content HTTP/1.1\r\n"),
    "delete": (head("DELETE /v1/files/file-1"), b"DELETE /v1/files/file-1 HTTP/1.1\r\n"),
    "create": (post(b'{"a":1.0}', path="/v1/batches"), b"POST /v1/batches HTTP/1.1\r\n"),
}


@pytest.mark.parametrize("what", REQUESTS)
async def test_passthrough_sends_method_path_and_query_as_they_came(passing: Stage, what: str) -> None:
    request, line = REQUESTS[what]
    seen = play(passing, replies(FILE, x_request_id="up-7"))
    async with Wire(passing.gateway.url) as wire:
        await wire.send(request)
        answer = await wire.response()
    assert (answer.status, answer.body) == (200, FILE)
    (call,) = seen
    assert call.head.startswith(line)
    assert call.body == request.partition(b"\r\n\r\n")[2]
    number = answer.header("x-request-id")
    assert dict(call.headers)["x-request-id"] == number != "up-7"
    line_ = await passing.gateway.log_line(number)
    assert (line_["status"], line_["path"]) == (200, line.split()[1].partition(b"?")[0].decode())


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_passthrough_uploads_and_downloads_byte_for_byte_in_bounded_memory(passing: Stage, framing: str) -> None:
    content = hashlib.shake_256(b"content").digest(15 * MB)
    seen = play(passing, replies(content, media_type="application/octet-stream"))
    media_type = 'multipart/form-data; boundary="a b"'
    forget_peak(passing.gateway.pid)
    before = memory(passing.gateway.pid)
    async with Wire(passing.gateway.url) as wire:
        length = f"Content-Length: {len(content)}" if framing == "length" else "Transfer-Encoding: chunked"
        await wire.send(head("POST /v1/files", f"Content-Type: {media_type}", length))
        for at in range(0, len(content), MB):
            piece = content[at : at + MB]
            await wire.send(piece if framing == "length" else chunk(piece))
        if framing == "chunked":
            await wire.send(b"0\r\n\r\n")
        answer = await wire.response()
    grown = memory(passing.gateway.pid, "VmHWM") - before
    print(f"15 MB up and down: {grown:.1f} MB more at the peak")
    (call,) = seen
    assert call.body == content
    assert dict(call.headers)["content-type"] == media_type
    assert (answer.header("content-type"), answer.body == content) == ("application/octet-stream", True)
    assert grown < 15


@pytest.mark.parametrize("code", [201, 204, 206, 400, 404, 409, 422])
async def test_passthrough_the_upstreams_status_is_the_answer(passing: Stage, code: int) -> None:
    play(passing, replies(b"" if code == 204 else FILE, code))
    async with Wire(passing.gateway.url) as wire:
        await wire.send(head("GET /v1/files/file-1") + head("GET /health"))
        answer = await wire.response(bodiless=code == 204)
        assert answer.status == code
        assert (await wire.response()).json == {"status": "ok"}


@pytest.mark.parametrize("code", [301, 401, 403, 500, 503])
async def test_passthrough_w12_what_is_our_own_trouble_is_told_as_ours(passing: Stage, code: int) -> None:
    seen = play(passing, replies(b'{"error":"SECRET"}', code, Location="http://127.0.0.1:1/", WWW_Authenticate="x"))
    async with Wire(passing.gateway.url) as wire:
        await wire.send(head("GET /v1/files/file-1"))
        answer = await wire.response()
    await refused(passing.gateway, answer, 502, "upstream_error")
    assert len(seen) == 1, "what may have had an effect is not sent twice"
    assert "SECRET" not in answer.body.decode()
    assert (answer.header("location"), answer.header("www-authenticate")) == ("", "")


ELSEWHERE = [
    "/v1/files/../chat/completions", "/v1/files/%2e%2e/models", "/v1/files/..%2fmodels", "/v1/files//x", "/v1//files",
    "/v1/files/a;b=c", "/v1/filesystem", "/v1/FILES", "/v1/batches/b-1", "/v1/assistants", "/files", "/v1/files/..\\x",
]  # fmt: skip


async def test_passthrough_no_other_path_gets_through(passing: Stage) -> None:
    seen = play(passing, replies(FILE))

    async def one(path: str) -> None:
        async with Wire(passing.gateway.url) as wire:
            await wire.send(head(f"GET {path}"))
            answer = await wire.response()
        assert answer.status in (400, 404), path
        await refused(passing.gateway, answer, answer.status)

    await asyncio.gather(*map(one, ELSEWHERE))
    assert seen == []


LEAKS = ["Authorization: Bearer LEAK", "X-API-Key: LEAK", "Cookie: LEAK", "X-Forwarded-For: LEAK", "OpenAI-Organization: LEAK",
         "Connection: keep-alive, X-Hop", "X-Hop: LEAK", "Proxy-Authorization: LEAK", "TE: LEAK", "Forwarded: LEAK"]  # fmt: skip


async def test_passthrough_w19_no_credentials_cross_in_either_direction(passing: Stage) -> None:
    names = ("set-cookie", "openai-organization", "proxy-authenticate", "keep-alive", "x-hop", "trailer", "upgrade")
    leaks: dict[str, Any] = {name.replace("-", "_"): "LEAK" for name in names}
    script = replies(FILE, Connection="keep-alive, x-hop", **leaks)
    seen = play(passing, script)
    async with Wire(passing.gateway.url) as wire:
        await wire.send(head("GET /v1/files", *LEAKS))
        answer = await wire.response()
    assert b"LEAK" not in seen[0].head
    assert "LEAK" not in str(answer.headers)
    assert dict(seen[0].headers)["host"] in passing.up.url
    assert answer.header("date")


@pytest.mark.parametrize("death", ["before", "within"])
async def test_passthrough_w05_what_dies_never_looks_complete(passing: Stage, death: str) -> None:
    async def dies(x: Exchange) -> None:
        if death == "within":
            await x.begin()
            await x.say(b"half of a file")
        await x.close()

    play(passing, dies)
    async with Wire(passing.gateway.url) as wire:
        await wire.send(head("GET /v1/files/file-1/content", f"X-Request-ID: dies.{death}"))
        answer = await wire.response()
    if death == "before":
        await refused(passing.gateway, answer, 502, "upstream_error")
    else:
        assert (answer.status, answer.whole, answer.body) == (200, False, b"half of a file")
        assert (await passing.gateway.log_line("dies.within"))["end"] == "cut"


@pytest.mark.parametrize("phase", ["up", "down"])
async def test_passthrough_w16_a_client_that_goes_takes_its_upstream_along(passing: Stage, phase: str) -> None:
    async def hangs(x: Exchange) -> None:
        await x.begin()
        await x.say(b"some")
        await x.hang()

    seen = play(passing, hangs)
    connections = passing.up.connections
    async with Wire(passing.gateway.url) as wire:
        if phase == "up":
            await wire.send(head("POST /v1/files", "Content-Length: 100", "X-Request-ID: gone.up") + b"half")
            await eventually(lambda: passing.up.connections > connections or seen)
        else:
            await wire.send(head("GET /v1/files", "X-Request-ID: gone.down"))
            await wire.more(await wire.begun(), b"some")
    line = await passing.gateway.log_line(f"gone.{phase}")
    assert (line["status"], line["end"]) == (499, "client_closed")
    if phase == "down":
        await eventually(lambda: seen[0].abandoned_at)


async def test_passthrough_leaves_the_gateways_own_paths_alone(passing: Stage) -> None:
    seen = play(passing, replies(FILE))
    async with Wire(passing.gateway.url) as wire:
        await wire.send(head("GET /v1/models") + head("GET /v1/chat/completions"))
        assert (await wire.response()).json["object"] == "list"
        assert (await wire.response()).status == 405
    assert seen == []


async def test_passthrough_head_has_no_body_and_the_connection_goes_on(passing: Stage) -> None:
    async def headers_only(x: Exchange) -> None:
        await x.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(FILE))

    seen = play(passing, headers_only)
    async with Wire(passing.gateway.url) as wire:
        await wire.send(head("HEAD /v1/files/file-1") + head("GET /health"))
        assert (await wire.response(bodiless=True)).status == 200
        assert (await wire.response()).json == {"status": "ok"}
    assert seen[0].head.startswith(b"HEAD /v1/files/file-1 ")


async def test_passthrough_events_are_flushed_as_they_come(passing: Stage) -> None:
    came = asyncio.Event()

    async def in_lock_step(x: Exchange) -> None:
        await x.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await x.say(b"event: a\ndata: " + json.dumps({"n": 1}).encode() + b"\n\n")
        await came.wait()
        await x.say(b"event: b\ndata: {}\n\n")
        await x.end()

    play(passing, in_lock_step)
    async with Wire(passing.gateway.url) as wire:
        await wire.send(post({"stream": True}, path="/v1/batches"))
        answer = await wire.begun()
        await wire.more(answer, b"\n\n")
        came.set()
        await wire.more(answer, b"event: b\ndata: {}\n\n")
    assert answer.header("content-type").startswith("text/event-stream")
