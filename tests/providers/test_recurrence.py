from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import request

from providers import Endpoint
from providers.openai_compatible import EventStream
from providers.recurrence import MAX_MISSES, Recurrence


def chat(text: str, **more) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return b"data: " + orjson.dumps({"id": "c1", "model": "m", "choices": [choice], **more}) + b"\n\n"


def taught(event: bytes) -> Recurrence:
    recurrence = Recurrence()
    recurrence.learn(event, orjson.loads(event[5:]))
    return recurrence


@pytest.mark.parametrize("text", [" harbour", "a", "x" * 5000, "{}[]:,", "data: [DONE]"])
def test_an_event_that_differs_in_its_text_alone_fits(text):
    assert taught(chat("first")).fits(chat(text))


@pytest.mark.parametrize(
    "event",
    [
        chat(""),
        chat('a "quote"'),
        chat("back\\slash"),
        chat("line\nbreak"),
        chat("é"),
        chat("first", usage={"prompt_tokens": 1}),
        chat("first").replace(b"null", b'"stop"'),
        chat("first").replace(b'"c1"', b'"c2"'),
        chat('first"},"logprobs":{"content":"x'),
        (
            b'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"\x01"},"logprobs":null,'
            b'"finish_reason":null}]}\n\n'
        ),
        b": ping\n\n",
        b"data: [DONE]\n\n",
    ],
    ids=repr,
)
def test_any_other_is_parsed(event):
    assert not taught(chat("first")).fits(event)


@pytest.mark.parametrize(
    "event",
    [
        chat('with "quotes"'),
        chat("a", usage={"prompt_tokens": 1}),
        chat("a").replace(b'"finish_reason":null', b'"finish_reason":"length"'),
        chat("a").replace(b'"delta":{', b'"delta":{"x":{"content":"b"},'),
        b"id: 7\n" + chat("a"),
        b"event: x\n" + chat("a"),
        chat("a").replace(b"\n\n", b"\r\n\r\n"),
    ],
    ids=repr,
)
def test_what_says_more_than_its_text_is_no_example(event):
    recurrence = Recurrence()
    recurrence.learn(event, orjson.loads(event.partition(b"data:")[2]))
    assert not recurrence.fits(event)


def test_the_text_may_stand_elsewhere_too():
    assert taught(chat("m")).fits(chat("other"))


def test_with_events_that_are_never_alike_it_gives_up_looking():
    recurrence = Recurrence()
    for number in range(MAX_MISSES + 1):
        event = chat("a", obfuscation=str(number))
        recurrence.learn(event, orjson.loads(event[5:]))
    assert not recurrence.fits(event)


PIECES = st.lists(st.sampled_from(["a", " b", "é", '"', "\\", "", "\n", "c" * 40]), min_size=1, max_size=12)


@examples(200)
@given(PIECES, st.sampled_from([Endpoint.CHAT, Endpoint.COMPLETIONS]), st.integers(1, 3))
def test_a_stream_gives_the_same_chunks_as_one_that_parses_everything(pieces, endpoint, at_once):
    def said(text: str, number: int) -> bytes:
        inner = {"delta": {"content": text}} if endpoint is Endpoint.CHAT else {"text": text}
        reason = "stop" if number == len(pieces) - 1 else None
        choice = {"index": 0, **inner, "finish_reason": reason}
        return b"data: " + orjson.dumps({"id": "c", "choices": [choice]}) + b"\n\n"

    events = [said(text, number) for number, text in enumerate(pieces)]
    reads = [events[i : i + at_once] for i in range(0, len(events), at_once)]
    quick, thorough = (EventStream(_Silent(), request(endpoint=endpoint), "up") for _ in range(2))
    thorough._recurrence = _Never()
    assert [quick._digest(read) for read in reads] == [thorough._digest(read) for read in reads]


class _Never(Recurrence):
    def fits(self, event):
        return False


class _Silent:
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it
