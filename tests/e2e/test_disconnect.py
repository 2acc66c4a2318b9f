"""The client leaves: whatever the gateway has open upstream must be closed at once, and nobody is to blame."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import Exchange, FaultyServer
from tests.e2e.harness import Gateway, Llama, chat, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT = b'"content": "'
LONG_PROMPT = " ".join(f"number {number}" for number in range(400))


class Leaving(NamedTuple):
    """What the upstream does, and what the client has seen when it goes."""

    fault: str
    stream: bool
    after: bytes = b""


LEAVING = {
    "before_the_head": Leaving("hang_before_headers", stream=True),
    "before_any_event": Leaving("hang_after_headers", stream=True),
    "after_the_role": Leaving("role_chunk_then_hang", stream=True),
    "while_only_pings_come": Leaving("pings_for_ever", stream=True),
    "in_mid_stream_while_tokens_come": Leaving("talks_for_ever", stream=True, after=CONTENT),
    "in_mid_stream_while_nothing_comes": Leaving("hang_after_content", stream=True, after=CONTENT),
    "plain_before_the_head": Leaving("hang_before_headers", stream=False),
    "plain_after_the_head": Leaving("hang_after_headers", stream=False),
    "plain_in_the_middle_of_the_body": Leaving("hang_after_content", stream=False),
    "plain_while_white_space_comes": Leaving("pings_for_ever", stream=False),
}


class Scene(NamedTuple):
    gateway: Gateway
    upstream: FaultyServer
    spare: FaultyServer

    async def reached(self, model: str, *, stream: bool) -> Exchange:
        """The upstream's side of the one call for ``model``."""
        (exchange,) = await eventually(lambda: self.upstream.calls(model, stream=stream), within=5)
        return exchange

    async def quiet(self) -> bool:
        return not await self.gateway.in_flight()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(faulty: StartFaulty, gateway: StartGateway) -> Scene:
    upstream, spare = await faulty("upstream", "ok"), await faulty("spare", "ok")
    config = {
        "providers": [
            {"name": server.name, "kind": "openai-compatible", "base_url": server.url} for server in (upstream, spare)
        ],
        "routes": [{"model": "*", "targets": [{"provider": "upstream"}, {"provider": "spare", "tier": 1}]}],
        "defaults": {"timeouts": {"first_token": 60, "idle": 60, "attempt": 60}},
    }
    return Scene(await gateway(config), upstream, spare)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize("name", LEAVING)
async def test_a_client_that_leaves_takes_its_upstream_call_along(scene: Scene, name: str, reset: bool) -> None:
    leaving = LEAVING[name]
    scene.upstream.fault = leaving.fault
    model = f"{name}.{'reset' if reset else 'fin'}"
    async with scene.gateway.call(chat(model, stream=leaving.stream), model) as call:
        if leaving.after:
            await call.until(leaving.after)
        exchange = await scene.reached(model, stream=leaving.stream)
        assert await scene.gateway.in_flight() == {"upstream/*": 1}
        call.hang_up(reset=reset)
    left_at = asyncio.get_running_loop().time()

    await eventually(lambda: exchange.abandoned_at, within=2)
    assert exchange.abandoned_at is not None
    assert exchange.abandoned_at - left_at < 1
    line = await scene.gateway.log_line(model)
    assert line["status"] == 499
    assert line["end"] == "client_closed"
    await eventually(scene.quiet)
    await assert_the_next_request_is_fine(scene, f"{model}.next")
    assert len(scene.upstream.calls(model, stream=leaving.stream)) == 1, "tried again for nobody"
    assert scene.spare.exchanges == [], "failed over for nobody"


async def test_a_client_that_leaves_between_two_attempts_causes_no_more_of_them(
    faulty: StartFaulty, gateway: StartGateway
) -> None:
    upstream = await faulty("throttled", "status_429_retry_after")
    provider = {"name": "throttled", "kind": "openai-compatible", "base_url": upstream.url}
    edge = await gateway({"providers": [provider], "routes": [{"model": "*", "targets": [{"provider": "throttled"}]}]})
    async with edge.call(chat("m", stream=True), "between-attempts") as call:
        await eventually(lambda: upstream.exchanges, within=5)
        call.hang_up()
    assert (await edge.log_line("between-attempts"))["status"] == 499
    assert len(upstream.exchanges) == 1
    assert await edge.in_flight() == {}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_many_clients_that_leave_at_once_leave_nothing_behind(scene: Scene, stream: bool) -> None:
    scene.upstream.fault = "hang_before_headers"
    model = f"crowd.{stream}"

    async def come_and_go(number: int) -> None:
        async with scene.gateway.call(chat(model, stream=stream), f"{model}.{number}"):
            await eventually(lambda: len(scene.upstream.calls(model, stream=stream)) == 50, within=10)

    await asyncio.gather(*map(come_and_go, range(50)))
    await eventually(lambda: all(one.abandoned_at for one in scene.upstream.calls(model, stream=stream)))
    await eventually(scene.quiet)
    await assert_the_next_request_is_fine(scene, f"{model}.next")


async def assert_the_next_request_is_fine(scene: Scene, request_id: str) -> None:
    scene.upstream.fault = "ok"
    async with scene.gateway.call(chat(request_id, stream=True), request_id) as call:
        answer = await call.rest()
    assert (answer.status, answer.text, answer.whole) == (200, "hello from upstream", True)


@pytest.mark.model
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize("moment", ["before_the_first_token", "in_mid_stream", "plain"])
async def test_a_real_model_stops_working_for_a_client_that_left(
    llama: Llama, gateway: StartGateway, moment: str, reset: bool
) -> None:
    provider = {"name": "llama", "kind": "llamacpp", "base_url": llama.url}
    edge = await gateway({"providers": [provider], "routes": [{"model": "*", "targets": [{"provider": "llama"}]}]})
    await eventually(llama.idle, within=5)
    words = f"{moment} {reset} {LONG_PROMPT if moment == 'before_the_first_token' else 'Tell me a long story.'}"
    body = chat("m", stream=moment != "plain", words=words, max_tokens=2000)
    async with edge.call(body, "leaver") as call:
        if moment == "in_mid_stream":
            await call.until(b'"content":"')
        await eventually(llama.busy_slots, within=5)
        call.hang_up(reset=reset)
    # While it has nothing to send, llama.cpp looks for the client once a second, and each look at /slots delays that.
    every = 0.01 if moment == "in_mid_stream" else 1.5
    await eventually(llama.idle, within=max(1.0, 2.5 * every), every=every)
    assert (await edge.log_line("leaver"))["status"] == 499


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_client_that_leaves_with_pipelined_requests_open_frees_the_upstream_too(
    faulty: StartFaulty, gateway: StartGateway, stream: bool
) -> None:
    """Once: only the last request that was parsed learned of the loss, and the one that ran went on for ever."""
    upstream = await faulty("pipelined", "hang_after_content" if stream else "hang_before_headers")
    edge = await gateway(
        {
            "providers": [{"name": "up", "kind": "openai-compatible", "base_url": upstream.url}],
            "routes": [{"model": "m", "targets": [{"provider": "up"}]}],
        }
    )
    first, second = edge.call(chat("m", stream=stream), "piped-1"), edge.call(chat("m", stream=stream), "piped-2")
    first._request += second._request
    async with first:
        await eventually(edge.in_flight, within=5)
        if stream:
            await first.until(b'"content"')
        first.hang_up()

    async def quiet() -> bool:
        return not await edge.in_flight()

    await eventually(quiet, within=1)
    line = await edge.log_line("piped-1")
    assert (line["status"], line["end"]) == (499, "client_closed")
