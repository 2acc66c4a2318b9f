"""S20: a long pipeline of small requests ends, at some point, with the connection: in order, and without a mishap of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.faulty import completion
from tests.e2e.harness import eventually
from tests.e2e.outside import ask, open_stage, replies
from tests.e2e.wire_http import Wire, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_s20_many_small_requests_are_all_answered_or_the_connection_ends(tmp_path: Path) -> None:
    """Not one answer more than the connection has room for: that would be a write after its end, and a traceback."""
    async with open_stage(tmp_path, {}) as stage:
        model = stage.play(replies(completion("hello")))
        paid = 0
        for request in [head("GET /health"), post(ask(model))] * 4:
            answered = 0
            async with Wire(stage.gateway.url) as wire:
                await wire.send(request * 1000)
                try:
                    while answered < 1000:
                        assert (await wire.response()).status == 200
                        answered += 1
                except ConnectionError:
                    pass
            assert answered >= 60
            paid += answered if request.startswith(b"POST") else 0
        assert "Traceback" not in stage.gateway.output
        await eventually(stage.quiet)
        assert len(stage.calls(model)) == paid, "an upstream was asked for nobody"
