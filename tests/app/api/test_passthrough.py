"""What is passed on, where to and with what, at the ASGI callable; the provider behind it is on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
import yaml
from file_server import FileServer

from app.api.exchange import Exchange
from app.api.passthrough import METHODS
from app.api.upload import MAX_UPLOAD_BYTES
from app.main import create_app
from app.settings import load
from app.wiring import build
from router.ownership import Ownership
from tests.app.api.conftest import Answer
from tests.e2e.harness import eventually

PATHS = ["/v1/files/*", "/v1/batches", "/v1/*"]
CLEAN = "/v1/files/file-1/content"


class World:
    """A gateway with two providers over HTTP, and the one that it passes on to."""

    def __init__(self, server: FileServer, folder: Path, paths: list[str] | None, *, alone: bool = False) -> None:
        self.server = server
        self.exchanges: list[Exchange] = []
        providers: list[dict[str, Any]] = [
            {"name": "up", "kind": "openai-compatible", "base_url": server.url, "api_key": "sk-ours"},
            {"name": "other", "kind": "openai-compatible", "base_url": server.url.replace("/v1", "/other/v1")},
            {"name": "mock", "kind": "mock", "ttft": 0, "token_interval": 0},
        ]
        if alone:
            del providers[1]
        config: dict[str, Any] = {
            "providers": providers,
            "routes": [{"model": "m", "targets": [{"provider": one["name"]} for one in providers]}],
            "server": {"receive_timeout_s": 0.2},
        }
        if paths is not None:
            config["passthrough"] = {"provider": "up", "paths": paths}
        (folder / "breakwater.yaml").write_text(yaml.safe_dump(config))
        self.gateway = build(load(None, {}, folder).settings, started=1)
        self.edge = create_app(self.gateway, listeners=[self.exchanges.extend])
        self.ownership: Ownership = self.edge._passed_on.__self__._ownership

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        query: bytes = b"",
        receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> Answer:
        given = {"host": "gateway"} | ({"content-length": str(len(body))} if body else {}) | (headers or {})
        raw = path.encode("latin-1")
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "client": ("127.0.0.1", 5000),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        }
        answer = Answer()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def given_body() -> dict[str, Any]:
            return messages.pop() if messages else await asyncio.get_running_loop().create_future()

        async def collect(message: Any) -> None:
            if message["type"] == "http.response.start":
                assert not answer.status, "a second status line"
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
                assert len(answer.headers) == len(message["headers"]), "a header twice"
            else:
                answer.body += message.get("body", b"")
                answer.whole = not message.get("more_body", False)

        await self.edge(scope, receive or given_body, collect)
        return answer


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with _world(tmp_path, PATHS) as one:
        yield one


@asynccontextmanager
async def _world(folder: Path, paths: list[str] | None, *, alone: bool = False) -> AsyncGenerator[World]:
    async with FileServer() as server:
        server.files["file-1"] = b"content"
        one = World(server, folder, paths, alone=alone)
        try:
            yield one
        finally:
            await one.gateway.aclose()


# --- which paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "passes"),
    [
        ("/v1/files/*", "/v1/files", True),
        ("/v1/files/*", "/v1/files/a", True),
        ("/v1/files/*", "/v1/files/a/b/c", True),
        ("/v1/files/*", "/v1/filesystem", False),
        ("/v1/files/*", "/v1/batches", False),
        ("/v1/files/*", "/V1/files/a", False),
        ("/v1/files/*", "/v1/Files/a", False),
        ("/v1/files/*", "/v1/%66iles/a", False),
        ("/v1/files/*", "//v1/files/a", False),
        ("/v1/files/*", "/v1//files/a", False),
        ("/v1/files/*", "/files/a", False),
        ("/v1/batches", "/v1/batches", True),
        ("/v1/batches", "/v1/batches/b", False),
        ("/v1/*", "/v1/anything/at/all", True),
        ("/v1/*", "/v1", False),
        ("/v1/*", "/v2/x", False),
    ],
)
async def test_a_path_passes_if_a_pattern_says_so(tmp_path, pattern, path, passes):
    async with _world(tmp_path, [pattern]) as world:
        answer = await world.send("PUT", path)
        assert answer.status == 404
        assert [one.target for one in world.server.seen] == ([path] if passes else [])
        assert passes or answer.error["code"] == "unknown_path"


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/files/{segment}"
        for segment in (
            "",
            "a/",
            "a//b",
            ".",
            "..",
            "../models",
            "./a",
            "a/./b",
            "a/..",
            "a/../../models",
            "..;/models",
            "a;b=c",
            "..%2fmodels",
            "a%2Fb",
            "%2e%2e/models",
            "%2E",
            "a%5cb",
            "a\\b",
            "a%3bb",
            "a%00b",
            "a%0d%0aX:%201",
            "a%1f",
            "a%7f",
            "a%23b",
            "a%3fb",
            "a%25b",
            "a%252e",
            "a%",
            "a%4",
            "a%zz",
            "a b",
            "a\tb",
            "a\r\nX: 1",
            "a\x00",
            "a\x7f",
            "ä",
            "a@b",
            "a*b",
            "a?b",
            "a#b",
            "a|b",
        )
    ],
)
async def test_a_path_with_more_than_one_reading_is_none(world, path):
    for method in ("GET", "POST", "DELETE"):
        answer = await world.send(method, path)
        assert (answer.status, answer.error["code"]) == (404, "unknown_path")
    assert world.server.seen == []


@pytest.mark.parametrize(
    "segment", ["file-1", "ft:gpt-4o:org::id", "a.b..c", "...", ".a", "~a_b-C9", "a%20b", "%C3%A4%41"]
)
async def test_ids_pass_as_they_are(world, segment):
    await world.send("GET", f"/v1/things/{segment}/parts")
    assert world.server.last.target == f"/v1/things/{segment}/parts"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (b"", 404),
        (b"a=b&a=b&c", 404),
        (b"x=%00%2F..&y=a+b;z", 404),
        (b"??/../", 404),
        (b"a=\xc3\xa4", 400),
        (b"a b", 400),
    ],
)
async def test_the_query_passes_byte_for_byte_or_not_at_all(world, query, status):
    answer = await world.send("GET", "/v1/things", query=query)
    assert answer.status == status
    targets = [one.target for one in world.server.seen]
    assert targets == ([f"/v1/things{'?' if query else ''}{query.decode()}"] if status == 404 else [])


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt%2F4", "/v1/health", "/v1/ready", "/v1/m%6fdels"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
async def test_what_the_gateway_answers_itself_never_passes(world, method, path):
    answer = await world.send(method, path)
    assert answer.status in (200, 404, 405, 503)
    assert world.server.seen == []


async def test_a_hot_path_passes_only_with_another_method_and_a_pattern(tmp_path, world):
    assert (await world.send("POST", "/v1/chat/completions", b"{}")).status == 400
    assert world.server.seen == []
    await world.send("GET", "/v1/chat/completions", query=b"limit=2")
    assert world.server.last.target == "/v1/chat/completions?limit=2"
    async with _world(tmp_path, ["/v1/files/*"]) as narrow:
        answer = await narrow.send("GET", "/v1/chat/completions")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_without_passthrough_nothing_passes(tmp_path):
    async with _world(tmp_path, None) as world:
        for path in ("/v1/files", CLEAN, "/v1/batches"):
            assert (await world.send("GET", path)).error["code"] == "unknown_path"
        assert world.server.seen == []


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_passes(world, method):
    await world.send(method, "/v1/things")
    assert world.server.last.method == method


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND"])
async def test_a_method_that_would_show_our_key_does_not_pass(world, method):
    answer = await world.send(method, "/v1/things")
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == ", ".join(METHODS)
    assert world.server.seen == []


# --- what travels -----------------------------------------------------------------------------------------------------

GOES_UP = {
    "accept": "application/x",
    "accept-language": "de",
    "content-type": "text/plain",
    "content-encoding": "zstd",
    "range": "bytes=0-1",
    "if-none-match": '"9"',
    "if-range": '"9"',
    "idempotency-key": "once",
    "openai-beta": "assistants=v2",
    "traceparent": "00-1-2-3",
    "tracestate": "a=b",
    "x-client-request-id": "mine",
}
STAYS = {
    "authorization": "Bearer sk-theirs",
    "x-api-key": "sk-theirs",
    "cookie": "a=b",
    "x-forwarded-for": "1.2.3.4",
    "x-forwarded-host": "evil",
    "forwarded": "for=1.2.3.4",
    "openai-organization": "org-theirs",
    "openai-project": "proj-theirs",
    "user-agent": "them/1",
    "x-stainless-os": "Linux",
    "accept-encoding": "gzip",
    "te": "trailers",
    "trailer": "x",
    "upgrade": "h2c",
    "keep-alive": "5",
    "proxy-authorization": "Basic x",
    "expect": "100-continue",
    "x-provider-priority": "other",
    "x-internal": "1",
    "origin": "http://page",
    "if-match": '"named in Connection"',
    "connection": "keep-alive, upgrade, If-Match, X-Request-ID, content-length",
}


async def test_only_listed_headers_go_up_and_none_of_the_clients_credentials(world):
    answer = await world.send(
        "POST", "/v1/things", b"body", GOES_UP | STAYS | {"x-request-id": "req-7", "authorization": "Bearer sk-theirs"}
    )
    seen = world.server.last
    ours = {
        "host": world.server.url.split("/")[2],
        "accept-encoding": "identity",
        "authorization": "Bearer sk-ours",
        "content-length": "4",
        "x-request-id": "req-7",
    }
    assert dict(seen.lines) == GOES_UP | ours
    assert len(seen.lines) == len(seen.headers), "a header twice"
    assert answer.headers["x-request-id"] == "req-7"


async def test_the_answer_has_our_headers_beside_its_own(world):
    answer = await world.send("GET", CLEAN)
    assert (answer.status, answer.body, answer.whole) == (200, b"content", True)
    assert answer.headers["content-disposition"] == 'attachment; filename="data.bin"'
    assert answer.headers["etag"] == '"v1"'
    assert answer.headers["content-length"] == "7"
    assert answer.headers["x-provider"] == "up"
    assert answer.headers["x-target"] == "up/v1/files/*"
    assert answer.headers["x-attempts"] == "up/v1/files/*:200"
    assert answer.headers["x-route-reason"] == "passthrough"
    assert float(answer.headers["x-overhead-ms"]) >= 0
    assert answer.headers["content-security-policy"] == "sandbox", "an uploaded page must not run as ours"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("given", "status", "length"),
    [({"range": "bytes=1-3"}, 206, "3"), ({"if-none-match": '"v1"'}, 304, None), ({}, 200, "7")],
    ids=["part", "unchanged", "whole"],
)
async def test_parts_and_conditions(world, given, status, length):
    answer = await world.send("GET", CLEAN, headers=given)
    assert (answer.status, answer.headers.get("content-length")) == (status, length)
    assert answer.body == {206: b"ont", 304: b"", 200: b"content"}[status]
    assert answer.headers.get("content-range") == ("bytes 1-3/7" if status == 206 else None)


async def test_there_is_one_log_line_and_it_names_the_target(world):
    await world.send("GET", CLEAN, headers={"x-request-id": "req-1"})
    await world.send("GET", "/v1/files/nothing/content/at/all")
    world.edge._finished.flush()
    first, second = world.exchanges
    assert (first.request_id, first.status, first.target, first.end) == ("req-1", 200, "up/v1/files/*", "complete")
    assert (first.bytes_in, first.bytes_out, first.error, first.path) == (0, 7, None, CLEAN)
    assert [tried.label for tried in first.attempts] == ["200"]
    assert first.waited > 0
    assert (second.status, second.target) == (404, "up/v1/files/*")
    assert first.attempts[0].target is second.attempts[0].target, "as many targets as there are patterns"


# --- whose fault ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 401, 402, 403, 407, 500, 503])
async def test_what_is_about_our_key_or_leads_elsewhere_or_is_its_own_failure_is_ours_to_explain(world, status):
    async def play(exchange):
        await exchange.reply(status, b"sk-ours", location="http://10.0.0.1/x", www_authenticate="Basic")

    world.server.plays["GET /v1/things"] = play
    answer = await world.send("GET", "/v1/things")
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert answer.headers["x-attempts"] == f"up/v1/*:{status}"
    assert answer.headers["x-target"] == "up/v1/*"
    assert "location" not in answer.headers
    assert b"sk-ours" not in answer.body
    assert b"10.0.0.1" not in answer.body
    assert ("x-should-retry" in answer.headers) is (status < 407)


async def test_a_provider_that_is_not_there_is_a_502(world):
    async with FileServer() as gone:
        url = gone.url
    await world.gateway.aclose()
    world.gateway.providers["up"]._upstream._dialer._port = int(url.split(":")[2].partition("/")[0])
    answer = await world.send("GET", CLEAN)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert answer.headers["x-attempts"] == "up/v1/files/*:unreachable"


@pytest.mark.parametrize(
    ("length", "status"),
    [(MAX_UPLOAD_BYTES, 404), (MAX_UPLOAD_BYTES + 1, 413), (10**18, 413)],
    ids=["at", "over", "far"],
)
async def test_a_body_that_says_it_is_too_large_is_refused_before_anything_is_sent(world, length, status):
    async def early(exchange):
        await exchange.reply(404)

    world.server.plays["POST /v1/things"] = early
    answer = await world.send("POST", "/v1/things", headers={"content-length": str(length)})
    assert answer.status == status
    if status == 413:
        assert answer.error["code"] == "request_too_large"
        assert answer.headers["connection"] == "close"
        assert world.server.seen == []


async def test_a_body_that_turns_out_to_be_too_large_is_refused_and_the_upload_broken_off(world, monkeypatch):
    monkeypatch.setattr("app.api.upload.MAX_UPLOAD_BYTES", 1000)

    async def swallow(exchange):
        await exchange.body()

    world.server.plays["POST /v1/things"] = swallow

    async def receive():
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    answer = await world.send("POST", "/v1/things", headers={"transfer-encoding": "chunked"}, receive=receive)
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert world.server.last.received <= 1000


async def test_a_body_that_does_not_come_is_a_408_and_the_upload_broken_off(world):
    async def swallow(exchange):
        await exchange.body()

    world.server.plays["POST /v1/things"] = swallow
    parts = iter([{"type": "http.request", "body": b"xy", "more_body": True}])

    async def receive():
        return next(parts, None) or await asyncio.get_running_loop().create_future()

    answer = await world.send("POST", "/v1/things", headers={"transfer-encoding": "chunked"}, receive=receive)
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-should-retry"] == "false"
    await eventually(lambda: world.server.last.gone)


@pytest.mark.parametrize("moment", ["in_its_body", "before_the_head", "in_the_answer"])
async def test_a_client_that_leaves_takes_its_upstream_along(world, moment):
    reached = asyncio.Event()

    async def play(exchange):
        if moment == "in_its_body":
            reached.set()
        await exchange.body()
        if moment == "in_the_answer":
            await exchange.begin()
            await exchange.say(b"some")
        reached.set()
        await exchange.until_gone()

    world.server.plays["POST /v1/things"] = play
    parts = iter([{"type": "http.request", "body": b"x", "more_body": moment == "in_its_body"}])

    async def receive():
        if part := next(parts, None):
            return part
        await reached.wait()
        return {"type": "http.disconnect", "stalled": False}

    await world.send("POST", "/v1/things", headers={"transfer-encoding": "chunked"}, receive=receive)
    await eventually(lambda: world.server.last.gone)
    world.edge._finished.flush()
    (exchange,) = world.exchanges
    assert (exchange.status, exchange.end, exchange.error) == (499, "client_closed", "client_closed")


async def test_a_bug_of_ours_is_a_500_with_a_traceback_in_the_log_only(world, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("app.api.passthrough.outgoing", broken)
    answer = await world.send("GET", CLEAN)
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body


async def test_a_fault_by_header_is_refused_and_not_dropped(world):
    answer = await world.send("GET", CLEAN, headers={"x-fault": "any"})
    assert (answer.status, answer.error["code"]) == (400, "invalid_header")
    assert "inference only" in answer.error["message"]
    assert world.server.seen == []


async def test_while_draining_nothing_new_is_passed_on(world):
    world.edge.drain()
    answer = await world.send("GET", CLEAN)
    assert (answer.status, answer.error["code"]) == (503, "draining")
    assert world.server.seen == []


async def test_what_runs_when_the_time_to_drain_is_over_gets_a_last_word(world):
    async def play(exchange):
        await exchange.until_gone()

    world.server.plays["GET /v1/things"] = play
    running = asyncio.create_task(world.send("GET", "/v1/things"))
    await eventually(lambda: world.server.seen)
    running.cancel()
    answer = await running
    assert (answer.status, answer.error["code"]) == (503, "draining")


# --- web pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "passes"),
    [
        ("POST", {"content-type": "multipart/form-data; boundary=x"}, False),
        ("POST", {"content-type": "text/plain"}, False),
        ("POST", {}, False),
        ("GET", {}, True),
        ("DELETE", {}, True),  # a page must ask before it may, and nobody says yes
        ("POST", {"content-type": "application/json"}, True),
        ("POST", {"content-type": "multipart/form-data; boundary=x", "authorization": "Bearer k"}, True),
        ("POST", {"content-type": "multipart/form-data; boundary=x", "x-api-key": "k"}, True),
    ],
)
async def test_a_web_page_cannot_post_what_it_may_send_anywhere(world, method, headers, passes):
    answer = await world.send(method, "/v1/things", headers={"origin": "http://evil.example"} | headers)
    assert answer.status == (404 if passes else 400)
    assert len(world.server.seen) == passes
    assert passes or answer.error["code"] == "invalid_content_type"


async def test_a_web_page_that_asks_whether_it_may_is_never_told_yes(world):
    async def play(exchange):
        await exchange.reply(200, access_control_allow_origin="*", access_control_allow_methods="*")

    world.server.plays["OPTIONS /v1/things"] = play
    answer = await world.send("OPTIONS", "/v1/things", headers={"origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --- responses that are stored upstream -------------------------------------------------------------------------------

STORED = [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]


@pytest.mark.parametrize("paths", [None, ["/v1/responses/*"]], ids=["unconfigured", "configured"])
@pytest.mark.parametrize(("method", "rest"), STORED)
async def test_a_response_is_asked_about_where_it_was_created(tmp_path, paths, method, rest):
    async with _world(tmp_path, paths) as world:
        world.ownership.learn("resp_1", "other")
        answer = await world.send(method, f"/v1/responses/resp_1{rest}", query=b"include[]=x&limit=2")
        assert answer.status == 404, "the provider's own word"
        assert answer.error["message"] == "no such thing"
        assert world.server.last.method == method
        assert world.server.last.target == f"/other/v1/responses/resp_1{rest}?include[]=x&limit=2"
        assert answer.headers["x-target"] == "other/v1/responses/*"
        assert answer.headers["x-route-reason"] == "sticky"


@pytest.mark.parametrize(("method", "rest"), STORED)
async def test_a_response_of_which_nothing_is_known_is_asked_about_where_it_must_be(tmp_path, method, rest):
    async with _world(tmp_path, None, alone=True) as world:
        answer = await world.send(method, f"/v1/responses/resp_1{rest}")
        assert world.server.last.target == f"/v1/responses/resp_1{rest}"
        assert answer.headers["x-target"] == "up/v1/responses/*"


@pytest.mark.parametrize(("method", "rest"), STORED)
async def test_if_several_could_hold_it_nobody_is_asked_and_the_answer_says_why(tmp_path, method, rest):
    async with _world(tmp_path, ["/v1/files/*"]) as world:
        answer = await world.send(method, f"/v1/responses/resp_1{rest}")
        assert (answer.status, answer.error["code"]) == (404, "response_not_found")
        for word in ("resp_1", "up, other", "passthrough", "/v1/responses/*"):
            assert word in answer.error["message"]
        assert world.server.seen == []


async def test_a_configured_path_decides_about_responses_of_which_nothing_is_known(world):
    await world.send("GET", "/v1/responses/resp_1")
    assert world.server.last.target == "/v1/responses/resp_1"


@pytest.mark.parametrize(
    ("owner", "words"), [("mock", "mock created it"), ("removed", "up, other")], ids=["keeps_none", "removed"]
)
async def test_an_owner_that_cannot_be_asked(tmp_path, owner, words):
    async with _world(tmp_path, None) as world:
        world.ownership.learn("resp_1", owner)
        answer = await world.send("GET", "/v1/responses/resp_1")
        assert (answer.status, answer.error["code"]) == (404, "response_not_found")
        assert words in answer.error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses/resp_1"),
        ("PUT", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/responses/compact"),
        ("GET", "/v1/responses/resp_1/other"),
        ("GET", "/v1/responses/resp_1/cancel/more"),
        ("GET", "/v1/responses/.."),
        ("GET", "/v1/responses/../input_items"),
        ("GET", "/v1/responses/a;b"),
        ("GET", "/v1/responses/a%2fb"),
        ("GET", "/v1/responses/"),
    ],
)
async def test_what_is_not_about_one_stored_response_needs_a_configured_path(tmp_path, method, path):
    async with _world(tmp_path, None, alone=True) as world:
        answer = await world.send(method, path)
        assert (answer.status, answer.error["code"]) == (404, "unknown_path")
        assert world.server.seen == []


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_what_a_provider_has_created_is_known_to_be_its(tmp_path, stream):
    message = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    response = {"id": "resp_z", "object": "response", "status": "completed", "output": [message]}
    events = [
        {"type": "response.created", "response": response | {"status": "in_progress", "output": []}},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": "response.completed", "response": response},
    ]

    async def create(exchange):
        await exchange.body()
        if not stream:
            await exchange.json(response)
            return
        await exchange.begin(headers={"content-type": "text/event-stream"})
        await exchange.say(*[b"event: %b\ndata: %b\n\n" % (one["type"].encode(), orjson.dumps(one)) for one in events])
        await exchange.end()

    async with _world(tmp_path, None) as world:
        world.server.plays |= {"POST /v1/responses": create, "POST /other/v1/responses": create}
        body = {"model": "m", "input": "hi", "stream": stream}
        first = await world.send("POST", "/v1/responses", orjson.dumps(body), {"x-provider-priority": "other"})
        assert (first.status, first.headers["x-provider"]) == (200, "other")
        await world.send("GET", "/v1/responses/resp_z")
        assert world.server.last.target == "/other/v1/responses/resp_z"
        for _ in range(5):  # by weight alone, two of three would go elsewhere
            next_one = orjson.dumps(body | {"previous_response_id": "resp_z"})
            answer = await world.send("POST", "/v1/responses", next_one)
            assert (answer.status, answer.headers["x-provider"]) == (200, "other")
            assert answer.headers["x-route-reason"] == "sticky"


# --- upgrades ---------------------------------------------------------------------------------------------------------

WEBSOCKET = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-key": "x", "sec-websocket-version": "13"}


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime", CLEAN, "/health", "/v1/responses/resp_1"])
@pytest.mark.parametrize("spelling", ["websocket", "WebSocket", "h2c, websocket"])
async def test_a_websocket_is_refused_at_once_in_json(world, path, spelling):
    answer = await world.send("GET", path, headers=WEBSOCKET | {"upgrade": spelling})
    assert (answer.status, answer.error["code"]) == (501, "websocket_not_supported")
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]
    assert world.server.seen == []


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
async def test_any_other_upgrade_is_ignored_and_the_request_served(world, upgrade):
    """So does curl --http2 offer one with its POST; RFC 9110 lets a server pass over it."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    offer = {"upgrade": upgrade, "connection": "Upgrade, HTTP2-Settings", "http2-settings": "x"}
    answer = await world.send("POST", "/v1/chat/completions", body, offer | {"x-provider-priority": "mock"})
    assert (answer.status, answer.headers["x-provider"]) == (200, "mock")
    assert (await world.send("GET", CLEAN, headers=offer | {"upgrade": "h2c"})).body == b"content"
    assert "upgrade" not in world.server.last.headers
