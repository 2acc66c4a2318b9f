"""Usage that we ask for and the client did not: asked for in the body, kept from the client, told to us."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import on_virtual_clock, request

from providers import Endpoint
from providers.body import with_usage
from providers.openai_compatible import EventStream
from providers.prompt import counts_unasked

SCALAR = st.sampled_from(
    ["1", "1.0", "1e2", "12345678901234567890123", "true", "null", '"x"', '"stream_options"', '"}]\\""']
)
INNER = st.one_of(SCALAR, st.sampled_from(['{"stream_options":null}', '[{"stream_options":{"a":1}}]', "[]", "{}"]))
OPTIONS = st.sampled_from(
    ["null", "{}", '{"include_usage":false}', '{ "include_obfuscation" : true }', '{"a":{"b":[1]}}']
)
KEY = st.sampled_from(['"stream_options"', '"stream_\\u006fptions"'])


@st.composite
def bodies(draw):
    """A body, and what it is without its ``stream_options``."""
    members = [(json.dumps(f"k{n}"), draw(INNER)) for n in range(draw(st.integers(1, 4)))]
    if draw(st.booleans()):
        members.insert(draw(st.integers(0, len(members))), (draw(KEY), draw(OPTIONS)))
    space = draw(st.sampled_from(["", " ", "\n "]))
    return (space + "{" + ",".join(f"{space}{key}{space}:{space}{value}" for key, value in members) + "}").encode()


@examples(300)
@given(bodies())
def test_the_usage_is_asked_for_and_all_else_means_what_it_meant(body):
    before, after = json.loads(body), json.loads(with_usage(body))
    options = before.pop("stream_options", None) or {}
    assert after.pop("stream_options") == {**options, "include_usage": True}
    assert after == before
    assert list(after) == list(before)


def test_number_spellings_stay():
    body = b'{"model":"m","seed":12345678901234567890123,"temperature":1.0}'
    assert with_usage(body) == b'{"stream_options":{"include_usage":true},' + body[1:]


@pytest.mark.parametrize(
    ("endpoint", "stream", "metered", "options", "ours"),
    [
        (Endpoint.CHAT, True, True, None, True),
        (Endpoint.COMPLETIONS, True, True, {"include_usage": False}, True),
        (Endpoint.CHAT, True, True, {"include_usage": True}, False),
        (Endpoint.CHAT, True, False, None, False),
        (Endpoint.CHAT, False, True, None, False),
        (Endpoint.RESPONSES, True, True, None, False),
    ],
)
def test_who_asks(endpoint, stream, metered, options, ours):
    asked = request(endpoint=endpoint, stream=stream, stream_options=options)._replace(metered=metered)
    assert counts_unasked(asked) is ours


class Played:
    """An Answer whose reads are given."""

    headers: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it

    def __init__(self, *reads):
        self._reads = list(reads)

    async def read(self):
        return self._reads.pop(0) if self._reads else b""

    def leave(self):
        pass


def event(**members) -> bytes:
    return b"data: " + orjson.dumps(members) + b"\n\n"


TEXT = event(choices=[{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}], usage=None)
END = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None)
USAGE = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4})
FILTERS = event(choices=[], prompt_filter_results=[])
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("reads", [[FILTERS, TEXT, END, USAGE, DONE], [FILTERS + TEXT + END + USAGE + DONE]], ids=len)
@pytest.mark.parametrize("asked", [True, False])
@on_virtual_clock
async def test_the_client_sees_the_usage_only_if_it_asked(reads, asked):
    wanted = request(stream_options={"include_usage": True} if asked else None)._replace(metered=True)
    chunks = [chunk async for chunk in EventStream(Played(*reads), wanted, "up")]
    assert b"".join(chunk.raw for chunk in chunks) == FILTERS + TEXT + END + (USAGE if asked else b"") + DONE
    assert [chunk.usage for chunk in chunks if chunk.usage] == [(3, 4)]
