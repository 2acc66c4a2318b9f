from __future__ import annotations

import orjson
import pytest
from worlds import Upstream

from router import Pin, Route, Target
from router.ownership import MAX_ID, Ownership, response_id_in


def test_a_response_goes_back_to_the_provider_that_created_it():
    ownership = Ownership()
    ownership.learn("resp_a", "one")
    ownership.learn("resp_b", "two")
    assert (ownership.find("resp_a"), ownership.find("resp_b"), ownership.find("resp_c")) == ("one", "two", None)


def test_the_least_recently_used_is_forgotten_first_and_being_asked_for_counts_as_use():
    ownership = Ownership(capacity=3)
    for number in range(3):
        ownership.learn(f"resp_{number}", "one")
    assert ownership.find("resp_0") == "one"
    ownership.learn("resp_1", "two")
    ownership.learn("resp_3", "one")
    assert [ownership.find(f"resp_{number}") for number in range(4)] == ["one", "two", None, "one"]
    assert len(ownership) == 3


@pytest.mark.parametrize("response_id", [None, "", "r" * (MAX_ID + 1)], ids=["none", "empty", "long"])
def test_an_id_that_is_none_or_too_long_is_not_learned(response_id):
    ownership = Ownership()
    ownership.learn(response_id, "one")
    assert len(ownership) == 0


def route(*providers):
    return Route("m", tuple(Target(Upstream(name), "m") for name in providers))


@pytest.mark.parametrize(
    ("previous", "pin"),
    [
        ("resp_a", Pin(("one",), sticky=True)),
        ("resp_elsewhere", None),  # its owner has no target for this model: the upstream says what it thinks
        ("resp_unknown", None),
        (None, None),
        (7, None),
        (["resp_a"], None),
    ],
    ids=repr,
)
def test_a_request_that_continues_a_response_is_pinned_to_its_owner(previous, pin):
    ownership = Ownership()
    ownership.learn("resp_a", "one")
    ownership.learn("resp_elsewhere", "three")
    assert ownership.pin_for({"model": "m", "previous_response_id": previous}, route("two", "one")) == pin
    assert ownership.pin_for({"model": "m"}, route("one")) is None


BODY = {"id": "resp_1", "object": "response", "output": [{"id": "msg_1"}]}
CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}


def sse(payload, end=b"\n"):
    return b"event: x" + end + b"data: " + orjson.dumps(payload) + end + end


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (orjson.dumps(BODY), "resp_1"),
        (b" \n" + orjson.dumps({"output": [{"id": "msg_1"}], "id": "resp_1"}), "resp_1"),
        (orjson.dumps({"output": [{"id": "msg_1"}]}), None),
        (orjson.dumps({"id": 7}), None),
        (orjson.dumps({"id": ""}), None),
        (b'{"id": "resp_1"', None),
        (b"", None),
        (b"[]", None),
        (sse(CREATED), "resp_1"),
        (sse(CREATED, b"\r\n"), "resp_1"),
        (b": ping\n\n" + sse({"type": "x"}) + sse(CREATED) + sse({"response": {"id": "resp_2"}}), "resp_1"),
        (sse({"type": "response.output_item.added", "item": {"id": "msg_1"}}), None),
        (sse({"response": "resp_1"}), None),
        (b"data: {\n\n" + sse(CREATED), "resp_1"),
        (b"data: [DONE]\n\n", None),
        (b"x" * 5_000_000, None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_id_is_found_in_a_body_and_in_a_stream(raw, found):
    assert response_id_in(raw) == found
