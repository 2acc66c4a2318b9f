from __future__ import annotations

import base64
import itertools
import struct
from typing import get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from props import examples
from worlds import request

from providers.base import Endpoint, Usage
from providers.reading import failure_in, reader_for
from providers.shapes import Answer, steps
from providers.sse import Splitter, parse

CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.EMBEDDINGS
ANSWER = Answer("a-1", "model-x", ["The", " harbour", " holds"])
CUT = Answer("a-2", "model-x", ["The"], "length")
PROMPT = {"messages": [{"role": "user", "content": "one two"}], "prompt": "one two", "input": "one two"}
RESPONSE_EVENTS = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}


def play(asked, answer=ANSWER, first=0.5, interval=0.25):
    timeline, media_type = steps(asked, answer, first, itertools.repeat(interval))
    return list(timeline), media_type


def events_of(timeline):
    """The data of each event, after checking that every chunk counts its own right."""
    found = []
    for _, chunk in timeline:
        data = [parse(event)[1] for event in Splitter().feed(chunk.raw)]
        assert len(data) == chunk.events
        found += data
    return found


def ask(endpoint, *, stream, **fields):
    return request("r1", endpoint=endpoint, stream=stream, created=1_700_000_000, **(PROMPT | fields))


STREAMED = [(CHAT, {}), (CHAT, {"n": 3}), (COMPLETIONS, {}), (COMPLETIONS, {"n": 2}), (RESPONSES, {})]


@pytest.mark.parametrize("answer", [ANSWER, CUT], ids=["stop", "length"])
@pytest.mark.parametrize("usage", [False, True], ids=["", "usage"])
@pytest.mark.parametrize(("endpoint", "fields"), STREAMED, ids=str)
def test_a_reader_of_real_answers_finds_a_stream_whole(endpoint, fields, usage, answer):
    asked = ask(endpoint, stream=True, **fields, **({"stream_options": {"include_usage": True}} if usage else {}))
    timeline, media_type = play(asked, answer)
    assert media_type == "text/event-stream"
    reader = reader_for(endpoint)
    for _, chunk in timeline:
        for event in Splitter().feed(chunk.raw):
            data = parse(event)[1]
            if data != b"[DONE]":
                payload = orjson.loads(data)
                assert failure_in(payload) is None
                assert chunk.content >= (reader.event(payload) and not reader.complete)
    assert reader.complete
    counted = Usage(2, len(answer.pieces) * fields.get("n", 1))
    assert reader.usage == (counted if usage or endpoint is RESPONSES else None)
    assert (events_of(timeline)[-1] == b"[DONE]") is reader.done_marker


@pytest.mark.parametrize(("endpoint", "fields"), STREAMED, ids=str)
def test_a_chunk_before_the_first_token_bears_no_content(endpoint, fields):
    timeline, _ = play(ask(endpoint, stream=True, **fields))
    before = list(itertools.takewhile(lambda step: step.delay == 0, timeline))
    assert before or endpoint is COMPLETIONS
    assert not any(step.chunk.content for step in before)
    assert timeline[len(before)].chunk.content


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS])
@pytest.mark.parametrize("stream", [False, True])
def test_the_first_token_comes_after_the_first_delay_and_each_other_after_an_interval(endpoint, stream):
    timeline, _ = play(ask(endpoint, stream=stream))
    assert sum(step.delay for step in timeline) == pytest.approx(0.5 if endpoint is EMBEDDINGS else 1.0)


@examples(50)
@given(
    st.lists(st.text(max_size=5), min_size=1, max_size=5),
    st.sampled_from([CHAT, COMPLETIONS, RESPONSES]),
    st.sampled_from(["stop", "length"]),
)
def test_streamed_or_not_the_text_and_the_usage_are_the_same(pieces, endpoint, finish):
    answer = Answer("a", "m", pieces, finish)
    ((_, plain),), _ = play(ask(endpoint, stream=False), answer)
    body = orjson.loads(plain.raw)
    events = events_of(play(ask(endpoint, stream=True, stream_options={"include_usage": True}), answer)[0])
    payloads = [orjson.loads(event) for event in events if event != b"[DONE]"]
    if endpoint is RESPONSES:
        assert body["output"][0]["content"][0]["text"] == "".join(pieces)
        assert "".join(payload.get("delta", "") for payload in payloads) == "".join(pieces)
        assert payloads[-1]["response"] == body
        return
    member = "text" if endpoint is COMPLETIONS else "message"
    whole = body["choices"][0]
    assert (whole[member] if endpoint is COMPLETIONS else whole[member]["content"]) == "".join(pieces)
    choices = [payload["choices"][0] for payload in payloads[:-1]]
    texts = [choice["text"] if endpoint is COMPLETIONS else choice["delta"].get("content", "") for choice in choices]
    assert "".join(texts) == "".join(pieces)
    assert whole["finish_reason"] == choices[-1]["finish_reason"] == finish
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert payloads[-1]["choices"] == []
    assert payloads[-1]["usage"] == body["usage"]


