from __future__ import annotations

import pytest

from providers.base import Endpoint, Usage
from providers.errors import Empty, Malformed
from providers.reading import EmbeddingsReader, failure_in, read_usage, reader_for, require_substance


def chat(delta, finish=None, index=0, **members):
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}], **members}


def text(words, finish=None, index=0):
    return {"choices": [{"index": index, "text": words, "finish_reason": finish}]}


def usage(prompt, completion):
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


ROLE = chat({"role": "assistant", "content": ""})
STOP = chat({}, "stop")


@pytest.mark.parametrize(
    ("delta", "bears"),
    [
        ({}, False),
        ({"role": "assistant"}, False),
        ({"role": "assistant", "content": None}, False),
        ({"role": "assistant", "content": "", "refusal": None, "tool_calls": []}, False),
        ({"content": "hi"}, True),
        ({"content": " "}, True),
        ({"role": "assistant", "content": "hi"}, True),
        ({"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}, True),
        ({"function_call": {"name": "f"}}, True),
        ({"reasoning": "hm"}, True),
        ({"reasoning_content": "hm"}, True),
        ({"refusal": "no"}, True),
        ({"audio": {"data": "AAAA"}}, True),
        ({"of_next_year": 1}, True),
        (None, False),
        ("text", False),
    ],
    ids=repr,
)
def test_what_a_chat_delta_must_hold_to_bear_content(delta, bears):
    reader = reader_for(Endpoint.CHAT)
    assert reader.event(chat(delta)) is bears
    assert reader.content is bears


@pytest.mark.parametrize(("words", "bears"), [("hi", True), ("\n", True), ("", False), (None, False)], ids=repr)
def test_what_a_completion_must_hold_to_bear_content(words, bears):
    assert reader_for(Endpoint.COMPLETIONS).event(text(words)) is bears


@pytest.mark.parametrize("payload", [{}, {"choices": None}, {"choices": []}, {"choices": "x"}, {"choices": [1, None]}])
@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS])
def test_an_event_without_choices_says_nothing(endpoint, payload):
    reader = reader_for(endpoint)
    assert not reader.event(payload)
    assert not reader.complete


@pytest.mark.parametrize(
    ("events", "complete"),
    [
        ([], False),
        ([ROLE], False),
        ([ROLE, STOP], True),
        ([STOP], True),
        ([ROLE, chat({"content": "a"}, "length")], True),
        ([chat({}, index=0), chat({}, index=1), chat({}, "stop", index=0)], False),
        ([chat({}, index=0), chat({}, index=1), chat({}, "stop", index=1), chat({}, "stop", index=0)], True),
        ([{"choices": chat({}, "stop")["choices"] + chat({}, "stop", index=1)["choices"]}], True),
        ([{"choices": chat({}, "stop")["choices"] + chat({}, index=1)["choices"]}], False),
        ([STOP, chat({"content": "more"})], True),
        ([STOP, usage(1, 1)], True),
        ([usage(1, 1)], False),
    ],
)
def test_an_answer_is_complete_when_every_choice_that_has_begun_has_its_finish_reason(events, complete):
    reader = reader_for(Endpoint.CHAT)
    for event in events:
        reader.event(event)
    assert reader.complete is complete


@pytest.mark.parametrize("reason", ["length", "tool_calls", "content_filter", "function_call"])
def test_a_reason_other_than_stop_explains_an_answer_without_text(reason):
    reader = reader_for(Endpoint.CHAT)
    reader.event(ROLE)
    assert reader.event(chat({}, reason))
    require_substance(reader)


def test_an_empty_finish_reason_ends_nothing():
    """Some servers send "" on every chunk where OpenAI sends null: once a role-only chunk was content, and the end."""
    reader = reader_for(Endpoint.CHAT)
    assert not reader.event(chat({"role": "assistant", "content": ""}, ""))
    assert not reader.complete


@pytest.mark.parametrize("index", [[], {}], ids=repr)
def test_an_index_of_the_wrong_type_raises_nothing_foreign(index):
    """Once it was a TypeError (unhashable)."""
    reader = reader_for(Endpoint.CHAT)
    assert reader.event(chat({"content": "a"}, index=index))


