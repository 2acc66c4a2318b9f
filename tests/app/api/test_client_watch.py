"""Who has left is noticed; who has the whole answer has not left, however long its upstream takes to be closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from worlds import now, on_virtual_clock

from app.api.client_watch import GRACE_SECONDS, ClientGone, ClientWatch
from router.shared_timer import SharedTimer


async def watched(*messages: tuple[float, dict[str, Any]]) -> float:
    """One second of work, while the server says these, each at its second: when it was over."""
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        second, message = next(coming, (1e9, {}))
        await asyncio.sleep(second - now())
        return message

    loop = asyncio.get_running_loop()
    with ClientWatch(receive, loop, SharedTimer(loop, GRACE_SECONDS)):
        await asyncio.sleep(1)
    return now()


@on_virtual_clock
async def test_a_client_that_leaves_ends_the_work() -> None:
    with pytest.raises(ClientGone) as gone:
        await watched((0.5, {"type": "http.disconnect", "stalled": True, "complete": False}))
    assert (gone.value.stalled, now()) == (True, 0.5)


@on_virtual_clock
async def test_one_that_has_the_whole_answer_does_not() -> None:
    assert await watched((0.5, {"type": "http.disconnect", "stalled": False, "complete": True})) == 1


@on_virtual_clock
async def test_what_else_comes_is_passed_over() -> None:
    later = {"type": "http.request", "body": b"", "more_body": False}
    with pytest.raises(ClientGone):
        await watched((0.3, later), (0.7, {"type": "http.disconnect"}))
    assert now() == pytest.approx(0.7)
