"""The hot road, driven as an ASGI callable."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
import pytest

from app.api.exchange import headers_of
from providers import Endpoint

ASK = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


def bodies(endpoint: Endpoint, **members: Any) -> dict[str, Any]:
    asked = {
        Endpoint.CHAT: {"messages": [{"role": "user", "content": "hi"}]},
        Endpoint.COMPLETIONS: {"prompt": "hi"},
        Endpoint.EMBEDDINGS: {"input": ["hi", "there"]},
        Endpoint.RESPONSES: {"input": "hi"},
    }
    return {"model": "demo", **asked[endpoint], **members}


@pytest.mark.parametrize("endpoint", Endpoint)
async def test_every_endpoint_answers_with_the_same_headers(client, endpoint):
    answer = await client.send(f"/v1/{endpoint.value}", bodies(endpoint))
    assert answer.status == 200
    assert answer.whole
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["x-target"] == "fast/demo"
    assert answer.headers["x-provider"] == "fast"
    assert answer.headers["x-attempts"] == "fast/demo:200"
    assert answer.headers["x-route-reason"] == "weight"
    assert answer.headers["x-cache"] == "off"
    assert float(answer.headers["x-overhead-ms"]) >= 0
    assert re.fullmatch(r"gateway;dur=[\d.]+, upstream;dur=[\d.]+", answer.headers["server-timing"])


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES])
async def test_streams_carry_the_same_routing_headers_as_plain_answers(client, endpoint):
    plain = await client.send(f"/v1/{endpoint.value}", bodies(endpoint))
    stream = await client.send(f"/v1/{endpoint.value}", bodies(endpoint, stream=True))
    own = {"content-length", "content-type", "cache-control", "x-accel-buffering"}
    assert set(plain.headers) - own == set(stream.headers) - own
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.whole
    assert stream.body.endswith(b"data: [DONE]\n\n") == (endpoint is not Endpoint.RESPONSES)


async def test_a_failing_target_is_not_seen_by_the_client(client):
    answer = await client.send(body={**ASK, "model": "failing"})
    assert answer.status == 200
    assert answer.headers["x-attempts"] == "broken/failing:500,fast/failing:200"
    assert answer.headers["x-route-reason"] == "failover"


@pytest.mark.parametrize("stream", [False, True])
async def test_when_every_attempt_fails_it_is_a_502_that_must_not_be_retried(client, stream):
    answer = await client.send(body={**ASK, "model": "dead", "stream": stream})
    assert answer.status == 502
    assert answer.error["code"] == "upstream_error"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-attempts"] == "broken/dead:500,broken/dead:500,broken/dead:500"
    assert "x-target" not in answer.headers


async def test_a_pin_is_exact(client):
    answer = await client.send(body=ASK, x_provider_priority="echo")
    assert orjson.loads(answer.body)["choices"][0]["message"]["content"] == "Echo: hi"
    assert orjson.loads(answer.body)["model"] == "echo"
    assert orjson.loads(answer.body)["id"] == answer.headers["x-request-id"]
    assert answer.headers["x-route-reason"] == "pin"


async def test_an_unknown_pin_lists_those_that_can_serve(client):
    answer = await client.send(body=ASK, x_provider_priority="ekko")
    assert answer.status == 400
    assert answer.error["message"].endswith("these do: echo, fast, slow")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x_provider_priority", ""),
        ("x_provider_priority", "*"),
        ("x_provider_priority", "*, echo"),
        ("x_provider_priority", "echo, echo"),
        ("x_deadline_ms", "soon"),
        ("x_deadline_ms", "0"),
        ("x_deadline_ms", "-5"),
        ("x_deadline_ms", "1e3"),
        ("x_deadline_ms", "1" + "0" * 400),
        ("x_deadline_ms", "9" * 5000),
    ],
)
async def test_a_header_that_makes_no_sense_is_refused(client, header, value):
    answer = await client.send(body=ASK, **{header: value})
    assert answer.status == 400
    assert answer.error["code"] == "invalid_header"


async def test_the_clients_deadline_holds(client):
    answer = await client.send(body={**ASK, "model": "stuck"}, x_deadline_ms="50")
    assert answer.status == 504
    assert answer.error["code"] == "deadline_exceeded"
    assert answer.headers["x-attempts"] == "slow/stuck:deadline"


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1:2.3_4", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("a\nb", False), ("é", False)],
)
async def test_a_sane_request_id_is_kept_and_any_other_replaced(client, given, kept):
    answer = await client.send(body=ASK, x_request_id=given)
    assert (answer.headers["x-request-id"] == given) is kept
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("path", "change", "param"),
    [
        ("chat/completions", {"model": None}, "model"),
        ("chat/completions", {"model": 7}, "model"),
        ("chat/completions", {"model": ""}, "model"),
        ("chat/completions", {"model": "a\r\nset-cookie: x"}, "model"),
        ("chat/completions", {"model": "x" * 257}, "model"),
        ("chat/completions", {"messages": None}, "messages"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": "hi"}, "messages"),
        ("chat/completions", {"messages": ["hi"]}, "messages"),
        ("chat/completions", {"stream": "yes"}, "stream"),
        ("chat/completions", {"max_tokens": "9"}, "max_tokens"),
        ("chat/completions", {"max_tokens": True}, "max_tokens"),
        ("chat/completions", {"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ("chat/completions", {"temperature": "hot"}, "temperature"),
        ("chat/completions", {"n": 1.5}, "n"),
        ("chat/completions", {"stream_options": []}, "stream_options"),
        ("completions", {"prompt": 7}, "prompt"),
        ("completions", {"prompt": {}}, "prompt"),
        ("embeddings", {"input": None}, "input"),
        ("embeddings", {"input": []}, "input"),
        ("embeddings", {"dimensions": "many"}, "dimensions"),
        ("responses", {"input": 5}, "input"),
        ("responses", {"max_output_tokens": []}, "max_output_tokens"),
    ],
)
async def test_a_wrong_field_is_named(client, path, change, param):
    body = {**bodies(Endpoint(path)), **change}
    answer = await client.send(f"/v1/{path}", body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["param"] == param
    assert param in answer.error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"hi"', b"{\xff}", b"[" * 5000, b'{"a":1,}', b"nul"])
async def test_a_body_that_is_no_json_object_is_a_400(client, body):
    answer = await client.send(body=body)
    assert answer.status == 400
    assert answer.error["code"] == "invalid_json"


async def test_an_unknown_model_is_a_404_that_names_the_models(client):
    answer = await client.send(body={**ASK, "model": "gpt-9"})
    assert answer.status == 404
    assert answer.error["code"] == "model_not_found"
    assert answer.error["param"] == "model"
    assert "demo" in answer.error["message"]


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_cap_is_a_413(client, declared):
    parts = [{"type": "http.request", "body": b"x" * 4000, "more_body": n < 4} for n in range(5)]

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    headers = {"content_length": "20000"} if declared else {"content_length": ""}
    answer = await client.send(receive=receive, **headers)
    assert answer.status == 413
    assert answer.error["code"] == "request_too_large"
    assert answer.headers["connection"] == "close"


async def test_a_body_that_never_ends_is_given_up_in_time(client):
    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    answer = await client.send(receive=receive)
    assert answer.status == 408
    assert answer.headers["x-should-retry"] == "false"


async def test_a_web_page_cannot_post_what_it_does_not_declare_as_json(client):
    body = orjson.dumps(ASK)
    assert (await client.send(body=body, origin="https://evil.example", content_type="text/plain")).status == 400
    assert (await client.send(body=body, origin="https://evil.example")).status == 400
    sneaky = {"origin": "https://evil.example", "content_type": "text/plain;a=json"}
    assert (await client.send(body=body, **sneaky)).status == 400  # needs no preflight either
    declared = {"origin": "https://a.example", "content_type": "Application/JSON; charset=utf-8"}
    assert (await client.send(body=body, **declared)).status == 200


async def test_a_client_that_leaves_while_it_sends_gets_no_answer(client):
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert (await client.send(receive=receive)).status == 0


async def test_a_client_that_leaves_while_it_waits_cancels_the_attempt(client):
    messages = [{"type": "http.request", "body": orjson.dumps({**ASK, "model": "stuck"}), "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async with asyncio.timeout(2):
        assert (await client.send(receive=receive)).status == 0


async def test_while_draining_new_work_is_refused_and_readiness_says_so(client):
    client.app.drain()
    answer = await client.send(body=ASK)
    assert answer.status == 503
    assert answer.error["code"] == "draining"
    assert answer.headers["retry-after"] == "1"
    assert (await client.send("/ready", method="GET")).status == 503
    assert (await client.send("/health", method="GET")).status == 200


@pytest.mark.parametrize("path", [f"/v1/{endpoint.value}" for endpoint in Endpoint])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_only_post_is_served_on_the_hot_road(client, path, method):
    answer = await client.send(path, method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


async def test_a_bug_of_ours_is_a_500_without_details(client, monkeypatch, capsys):
    async def explode(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(client.gateway.dispatcher, "open", explode)
    answer = await client.send(body=ASK)
    assert answer.status == 500
    assert answer.error["code"] == "internal_error"
    assert b"secret detail" not in answer.body
    assert "secret detail" in capsys.readouterr().out


@pytest.mark.parametrize("member", [{"max_tokens": -1}, {"max_tokens": 0}, {"n": 0}])
async def test_whether_a_number_makes_sense_is_the_upstreams_to_say(client, member):
    assert (await client.send(body={**ASK, **member})).status == 200


async def test_content_nested_beyond_reason_is_no_bug_of_ours(client):
    """Once: reading a prompt nested 600 lists deep raised RecursionError."""
    nested = b"[" * 600 + b'"hi"' + b"]" * 600
    body = b'{"model":"demo","messages":[{"role":"user","content":%s}]}' % nested
    assert (await client.send(body=body)).status == 200


def test_headers_sent_twice_are_joined_not_lost():
    """Once: the last X-Provider-Priority silently won."""
    headers = headers_of([(b"x-provider-priority", b"echo"), (b"host", b"x"), (b"x-provider-priority", b"fast")])
    assert headers == {b"x-provider-priority": b"echo, fast", b"host": b"x"}
