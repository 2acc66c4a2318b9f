"""What a route's strategy does with real calls, as clients and upstreams see it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from math import sqrt
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartGateway
from tests.e2e.faulty import ok
from tests.e2e.harness import Gateway, chat, eventually
from tests.e2e.routing.conftest import OpenClient, StartUpstream
from tests.e2e.routing.town import Client, Upstream, after, configuration, many, targets

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("a", "b", "c")
SESSIONS = [f"session-{number}" for number in range(24)]
UNPROBED = {"breaker": {"consecutive": 3, "open_base": 1.0, "half_open": 1}, "probing": {"enabled": False}}


class Scene(NamedTuple):
    gateway: Gateway
    twin: Gateway
    client: Client
    other: Client
    servers: dict[str, Upstream]

    def asked(self, model: str) -> list[int]:
        return [len(self.servers[name].asked(model)) for name in NAMES]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(upstream: StartUpstream, gateway: StartGateway, client: OpenClient) -> Scene:
    servers = [await upstream(name) for name in NAMES]
    weighted = targets("weighted", *NAMES)
    for target, weight in zip(weighted, (90, 10, 0), strict=True):
        target["weight"] = weight
    priced = targets("cost", "a", "b", "c")
    priced[0]["price"] = {"input": 1, "output": 4}
    priced[1]["price"] = {"input": 0.1, "output": 0.4}
    routes = [
        {"model": "weighted", "targets": weighted},
        {"model": "affinity", "targets": targets("affinity", *NAMES), "strategy": "affinity"},
        {"model": "ejected", "targets": targets("ejected", *NAMES), "strategy": "affinity", **UNPROBED},
        {"model": "least_busy", "targets": targets("least_busy", "a", "b"), "strategy": "least_busy"},
        {"model": "latency", "targets": targets("latency", "a", "b"), "strategy": "latency"},
        {"model": "cost", "targets": priced, "strategy": "cost"},
    ]
    config = configuration(servers, routes)
    one, two = await asyncio.gather(gateway(config), gateway(config))
    return Scene(one, two, await client(one), await client(two), {server.name: server for server in servers})


# --- weighted ---------------------------------------------------------------------------------------------------------


async def test_weights_are_shares_and_zero_is_none(scene: Scene) -> None:
    calls = 1000
    asked = [(chat("weighted", stream=False), [f"X-Request-ID: w-{number}"]) for number in range(calls)]
    answers = await many(scene.gateway, asked)
    assert {answer.status for answer in answers} == {200}
    assert {answer.header("x-route-reason") for answer in answers} == {"weight"}
    a, b, c = scene.asked("weighted")
    assert (a + b, c) == (calls, 0)
    assert abs(a - 0.9 * calls) <= 3.29 * sqrt(calls * 0.9 * 0.1)  # 99.9 %


async def test_the_request_id_alone_decides_so_every_gateway_picks_alike(scene: Scene) -> None:
    for number in range(20):
        told = [await client.chat("weighted", X_Request_ID=f"w-{number}") for client in (scene.client, scene.other)]
        assert told[0].provider == told[1].provider


async def test_a_target_of_weight_0_is_reached_by_a_pin_alone_and_by_no_failover(scene: Scene) -> None:
    told = await scene.client.chat("weighted", X_Provider_Priority="c")
    assert (told.provider, told.reason, told.text) == ("c", "pin", "hello from c")
    before = scene.asked("weighted")[2]
    for name in "ab":
        scene.servers[name].play("weighted", "status_500")
    failed = await scene.client.chat("weighted")
    for name in "ab":
        scene.servers[name].play("weighted", ok)
    assert failed.status == 502
    assert {attempt.partition("/")[0] for attempt in failed.attempts} == {"a", "b"}
    assert scene.asked("weighted")[2] == before


# --- affinity ---------------------------------------------------------------------------------------------------------


async def homes(client: Client, model: str, *sessions: str) -> dict[str, str]:
    told = {session: await client.chat(model, X_Session_ID=session) for session in sessions}
    return {session: each.provider for session, each in told.items()}


async def test_a_session_stays_at_its_target_in_every_gateway(scene: Scene) -> None:
    first = await homes(scene.client, "affinity", *SESSIONS)
    assert set(first.values()) == set(NAMES)
    assert await homes(scene.client, "affinity", *reversed(SESSIONS)) == first
    assert await homes(scene.other, "affinity", *SESSIONS) == first
    told = await scene.client.chat("affinity", stream=True, words="something else", X_Session_ID=SESSIONS[0])
    assert (told.provider, told.reason) == (first[SESSIONS[0]], "sticky")


async def test_without_a_session_what_begins_alike_stays_together(scene: Scene) -> None:
    found = {
        words: {(await scene.client.chat("affinity", words=words)).provider for _ in range(4)} for words in SESSIONS
    }
    assert all(len(providers) == 1 for providers in found.values())
    assert set.union(*found.values()) == set(NAMES)


async def test_a_session_moves_only_while_its_target_is_ejected(scene: Scene) -> None:
    at_home = await homes(scene.client, "ejected", *SESSIONS)
    sick = at_home[SESSIONS[0]]
    moving = [session for session, home in at_home.items() if home == sick]
    staying = [session for session in SESSIONS if session not in moving]
    scene.servers[sick].play("ejected", "status_500")
    for _ in range(3):  # each is served elsewhere, after its own target has failed it
        told = await scene.client.chat("ejected", X_Session_ID=moving[0])
        assert (told.status, told.reason, told.attempts[0]) == (200, "failover", f"{sick}/ejected:500")
    calls = len(scene.servers[sick].asked("ejected"))
    away = await homes(scene.client, "ejected", *SESSIONS)
    assert len(scene.servers[sick].asked("ejected")) == calls, "an ejected target was called"
    assert {session: away[session] for session in staying} == {session: at_home[session] for session in staying}
    assert all(away[session] != sick for session in moving)
    assert await homes(scene.client, "ejected", *moving) == {session: away[session] for session in moving}
    scene.servers[sick].play("ejected", ok)

    async def is_back() -> bool:
        return (await scene.client.chat("ejected", X_Session_ID=moving[0])).provider == sick

    await eventually(is_back, within=3.0, every=0.1)
    assert await homes(scene.client, "ejected", *SESSIONS) == at_home


@pytest.mark.parametrize("value", ["two words", "a" * 257, ""])
async def test_a_session_that_is_no_name_is_refused(scene: Scene, value: str) -> None:
    told = await scene.client.chat("affinity", X_Session_ID=value)
    assert (told.status, told.text) == (
        400,
        "X-Session-ID must be 1 to 256 printable ASCII characters without spaces",
    )


# --- what is measured -------------------------------------------------------------------------------------------------


async def test_least_busy_goes_where_least_runs(scene: Scene) -> None:
    for name in "ab":
        scene.servers[name].play("least_busy", "hang_after_content")
    async with AsyncExitStack() as streams:
        for number in range(3):
            call = scene.gateway.call(chat("least_busy", stream=True), f"busy-{number}")
            await streams.enter_async_context(call)
            await call.until(b'"content": "')
        held = scene.asked("least_busy")
        assert sorted(held[:2]) == [1, 2], "three at once are spread"
        free = "ab"[held[0] > held[1]]
        scene.servers[free].play("least_busy", ok)
        for _ in range(10):
            assert (await scene.client.chat("least_busy")).provider == free
    await eventually(lambda: _idle(scene.gateway))
    for name in "ab":
        scene.servers[name].play("least_busy", ok)
    shares = Counter([(await scene.client.chat("least_busy")).provider for _ in range(40)])
    assert min(shares["a"], shares["b"]) >= 8, "ties are broken at random"


async def _idle(gateway: Gateway) -> bool:
    return not await gateway.in_flight()


async def test_latency_leaves_the_slow_one_alone_and_finds_out_by_itself(scene: Scene) -> None:
    scene.servers["a"].play("latency", after(0.2))
    for _ in range(20):
        await scene.client.chat("latency", stream=True)
    a, b, _ = scene.asked("latency")
    assert 1 <= a <= 3, "it was tried"
    assert b >= 17


async def test_cost_takes_the_cheapest_that_can_and_the_unpriced_last(scene: Scene) -> None:
    for _ in range(5):
        assert (await scene.client.chat("cost")).provider == "b"
    scene.servers["b"].play("cost", "status_500")
    told = await scene.client.chat("cost")
    assert told.attempts == ["b/cost:500", "a/cost:200"]
    scene.servers["a"].play("cost", "status_500")
    told = await scene.client.chat("cost")
    assert [attempt.partition("/")[0] for attempt in told.attempts] == ["b", "a", "c"]
    scene.servers["a"].play("cost", ok)
    scene.servers["b"].play("cost", ok)


# --- priorities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["critical", "Default", " SHEDDABLE ", "batch"])
async def test_a_priority_is_taken_in_any_case(scene: Scene, value: str) -> None:
    answer = (await many(scene.gateway, [(chat("affinity", stream=False), [f"X-Priority: {value}"])]))[0]
    assert answer.status == 200


@pytest.mark.parametrize("value", ["urgent", "1", "", "critical,batch"])
async def test_a_priority_that_is_none_is_refused_with_those_that_are(scene: Scene, value: str) -> None:
    told = await scene.client.chat("affinity", X_Priority=value)
    assert (told.status, told.text) == (400, "X-Priority must be one of critical, default, sheddable, batch")
    assert told.headers["x-request-id"]