@pytest.mark.parametrize(("endpoint", "model"), [(CHAT, ChatCompletionChunk), (COMPLETIONS, Completion)])
@pytest.mark.parametrize("answer", [ANSWER, CUT], ids=["stop", "length"])
def test_the_official_types_accept_every_streamed_chunk(endpoint, model, answer):
    asked = ask(endpoint, stream=True, n=2, stream_options={"include_usage": True})
    for event in events_of(play(asked, answer)[0])[:-1]:
        payload = orjson.loads(event)
        finishing = [choice for choice in payload["choices"] if choice["finish_reason"] is None]
        for choice in finishing if model is Completion else ():
            choice["finish_reason"] = "stop"  # OpenAI's own completion chunks hold null, which its type denies
        model.model_validate(payload)
        assert (payload["id"], payload["model"], payload["created"]) == (answer.id, "model-x", 1_700_000_000)


@pytest.mark.parametrize("answer", [ANSWER, CUT], ids=["stop", "length"])
def test_the_official_types_accept_every_event_of_a_response_and_they_are_numbered(answer):
    timeline, _ = play(ask(RESPONSES, stream=True), answer)
    payloads = [orjson.loads(event) for event in events_of(timeline)]
    for payload, step in zip(payloads, timeline, strict=True):
        RESPONSE_EVENTS[payload["type"]].model_validate(payload)
        assert step.chunk.raw.startswith(b"event: " + payload["type"].encode() + b"\n")
    assert [payload["sequence_number"] for payload in payloads] == list(range(len(payloads)))
    assert payloads[-1]["type"] == ("response.completed" if answer is ANSWER else "response.incomplete")


@pytest.mark.parametrize(
    ("endpoint", "model"),
    [(CHAT, ChatCompletion), (COMPLETIONS, Completion), (RESPONSES, Response), (EMBEDDINGS, CreateEmbeddingResponse)],
)
@pytest.mark.parametrize("answer", [ANSWER, CUT], ids=["stop", "length"])
def test_the_official_types_accept_every_body(endpoint, model, answer):
    ((_, chunk),), media_type = play(ask(endpoint, stream=False), answer)
    assert media_type == "application/json"
    assert chunk.content
    payload = orjson.loads(chunk.raw)
    model.model_validate(payload)
    reader = reader_for(endpoint)
    reader.body(payload)
    assert reader.usage == chunk.usage


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS])
def test_a_plain_answer_has_as_many_choices_as_were_asked_for(endpoint):
    ((_, chunk),), _ = play(ask(endpoint, stream=False, n=3))
    assert [choice["index"] for choice in orjson.loads(chunk.raw)["choices"]] == [0, 1, 2]
    assert chunk.usage == Usage(2, 9)


@pytest.mark.parametrize(("endpoint", "fields"), STREAMED, ids=str)
def test_the_last_chunk_knows_the_usage_though_the_client_did_not_ask(endpoint, fields):
    timeline, _ = play(ask(endpoint, stream=True, **fields))
    assert [step.chunk.usage for step in timeline if step.chunk.usage] == [Usage(2, 3 * fields.get("n", 1))]
    assert timeline[-1].chunk.usage


@pytest.mark.parametrize("n", [1, 3])
def test_each_choice_has_its_role_first_and_its_reason_last(n):
    payloads = [orjson.loads(event) for event in events_of(play(ask(CHAT, stream=True, n=n))[0])[:-1]]
    for index in range(n):
        mine = [choice for payload in payloads for choice in payload["choices"] if choice["index"] == index]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert mine[-1] == {"index": index, "delta": {}, "logprobs": None, "finish_reason": "stop"}


# --- embeddings -------------------------------------------------------------------------------------------------


def vectors(**fields):
    ((_, chunk),), _ = play(ask(EMBEDDINGS, stream=False, **fields))
    return [item["embedding"] for item in orjson.loads(chunk.raw)["data"]]


@pytest.mark.parametrize(
    ("fields", "count", "size"),
    [
        ({"input": "a"}, 1, 64),
        ({"input": ["a", "b"]}, 2, 64),
        ({"input": [1, 2, 3]}, 1, 64),
        ({"input": [[1, 2], [3]]}, 2, 64),
        ({"input": "a", "dimensions": 8}, 1, 8),
        ({"input": "a", "dimensions": 0}, 1, 64),
        ({"input": "a", "dimensions": 99_999}, 1, 64),
        ({"input": "a", "dimensions": True}, 1, 64),
    ],
    ids=repr,
)
def test_a_unit_vector_for_each_input(fields, count, size):
    found = vectors(**fields)
    assert [len(vector) for vector in found] == [size] * count
    assert [sum(x * x for x in vector) for vector in found] == pytest.approx([1.0] * count)


def test_the_same_text_has_the_same_vector_and_another_has_another():
    first, again, other = vectors(input=["a", "a", "b"])
    assert first == again != other


def test_base64_holds_the_same_numbers():
    (packed,), (plain,) = vectors(input="a", encoding_format="base64"), vectors(input="a")
    assert struct.unpack("<64f", base64.b64decode(packed)) == pytest.approx(plain)
