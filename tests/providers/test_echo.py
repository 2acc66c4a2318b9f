from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import on_virtual_clock, request

from providers.base import Endpoint
from providers.echo import Echo, EchoOptions
from providers.sse import parse


async def chunks(asked):
    provider = Echo("echo", EchoOptions())
    stream = await provider.open(asked, "whatever", 5.0)
    found = [chunk async for chunk in stream]
    await provider.aclose()
    return found


def ask(text, **fields):
    return request("req-7", messages=[{"role": "user", "content": text}], **fields)


@examples(50)
@given(st.text(max_size=30))
@on_virtual_clock
async def test_it_says_what_it_was_told_streamed_or_not(text):
    (plain,) = await chunks(ask(text, stream=False))
    assert orjson.loads(plain.raw)["choices"][0]["message"]["content"] == f"Echo: {text}"
    deltas = [orjson.loads(parse(chunk.raw)[1])["choices"][0]["delta"] for chunk in (await chunks(ask(text)))[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == f"Echo: {text}"


@on_virtual_clock
async def test_its_model_is_echo_its_id_the_request_s_and_a_word_a_token():
    (chunk,) = await chunks(ask("one two", stream=False))
    body = orjson.loads(chunk.raw)
    assert (body["model"], body["id"], chunk.usage.output_tokens) == ("echo", "req-7", 3)


@pytest.mark.parametrize("endpoint", list(Endpoint))
@on_virtual_clock
async def test_every_endpoint_answers(endpoint):
    found = await chunks(request(endpoint=endpoint, stream=False, input="a b", prompt="a b"))
    assert len(found) == 1
    assert found[0].content
