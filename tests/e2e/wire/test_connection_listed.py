"""W19: what a client names in Connection is meant for the gateway alone (RFC 9110, 7.6.1)."""

from __future__ import annotations

import pytest

from tests.e2e.faulty import completion
from tests.e2e.outside import Stage, ask, replies

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_w19_what_was_named_in_connection_is_for_one_hop(stage: Stage) -> None:
    model = stage.play(replies(completion("hello")))
    trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stage.ask(ask(model), trace)
    await stage.ask(ask(model), trace, "Connection: traceparent")
    seen = [dict(call.headers).get("traceparent") for call in stage.calls(model)]
    assert seen == [trace.split(": ")[1], None]
