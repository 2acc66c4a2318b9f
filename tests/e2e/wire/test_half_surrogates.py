"""W9: half of an emoji, as a client sends it that cuts a string by length, and as a server does that cuts by token.

JSON.stringify spells it as one escape; every JSON parser but the strictest reads that.
"""

from __future__ import annotations

import pytest

from tests.e2e.faulty import DONE, ROLE, delta
from tests.e2e.outside import Stage, ask, replies, says

pytestmark = pytest.mark.asyncio(loop_scope="session")

HALF = rb"\ud83d"
ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}]}' % HALF


async def test_w09_half_a_character_in_a_request_passes(stage: Stage) -> None:
    model = stage.play(replies(ANSWER.replace(HALF, b"hi")))
    body = b'{"model":"%b","messages":[{"role":"user","content":"%b"}]}' % (model.encode(), HALF)
    assert (await stage.ask(body)).status == 200
    assert [one.body for one in stage.calls(model)] == [body]


async def test_w09_half_a_character_in_an_answer_passes(stage: Stage) -> None:
    model = stage.play(replies(ANSWER))
    answer = await stage.ask(ask(model))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert len(stage.calls(model)) == 1


async def test_w09_half_a_character_in_a_stream_is_not_lost(stage: Stage) -> None:
    """Content that vanishes from the middle of an answer is worse than an error."""
    halves = [b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % half for half in (HALF, rb"\udf0a")]
    sent = [ROLE, delta({"content": "a"}), *halves, delta({}, "stop"), DONE]
    answer = await stage.ask(ask(stage.play(says(*sent)), stream=True))
    assert answer.body == b"".join(sent)
