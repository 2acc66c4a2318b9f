"""W8 to W10: what the gateway does not need it does not touch, byte for byte, in both directions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from tests.e2e.faulty import DONE, ROLE, Exchange, completion, delta
from tests.e2e.outside import Stage, ask, dice, replies, says

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What a serialiser that read it would change.
ODD = rb"""{"zeta" : 1.0,"alpha":1e2 , "big":12345678901234567890, "tiny":-0.0, "long":0.1000000000000000055511151231257827,
 "exp":1E+05, "esc":"\u00e9\/\u2028 \ud83c\udf0a", "plain":"%s", "nothing":null, "deep":{"b":[1.50,{"a":[]}],"a":{}},
 "chat_template_kwargs":{"enable_thinking":false},"x_foo":[ ],"x_foo":[ ],"stream_options":{"continuous_usage_stats":true},"""
ODD = ODD.replace(b"%s", "é\u2028\U0001f30a".encode())
ENDPOINTS = {
    "chat/completions": b'"messages":[{"content":"hi","role":"user","name":"n","x":1.0}]',
    "completions": b'"prompt":[1, 2,3]',
    "embeddings": b'"input":["a"],"encoding_format":"base64"',
    "responses": b'"input":[{"type":"message","role":"user","content":[]}],"store":false',
}
PLAIN = {
    "embeddings": b'{"object":"list", "data":[{"object":"embedding","index":0,"embedding":"AACAPw=="}],%b"model":"m"}',
    "responses": b'{"id":"r", "status":"completed","output":[{"type":"message"}],%b"object":"response"}',
}
EXTRA = ODD.removeprefix(b"{")


def plain_answer(endpoint: str) -> bytes:
    choices = b'{"choices" : [{"index":0,"message":{"role":"assistant","content":"hi","reasoning":"so"},"text":"hi",'
    choices += b'"finish_reason":"stop","stop_reason":null,"token_ids":[1]}],%b"timings":{"x":1.0}}'
    return PLAIN.get(endpoint, choices).replace(b"%b", EXTRA)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_w09_bodies_pass_byte_for_byte_both_ways(stage: Stage, endpoint: str) -> None:
    answer = plain_answer(endpoint)
    model = stage.play(replies(answer))
    body = ODD + ENDPOINTS[endpoint] + b', "model":\t"%b"  }\n' % model.encode()
    got = await stage.ask(body, path=f"/v1/{endpoint}")
    assert (got.status, got.body[:400]) == (200, answer[:400])
    assert got.body == answer
    assert [one.body for one in stage.calls(model)] == [body]
    assert stage.calls(model)[0].head.startswith(b"POST /v1/%b HTTP/1.1\r\n" % endpoint.encode())


@pytest.mark.parametrize(
    "key", [b'"model"', rb'"\u006dodel"', b'"x":{"model":"renamed"}, "model"', b'"y":"\\"model\\":", "model"']
)
async def test_w09_a_renamed_model_changes_nothing_else(stage: Stage, key: bytes) -> None:
    before = len(stage.up.exchanges)
    body = ODD + b'"messages":[{"role":"user","content":"\\"model\\":\\"renamed\\""}],%b : "renamed"}' % key
    got = await stage.ask(body)
    assert got.status == 200
    (call,) = stage.up.exchanges[before:]
    name = b'"models/\\"one\\""'
    assert call.body == body[: body.rindex(b'"renamed"')] + name + b"}"
    assert call.fields["model"] == 'models/"one"'


async def test_w09_a_model_named_twice_is_one_model_to_everybody(stage: Stage) -> None:
    """Parsers differ on which of two equal keys counts: one that is checked must not be another one that is served."""
    before = len(stage.up.exchanges)
    got = await stage.ask(b'{"model":"other","messages":[{"role":"user","content":"hi"}],"model":"renamed"}')
    for call in stage.up.exchanges[before:]:
        models = json.loads(
            call.body, object_pairs_hook=lambda pairs: [value for key, value in pairs if key == "model"]
        )
        assert len(set(models)) == 1, call.body
    assert got.status in (200, 400)


async def test_w09_unknown_members_of_events_pass(stage: Stage) -> None:
    spelled = (
        b'data: {"choices" : [{"delta":{"content":"hi","reasoning_content":"so"},"index":0,"finish_reason":null}],'
    )
    finish = b'data: {"timings":{"a":1.0,"b":1e2},"choices":[{"delta":{},"finish_reason":"stop","index":0,"token_ids":[]}]}\n\n'
    sent = [ROLE, spelled + EXTRA.replace(b"\n", b"") + b'"obfuscation":"aK3"}\n\n', finish, DONE]
    answer = await stage.ask(ask(stage.play(says(*sent)), stream=True))
    assert answer.body == b"".join(sent)


CAPS: list[dict[str, Any]] = [
    {"max_tokens": 7},
    {"max_completion_tokens": 7},
    {"max_tokens": 7, "max_completion_tokens": 9},
    {"max_tokens": -1},
    {"max_tokens": None, "max_completion_tokens": None},
    {},
]


@pytest.mark.parametrize("caps", CAPS, ids=str)
async def test_w10_token_caps_pass_by_their_own_names(stage: Stage, caps: dict[str, Any]) -> None:
    model = stage.play(replies(completion("hi")))
    assert (await stage.ask(ask(model, **caps))).status == 200
    (fields,) = (one.fields for one in stage.calls(model))
    assert {name: value for name, value in fields.items() if name.startswith("max_")} == caps


async def test_w10_the_responses_api_has_a_name_of_its_own(stage: Stage) -> None:
    model = stage.play(replies(plain_answer("responses")))
    body = {"model": model, "input": "hi", "max_output_tokens": 16}
    assert (await stage.ask(body, path="/v1/responses")).status == 200
    assert [one.fields for one in stage.calls(model)] == [body]


def call_delta(rng: Random) -> dict[str, Any]:
    """One piece of a tool call as some upstream or other sends it."""
    function: dict[str, Any] = {"arguments": rng.choice(["", "{", '{"a": ', "\\u00e9", "}", ' "é"'])}
    piece: dict[str, Any] = {"index": rng.randint(0, 2), "function": function}
    if rng.random() < 0.3:
        piece |= {"id": rng.choice(["call_1", "", None]), "type": rng.choice(["function", None])}
    if rng.random() < 0.3:
        function["name"] = rng.choice(["f", "", None])
    if rng.random() < 0.1:
        del function["arguments"]
    return piece


async def test_w08_tool_call_deltas_pass_byte_for_byte(stage: Stage) -> None:
    rng = dice()

    async def one(sent: Sequence[bytes]) -> None:
        answer = await stage.ask(ask(stage.play(says(*sent)), stream=True, tools=[]))
        assert answer.whole
        assert answer.body == b"".join(sent)

    def streamed() -> list[bytes]:
        pieces = [[call_delta(rng) for _ in range(rng.choice([1, 1, 2]))] for _ in range(rng.randint(1, 12))]
        opening = delta({"role": "assistant", "content": None, "tool_calls": [call_delta(rng)]})
        return [opening, *(delta({"tool_calls": piece}) for piece in pieces), delta({}, "tool_calls"), DONE]

    await asyncio.gather(*(one(streamed()) for _ in range(30)))


async def test_w08_a_tool_call_is_an_answer_and_reaches_the_client_at_once(stage: Stage) -> None:
    """The commit point: after its first piece nothing is tried again, and nothing is held back."""
    first = delta({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]})

    async def script(x: Exchange) -> None:
        await x.begin()
        await x.say(ROLE, first)
        await x.close()

    model = stage.play(script)
    answer = await stage.ask(ask(model, stream=True))
    assert answer.body.startswith(ROLE + first)
    assert not answer.whole
    assert len(stage.calls(model)) == 1