@pytest.mark.parametrize(
    ("events", "empty"),
    [
        ([ROLE, STOP], True),
        ([ROLE, STOP, usage(5, 0)], True),
        ([ROLE, STOP, usage(5, 1)], False),
        ([ROLE, chat({}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 3})], False),
        ([ROLE, chat({"content": "a"}), STOP], False),
    ],
)
def test_a_bare_stop_is_empty_unless_output_tokens_were_counted(events, empty):
    reader = reader_for(Endpoint.CHAT)
    for event in events:
        reader.event(event)
    assert reader.complete
    if empty:
        with pytest.raises(Empty):
            require_substance(reader)
    else:
        require_substance(reader)


def message(content, finish="stop", **members):
    return {"choices": [{"index": 0, "message": {"role": "assistant", **content}, "finish_reason": finish}], **members}


TOKENS = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize(
    ("endpoint", "body", "raises"),
    [
        (Endpoint.CHAT, message({"content": "hi"}), None),
        (Endpoint.CHAT, message({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls"), None),
        (Endpoint.CHAT, message({"content": "", "reasoning": "hm"}), None),
        (Endpoint.CHAT, message({"content": ""}, "length"), None),
        (Endpoint.CHAT, message({"content": ""}, usage=TOKENS), None),
        (Endpoint.CHAT, message({"content": ""}), Empty),
        (Endpoint.CHAT, message({"content": None}, usage={"prompt_tokens": 3, "completion_tokens": 0}), Empty),
        (Endpoint.CHAT, {}, Malformed),
        (Endpoint.CHAT, {"choices": []}, Malformed),
        (Endpoint.CHAT, {"choices": ["x"]}, Malformed),
        (Endpoint.COMPLETIONS, text("hi", "stop"), None),
        (Endpoint.COMPLETIONS, text("", "stop"), Empty),
        (Endpoint.COMPLETIONS, text("", "stop") | {"usage": TOKENS}, None),
        (Endpoint.COMPLETIONS, {"object": "list"}, Malformed),
        (Endpoint.EMBEDDINGS, {"data": [{"embedding": [1.0]}]}, None),
        (Endpoint.EMBEDDINGS, {"data": []}, Empty),
        (Endpoint.EMBEDDINGS, {"data": None}, Malformed),
        (Endpoint.EMBEDDINGS, {}, Malformed),
        (Endpoint.RESPONSES, {"status": "completed", "output": [{"type": "message"}]}, None),
        (Endpoint.RESPONSES, {"status": "completed", "output": []}, Empty),
        (
            Endpoint.RESPONSES,
            {"status": "completed", "output": [], "usage": {"input_tokens": 1, "output_tokens": 1}},
            None,
        ),
        (Endpoint.RESPONSES, {"status": "incomplete", "output": []}, None),
        (Endpoint.RESPONSES, {"status": "queued", "output": []}, None),
        (Endpoint.RESPONSES, {"status": "in_progress", "output": []}, None),
        (Endpoint.RESPONSES, {"status": "completed"}, Malformed),
        (Endpoint.RESPONSES, {"choices": []}, Malformed),
    ],
)
def test_plain_bodies(endpoint, body, raises):
    reader = reader_for(endpoint)
    if raises:
        with pytest.raises(raises):
            reader.body(body)
    else:
        reader.body(body)
        assert reader.complete


def test_usage_may_ride_on_every_chunk_and_the_last_word_counts():
    reader = reader_for(Endpoint.CHAT)
    for number in range(1, 4):
        counted = {"prompt_tokens": 7, "completion_tokens": number}
        assert reader.event(chat({"content": "a"}, usage=counted))
        assert reader.usage == Usage(7, number)
    reader.event(chat({}, "stop", usage=None))
    assert reader.usage == Usage(7, 3)


def test_a_chunk_of_usage_alone_bears_no_content_and_ends_nothing():
    reader = reader_for(Endpoint.CHAT)
    assert not reader.event(usage(7, 3))
    assert (reader.usage, reader.content, reader.complete) == (Usage(7, 3), False, False)


@pytest.mark.parametrize(
    ("counted", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2}, Usage(3, 2)),
        ({"input_tokens": 3, "output_tokens": 2}, Usage(3, 2)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": 3, "completion_tokens": None}, None),
        ({"prompt_tokens": "3", "completion_tokens": 2}, None),
        ({"total_tokens": 5}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
    ids=repr,
)
def test_usage_in_both_spellings(counted, read):
    assert read_usage(counted) == read


# --- the Responses API ------------------------------------------------------------------------------------------

OUTPUT = {"status": "completed", "output": [{"type": "message"}], "usage": {"input_tokens": 4, "output_tokens": 2}}
DELTA = {"type": "response.output_text.delta", "delta": "hi"}


@pytest.mark.parametrize(
    ("event", "bears"),
    [
        ({"type": "response.created", "response": {"id": "r", "instructions": "long"}}, False),
        ({"type": "response.in_progress", "response": {}}, False),
        ({"type": "response.output_item.added", "item": {"type": "message"}}, False),
        ({"type": "response.content_part.added", "part": {"text": ""}}, False),
        (DELTA, True),
        ({"type": "response.output_text.delta", "delta": ""}, False),
        ({"type": "response.function_call_arguments.delta", "delta": "{"}, True),
        ({"type": "response.reasoning_text.delta", "delta": "hm"}, True),
        ({"type": "response.reasoning_summary_text.delta", "delta": "hm"}, True),
        ({"type": "response.refusal.delta", "delta": "no"}, True),
        ({"type": "response.output_text.done", "text": "hi"}, False),
        ({"type": 7}, False),
        ({}, False),
    ],
    ids=lambda value: str(value.get("type")) if isinstance(value, dict) else repr(value),
)
def test_deltas_of_a_response_bear_content_and_lifecycle_events_do_not(event, bears):
    reader = reader_for(Endpoint.RESPONSES)
    assert reader.event(event) is bears
    assert not reader.complete


@pytest.mark.parametrize(
    ("events", "complete", "empty"),
    [
        ([DELTA], False, False),
        ([DELTA, {"type": "response.completed", "response": OUTPUT}], True, False),
        ([{"type": "response.completed", "response": OUTPUT}], True, False),
        ([DELTA, {"type": "response.completed"}], True, False),
        ([{"type": "response.completed", "response": {"status": "completed", "output": []}}], True, True),
        ([{"type": "response.incomplete", "response": {"status": "incomplete", "output": []}}], True, False),
        ([DELTA, {"type": "response.incomplete", "response": {"status": "incomplete"}}], True, False),
        ([{"type": "response.output_item.done", "item": {}}], False, True),
    ],
)
def test_a_response_ends_with_a_terminal_event_and_nothing_else(events, complete, empty):
    reader = reader_for(Endpoint.RESPONSES)
    for event in events:
        reader.event(event)
    assert reader.complete is complete
    assert not reader.done_marker
    if empty:
        with pytest.raises(Empty):
            require_substance(reader)
    else:
        require_substance(reader)


def test_a_terminal_event_brings_the_usage():
    reader = reader_for(Endpoint.RESPONSES)
    assert reader.event({"type": "response.completed", "response": OUTPUT})
    assert reader.usage == Usage(4, 2)


# --- failures that come with status 200 -------------------------------------------------------------------------

BROKE = {"message": "broke", "code": 500}


@pytest.mark.parametrize(
    ("payload", "failure"),
    [
        ({"error": BROKE}, BROKE),
        ({"error": "boom"}, "boom"),
        ({"error": None, "choices": []}, None),
        (
            {"type": "error", "code": "server_error", "message": "x"},
            {"type": "error", "code": "server_error", "message": "x"},
        ),
        ({"type": "error", "error": BROKE}, BROKE),
        ({"type": "response.failed", "response": {"status": "failed", "error": BROKE}}, BROKE),
        ({"type": "response.failed", "response": {"status": "failed", "error": None}}, "failed"),
        ({"type": "response.failed", "response": None}, "failed"),
        ({"type": "response.failed"}, "failed"),
        ({"object": "response", "status": "failed", "error": BROKE}, BROKE),
        ({"object": "response", "status": "failed", "error": None}, "failed"),
        ({"object": "response", "status": "completed", "error": None}, None),
        ({"type": "response.incomplete", "response": {"status": "incomplete"}}, None),
        ({"type": "response.completed", "response": {"status": "completed", "error": None}}, None),
        (ROLE, None),
        ({}, None),
    ],
    ids=repr,
)
def test_failure_in(payload, failure):
    assert failure_in(payload) == failure


@pytest.mark.parametrize(
    ("endpoint", "marker"),
    [(Endpoint.CHAT, True), (Endpoint.COMPLETIONS, True), (Endpoint.RESPONSES, False), (Endpoint.EMBEDDINGS, False)],
)
def test_only_choices_end_with_the_done_marker(endpoint, marker):
    assert reader_for(endpoint).done_marker is marker


def test_embeddings_count_their_input():
    reader = EmbeddingsReader()
    assert reader.event({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 8, "total_tokens": 8}})
    assert reader.usage == Usage(8, 0)
    assert reader.complete
