"""M11: streams that break at every boundary between events: never a success, never [DONE], always the target's fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import DONE, TO_CONTENT, Exchange
from tests.e2e.harness import Answer, eventually
from tests.e2e.resilience.scene import Scene, open_scene, posts

pytestmark = pytest.mark.asyncio(loop_scope="module")

# role, four of content, finish; then [DONE], with which the answer is complete.
EVENTS = 6
ENDS: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "truncated": Exchange.close,  # FIN in the middle of the chunked body
    "reset": Exchange.reset,
    "ended": Exchange.end,  # as HTTP wants it, and still not as the protocol does
}
COUNTED = {"min_calls": 100_000, "consecutive": 100_000}  # failures are counted, and stop nothing


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(faulty: StartFaulty, gateway: StartGateway) -> Scene:
    first = await faulty("first", "ok")
    return await open_scene(gateway, first, retry={"max_attempts": 1}, breaker=COUNTED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(faulty: StartFaulty, gateway: StartGateway) -> Scene:
    first, spare = await faulty("first", "ok"), await faulty("spare", "ok")
    budget = {"budget": {"burst": 10_000}, "concurrency": {"enabled": False}}
    return await open_scene(gateway, first, spare, targets=[{}, {"tier": 1}], retry=budget, breaker=COUNTED)


def breaking(after: int, end: str) -> Callable[[Exchange], Awaitable[None]]:
    """So many events come, then the stream breaks; if there was content, not before the client has some."""

    async def fault(x: Exchange) -> None:
        assert len(x.pieces) == EVENTS + 1
        await x.begin()
        await x.say(*x.pieces[:after])
        if after >= TO_CONTENT.stop:
            await x.server.content_seen(x.model, stream=True).wait()
        await ENDS[end](x)

    return fault


async def broken(scene: Scene, after: int, end: str) -> Answer:
    upstream = scene.upstreams[0]
    upstream.fault = breaking(after, end)
    seen = upstream.content_seen("x", stream=True)
    seen.clear()
    async with scene.call(f"{end}-after-{after}") as call:
        if after >= TO_CONTENT.stop:
            await call.until(b'"content": "')
            seen.set()
        return await call.rest()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("after", range(EVENTS + 1))
async def test_m11_a_stream_that_breaks_is_never_a_success(scene: Scene, after: int, end: str) -> None:
    before = await scene.breaker("first")
    answer = await broken(scene, after, end)
    line = await scene.gateway.log_line(f"{end}-after-{after}")
    breaker = await scene.breaker("first")
    failures = breaker["failures"] - before["failures"]
    if after == EVENTS and end == "ended":  # its choice is finished and its body too: only [DONE] was forgotten
        assert (answer.whole, answer.data[-1], line["end"], failures) == (True, "[DONE]", "complete", 0)
        return
    assert DONE.strip() not in answer.body
    assert failures == 1
    assert breaker["consecutive_failures"] == before["consecutive_failures"] + 1
    if after < 2:  # nothing but the role: nobody has seen anything of it
        assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_error")
        assert line["attempts"][-1]["outcome"] in {"disconnected", "truncated", "malformed"}
        return
    assert answer.status == 200
    assert not answer.whole, "no terminating chunk: no client can take it for complete"
    assert answer.events[-1]["error"]["code"] == "upstream_error"
    assert (line["status"], line["end"], line["error"]) == (200, "cut", "upstream_error")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("after", range(2))
async def test_m11_before_the_first_content_another_target_takes_over(two: Scene, after: int, end: str) -> None:
    served = len(posts(two.upstreams[1]))
    answer = await broken(two, after, end)
    assert (answer.status, answer.text, answer.data[-1], answer.whole) == (200, "hello from spare", "[DONE]", True)
    assert len(posts(two.upstreams[1])) == served + 1


async def test_m11_streams_that_break_off_after_their_content_eject_a_target(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    """Each of them was a success when it began, and would have reset the count."""
    only = await faulty("first", "ok")
    scene = await open_scene(gateway, only, retry={"max_attempts": 1})
    for number in range(5):
        assert (await scene.breaker("first"))["state"] == "closed"
        answer = await broken(scene, 3 + number % 3, "reset")
        assert (answer.status, answer.whole) == (200, False)

    async def is_open() -> bool:
        return bool((await scene.breaker("first"))["state"] == "open")

    await eventually(is_open)
    assert (await scene.ask("the very next")).status == 503
    assert len(posts(only)) == 5
