from __future__ import annotations

import json

import pytest

from app.api.errors import ApiError
from app.api.prompted import as_chat


async def test_a_prompt_is_completed(client):
    asked = {"prompt": "Say hello.", "model": "demo", "max_tokens": 5}
    answer = await client.send("/v1/inference/complete", asked, x_provider_priority="echo")
    assert answer.status == 200
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Echo: Say hello."


async def test_a_prompt_is_streamed(client):
    answer = await client.send("/v1/inference/stream", {"prompt": "Say hello.", "model": "demo"})
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_all_but_the_prompt_goes_along():
    asked = b'{"prompt":"\\ud83d","model":"m","max_tokens":5,"seed":12345678901234567890123,"x":[1.0]}'
    assert json.loads(as_chat(asked, stream=True)) == {
        "model": "m",
        "max_tokens": 5,
        "seed": 12345678901234567890123,
        "x": [1.0],
        "messages": [{"role": "user", "content": "\ud83d"}],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b'{"model":"m"}', "prompt", "missing_required_parameter"),
        (b'{"model":"m","prompt":""}', "prompt", "invalid_type"),
        (b'{"model":"m","prompt":["a"]}', "prompt", "invalid_type"),
        (b'{"model":"m","prompt":"a","messages":[]}', "messages", None),
        (b"[]", None, "invalid_json"),
    ],
    ids=repr,
)
def test_what_is_no_prompt_is_refused(body, param, code):
    with pytest.raises(ApiError) as refused:
        as_chat(body, stream=False)
    answer = refused.value.answer
    assert (answer.status, answer.param, answer.code) == (400, param, code)


async def test_the_chat_endpoint_s_own_checks_still_hold(client):
    answer = await client.send("/v1/inference/complete", {"prompt": "hi", "model": "demo", "max_tokens": "5"})
    assert (answer.status, answer.error["param"]) == (400, "max_tokens")
