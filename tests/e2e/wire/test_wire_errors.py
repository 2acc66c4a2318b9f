"""W11 to W14: errors in one shape, ids on everything, and what the SDKs read in headers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.faulty import DONE, LLAMACPP_400, ROLE, SECRET, Exchange, completion, delta, status
from tests.e2e.outside import Stage, ask, refused, replies, says
from tests.e2e.wire_http import CHAT, Wire, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES = [{"role": "user", "content": "hi"}]
GOOD = {"model": "m", "messages": MESSAGES}


def odd(body: bytes, media_type: str) -> bytes:
    return head(f"POST {CHAT}", f"Content-Type: {media_type}", f"Content-Length: {len(body)}") + body


# The request, the status and the code; the parameter that is named.
REFUSED: dict[str, tuple[bytes, int, str | None, str | None]] = {
    "an unknown path": (head("GET /nope"), 404, "unknown_path", None),
    "an unknown path below v1": (post(GOOD, path="/v1/nope"), 404, "unknown_path", None),
    "a slash too many at the end": (post(GOOD, path=f"{CHAT}/"), 404, "unknown_path", None),
    "a slash too many at the start": (post(GOOD, path=f"/{CHAT}"), 404, "unknown_path", None),
    "an encoded slash": (post(GOOD, path="/v1/chat%2fcompletions"), 404, "unknown_path", None),
    "dots": (post(GOOD, path="/v1/./chat/completions"), 404, "unknown_path", None),
    "a path parameter": (post(GOOD, path=f"{CHAT};a=b"), 404, "unknown_path", None),
    "other case": (post(GOOD, path="/v1/Chat/completions"), 404, "unknown_path", None),
    "no JSON": (post(b"{'model': 'm'}"), 400, "invalid_json", None),
    "half JSON": (post(b'{"model": "m", '), 400, "invalid_json", None),
    "a list": (post(b"[]"), 400, "invalid_json", None),
    "nothing": (post(b""), 400, "invalid_json", None),
    "not UTF-8": (post(b'{"model":"\xff"}'), 400, "invalid_json", None),
    "a form": (odd(b"model=m&messages=hi", "application/x-www-form-urlencoded"), 400, "invalid_json", None),
    "no model": (post({"messages": MESSAGES}), 400, "missing_required_parameter", "model"),
    "a model that is a number": (post(GOOD | {"model": 7}), 400, "invalid_type", "model"),
    "a model with a line break": (post(GOOD | {"model": "a\r\nx-evil: 1"}), 400, "invalid_type", "model"),
    "no messages": (post({"model": "m"}), 400, "missing_required_parameter", "messages"),
    "messages that are a string": (post(GOOD | {"messages": "hi"}), 400, "invalid_type", "messages"),
    "stream that is a string": (post(GOOD | {"stream": "true"}), 400, "invalid_type", "stream"),
    "an unknown provider": (post(GOOD, "X-Provider-Priority: nobody"), 400, "unknown_provider", None),
    "a deadline that is none": (post(GOOD, "X-Deadline-Ms: soon"), 400, "invalid_header", None),
    "a deadline that is over": (post(ask("short"), "X-Deadline-Ms: 20"), 504, "deadline_exceeded", None),
    "a browser that hides that it sends JSON": (post(GOOD, "Origin: http://evil.example").replace(b"application/json", b"text/plain"), 400, "invalid_content_type", None),
}  # fmt: skip


async def hangs(x: Exchange) -> None:
    await x.hang()


@pytest.mark.parametrize("what", REFUSED)
async def test_w11_every_error_of_the_gateway_has_the_one_shape(stage: Stage, what: str) -> None:
    request, wanted, code, param = REFUSED[what]
    stage.put_on("short", hangs)
    async with Wire(stage.gateway.url) as wire:
        await wire.send(request)
        answer = await wire.response()
        error = await refused(stage.gateway, answer, wanted, code)
        assert error["param"] == param
        await wire.send(head("GET /health"))
        assert (await wire.response()).status == 200, "an answered request leaves the connection usable"


ALLOWED = {CHAT: {"POST"}, "/v1/models": {"GET", "HEAD"}, "/health": {"GET", "HEAD"}, "/ready": {"GET", "HEAD"}}


METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "POST", "PROPFIND"]


@pytest.mark.parametrize("path", ALLOWED)
async def test_w11_a_wrong_method_is_told_the_right_ones(stage: Stage, path: str) -> None:
    async def wrong(method: str) -> None:
        async with Wire(stage.gateway.url) as wire:
            await wire.send(head(f"{method} {path}"))
            answer = await wire.response(bodiless=method == "HEAD")
        assert answer.header("allow").split(", ")[0] in ALLOWED[path]
        if method == "HEAD":
            assert (answer.status, answer.header("content-type")) == (405, "application/json")
        else:
            await refused(stage.gateway, answer, 405, "method_not_allowed")

    await asyncio.gather(*(wrong(method) for method in METHODS if method not in ALLOWED[path]))


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/ready", "/v1/models/any/name"])
async def test_w11_head_is_answered_as_get_without_its_body(stage: Stage, path: str) -> None:
    async with Wire(stage.gateway.url) as wire:
        await wire.send(head(f"HEAD {path}") + head(f"GET {path}"))
        first, second = await wire.response(bodiless=True), await wire.response()
    assert (first.status, second.status) == (200, 200)
    assert first.header("content-type") == second.header("content-type")
    assert second.json


WORDS = {
    "a string": b'{"error":"Unauthorized"}',
    "a number": b'{"error":5}',
    "null": b'{"error":null}',
    "a list": b'[{"error":"x"}]',
    "HTML": f"<html>{SECRET}</html>".encode(),
    "nothing": b"",
    "another shape": b'{"detail":[{"loc":["body"],"msg":"field required"}]}',
    "not UTF-8": b"\xff\xfe{",
}


@pytest.mark.parametrize("code", [401, 403, 404, 500])
async def test_w12_an_upstreams_refusal_of_our_key_is_no_refusal_of_the_clients(stage: Stage, code: int) -> None:
    async def one(words: bytes) -> None:
        answer = await stage.ask(ask(stage.play(replies(words, code, WWW_Authenticate="Bearer"))))
        await refused(stage.gateway, answer, 502, "upstream_error")
        assert not answer.header("www-authenticate")
        assert SECRET not in answer.body.decode()

    await asyncio.gather(*map(one, WORDS.values()))


@pytest.mark.parametrize("code", [400, 413, 422])
@pytest.mark.parametrize("kind", WORDS)
async def test_w12_what_is_wrong_with_the_request_is_told_whatever_its_shape(
    stage: Stage, code: int, kind: str
) -> None:
    words = WORDS[kind]
    answer = await stage.ask(
        ask(stage.play(replies(words, code, "text/html" if kind == "HTML" else "application/json")))
    )
    assert (answer.status, answer.header("content-type")) == (code, "application/json")
    assert answer.body == words or answer.error["type"] == "invalid_request_error"
    if words.startswith((b"{", b"[")):
        assert answer.body == words


async def test_w11_the_upstreams_own_words_pass_as_they_are(stage: Stage) -> None:
    for stream in (True, False):
        answer = await stage.ask(ask(stage.play(status(400, LLAMACPP_400)), stream=stream))
        assert (answer.status, answer.body) == (400, LLAMACPP_400)


IDS = {
    "sane": ("Abc.1:2_3-" + "x" * 118, True),
    "one character too long": ("x" * 129, False),
    "odd characters": ("a b", False),
    "a header inside": ("a\tx-evil: 1", False),
    "empty": ("", False),
}


@pytest.mark.parametrize("kind", IDS)
async def test_w13_each_answer_has_an_id_that_the_upstream_and_the_log_know_too(stage: Stage, kind: str) -> None:
    given, kept = IDS[kind]
    model = stage.play(says(ROLE, delta({"content": "x"}), delta({}, "stop"), DONE, X_Request_Id="up-1"))
    header = f"X-Request-ID: {given}"
    answer = await stage.ask(ask(model, stream=True), header)
    number = answer.header("x-request-id")
    assert (number == given) == kept
    assert 1 <= len(number) <= 128
    assert answer.header("x-upstream-request-id") == "up-1"
    (call,) = stage.calls(model)
    assert [value for name, value in call.headers if name == "x-request-id"] == [number]
    assert (await stage.gateway.log_line(number))["path"] == CHAT
    if not kept:
        for request in (head("GET /nope", header), head("GET /health", header), post(b"{", header)):
            async with Wire(stage.gateway.url) as wire:
                await wire.send(request)
                assert (await wire.response()).header("x-request-id") not in ("", given)


async def test_w13_two_ids_are_no_id(stage: Stage) -> None:
    answer = await stage.ask(ask(stage.play(replies(completion("x")))), "X-Request-ID: one", "X-Request-ID: two")
    assert answer.header("x-request-id") not in ("", "one", "two", "one, two")


async def test_w13_without_one_each_request_gets_its_own(stage: Stage) -> None:
    model = stage.play(replies(completion("x")))
    seen = {(await stage.ask(ask(model))).header("x-request-id") for _ in range(5)}
    assert len(seen) == 5
    assert {dict(call.headers)["x-request-id"] for call in stage.calls(model)} == seen


LIMITS = {
    "x-ratelimit-limit-requests": "60", "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-requests": "59", "x-ratelimit-remaining-tokens": "-1",
    "x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset-tokens": "12ms",
    "retry-after": "7", "retry-after-ms": "7000", "x-should-retry": "true",
}  # fmt: skip


@pytest.mark.parametrize("answered", ["plain", "stream", "rejected"])
async def test_w14_the_upstreams_limits_and_advice_reach_the_client(stage: Stage, answered: str) -> None:
    named: dict[str, Any] = {name.replace("-", "_"): value for name, value in LIMITS.items()}
    streamed = says(ROLE, delta({"content": "x"}), delta({}, "stop"), DONE, **named)
    script = {"plain": replies(completion("x"), **named), "stream": streamed, "rejected": status(400, **named)}[
        answered
    ]
    answer = await stage.ask(ask(stage.play(script), stream=answered == "stream"))
    assert {name: answer.header(name) for name in LIMITS} == LIMITS


@pytest.mark.parametrize(("given", "shown"), [("7", 7), ("300", 60), ("0.5", 1), (None, 1)])
async def test_w14_a_429_of_our_own_says_when_to_come_back(stage: Stage, given: str | None, shown: int) -> None:
    """More than a minute no SDK waits. One attempt only, so that the test need not wait either."""
    rest: dict[str, Any] = {"Retry_After": given} if given else {}
    model = stage.play(status(429, **rest))
    answer = await stage.ask(ask(model), "X-Deadline-Ms: 200")
    await refused(stage.gateway, answer, 429, "rate_limit_exceeded")
    assert answer.header("retry-after") == str(shown)


async def test_w11_no_error_says_where_the_upstream_is(stage: Stage) -> None:
    port = stage.up.url.split(":")[2].split("/")[0]
    for code in (401, 429, 500):
        answer = await stage.ask(ask(stage.play(status(code, json.dumps({"error": f"127.0.0.1:{port}"}).encode()))))
        assert port not in answer.body.decode() + str(answer.headers)
