from __future__ import annotations

import pytest
from worlds import request

from providers.base import Endpoint
from providers.prompt import choices_wanted, output_limit, prompt_of, prompt_words, wants_usage

CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.EMBEDDINGS


def user(content):
    return {"role": "user", "content": content}


PARTS = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "this"}]


@pytest.mark.parametrize(
    ("endpoint", "fields", "prompt", "words"),
    [
        (CHAT, {"messages": [user("one two")]}, "one two", 2),
        (CHAT, {"messages": [user("first"), {"role": "assistant", "content": "a b"}, user("last")]}, "last", 4),
        (CHAT, {"messages": [user("asked"), {"role": "assistant", "content": "answer"}]}, "asked", 2),
        (CHAT, {"messages": [{"role": "system", "content": "be brief"}]}, "", 2),
        (CHAT, {"messages": [user(PARTS)]}, "see this", 2),
        (CHAT, {"messages": [user(None)]}, "", 0),
        (CHAT, {"messages": ["x", 3, None]}, "x", 0),
        (CHAT, {"messages": []}, "", 0),
        (CHAT, {"messages": None}, "", 0),
        (CHAT, {"messages": {}}, "", 0),
        (COMPLETIONS, {"prompt": "one two"}, "one two", 2),
        (COMPLETIONS, {"prompt": ["one", "two three"]}, "one two three", 3),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, "", 0),
        (COMPLETIONS, {}, "", 0),
        (RESPONSES, {"input": "one two"}, "one two", 2),
        (RESPONSES, {"input": [user([{"type": "input_text", "text": "hello there"}])]}, "hello there", 2),
        (RESPONSES, {"input": [user("a"), {"type": "function_call_output", "output": "x"}]}, "", 1),
        (EMBEDDINGS, {"input": "one two"}, "one two", 2),
        (EMBEDDINGS, {"input": ["one", "two three"]}, "two three", 3),
        (EMBEDDINGS, {"input": [1, 2]}, "", 0),
    ],
    ids=repr,
)
def test_the_prompt_and_its_words(endpoint, fields, prompt, words):
    asked = request(endpoint=endpoint, **fields)
    assert (prompt_of(asked), prompt_words(asked)) == (prompt, words)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_output_tokens": 5}, 5),
        ({"max_tokens": 9, "max_completion_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": "5"}, None),
    ],
    ids=repr,
)
def test_the_least_cap_on_the_output_counts(fields, limit):
    assert output_limit(request(**fields)) == limit


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"include_usage": True}, True),
        ({"include_usage": False}, False),
        ({"include_usage": 1}, False),
        ({}, False),
        (None, False),
        ("x", False),
    ],
    ids=repr,
)
def test_usage_is_sent_only_if_it_was_asked_for(options, wanted):
    assert wants_usage(request(stream_options=options)) is wanted


@pytest.mark.parametrize(
    ("n", "choices"), [(1, 1), (3, 3), (16, 16), (99, 16), (0, 1), (-2, 1), (None, 1), (True, 1), ("2", 1)]
)
def test_choices_are_bounded(n, choices):
    assert choices_wanted(request(n=n)) == choices
