"""Mirrors on real sockets: copies arrive, and whatever becomes of them, no caller notices."""

from __future__ import annotations

import asyncio
import signal
import statistics
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartGateway
from tests.e2e.faulty import refusing
from tests.e2e.harness import Gateway, chat, eventually, get
from tests.e2e.outside import provider
from tests.e2e.routing.conftest import OpenClient, StartUpstream
from tests.e2e.routing.town import Client, Upstream, after, configuration, counted, many, targets

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = {"connect": 0.5, "first_token": 0.6, "idle": 0.5, "attempt": 0.6, "total": 10}
# How the mirror behaves, and how its copies are counted.
BEHAVIOURS = {
    "ok": "200",
    "status_500": "500",
    "status_429": "429",
    "status_400": "400",
    "reset_before_headers": "disconnected",
    "cut_after_content": "disconnected",
    "not_http": "malformed",
    "hang_before_headers": "first_token_timeout",
    "hang_after_content": "idle_timeout",
    "pings_for_ever": "first_token_timeout",
}
CALLS = 12


class Scene(NamedTuple):
    gateway: Gateway
    client: Client
    main: Upstream
    mirror: Upstream

    async def outcomes(self, model: str) -> dict[str, float]:
        samples = await counted(self.gateway, "breakwater_mirror_total")
        return {outcome: count for (target, outcome), count in samples.items() if target == f"mirror/{model}"}


def mirrored(model: str, share: float = 1.0, **more: Any) -> dict[str, Any]:
    mirror = {"provider": "mirror", "model": model, "share": share}
    return {"model": model, "targets": targets(model, "main"), "mirror": mirror, "timeouts": SHORT, **more}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(upstream: StartUpstream, gateway: StartGateway, client: OpenClient) -> Scene:
    main, mirror = await upstream("main"), await upstream("mirror")
    gone = {"provider": "gone", "model": "gone", "share": 1.0}
    shared = {"provider": "mirror", "model": "shared", "share": 1.0}
    routes = [
        *map(mirrored, (*BEHAVIOURS, "copied", "flood", "slow", "fails")),
        mirrored("half", share=0.5),
        {"model": "plain", "targets": targets("plain", "main"), "timeouts": SHORT},
        mirrored("gone") | {"mirror": gone},
        *({"model": name, "targets": targets(name, "main"), "mirror": shared} for name in ("shared-1", "shared-2")),
        {"model": "pair", "targets": targets("pair", "main", "mirror"), "timeouts": SHORT}
        | {"mirror": {"provider": "mirror", "model": "pair", "share": 1.0}},
    ]
    with refusing() as url:
        config = configuration([main, mirror], routes)
        config["providers"].append(provider("gone", url))
        one = await gateway(config)
    return Scene(one, await client(one), main, mirror)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_copy_arrives_under_an_id_of_its_own(scene: Scene, stream: bool) -> None:
    name = f"copied-{stream}"
    told = await scene.client.chat("copied", stream=stream, words="What is copied?", X_Request_ID=name)
    assert (told.text, told.provider, told.attempts) == ("hello from main", "main", ["main/copied:200"])
    copy = await eventually(lambda: next((x for x in scene.mirror.asked("copied") if x.stream is stream), None))
    (original,) = [x for x in scene.main.asked("copied") if x.stream is stream]
    assert dict(copy.headers)["x-request-id"] == f"{name}-mirror"
    assert dict(original.headers)["x-request-id"] == name
    assert copy.fields == original.fields
    assert "authorization" not in dict(copy.headers)


async def latencies(client: Client, model: str) -> list[float]:
    """Of calls one after another, seconds each; every second one streamed."""
    loop = asyncio.get_running_loop()
    seconds = []
    for number in range(CALLS):
        began = loop.time()
        told = await client.chat(model, stream=number % 2 == 0)
        assert (told.status, told.text, told.attempts) == (200, "hello from main", [f"main/{model}:200"])
        seconds.append(loop.time() - began)
    return seconds


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_no_caller_notices_what_its_mirror_does(scene: Scene, behaviour: str) -> None:
    scene.mirror.play(behaviour, behaviour)
    if behaviour == "cut_after_content":
        scene.mirror.content_seen(behaviour, stream=True).set()
    without = await latencies(scene.client, "plain")
    mirrored = await latencies(scene.client, behaviour)
    assert statistics.median(mirrored) < statistics.median(without) + 0.05
    assert max(mirrored) < max(without) + 0.4, "the shortest that a mirror here could hold up a caller is 0.5 s"

    async def counts() -> dict[str, float] | None:
        outcomes = await scene.outcomes(behaviour)
        return outcomes if sum(outcomes.values()) == CALLS else None

    outcomes = await eventually(counts, within=3.0, every=0.05)
    assert outcomes[BEHAVIOURS[behaviour]] >= CALLS / 2, outcomes


async def test_nobody_there_is_no_matter_either(scene: Scene) -> None:
    await latencies(scene.client, "gone")
    samples = await counted(scene.gateway, "breakwater_mirror_total")
    assert samples["gone/gone", "unreachable"] == CALLS


async def test_a_call_that_fails_is_not_copied(scene: Scene) -> None:
    scene.main.play("fails", "status_500")
    told = await scene.client.chat("fails")
    assert told.status == 502
    assert scene.mirror.asked("fails") == []


async def test_a_caller_that_leaves_does_not_take_its_copy_along(scene: Scene) -> None:
    scene.main.play("slow", "hang_after_content")
    scene.mirror.play("slow", after(0.4))
    async with scene.gateway.call(chat("slow", stream=True), "leaving") as call:
        await call.until(b'"content": "')
        await eventually(lambda: scene.mirror.asked("slow"))
    assert await eventually(lambda: scene.main.asked("slow")[0].abandoned_at)

    async def counted_as_whole() -> bool:
        return await scene.outcomes("slow") == {"200": 1}

    await eventually(counted_as_whole)


async def test_its_share_is_copied(scene: Scene) -> None:
    asked = [(chat("half", stream=False), [f"X-Request-ID: h-{number}"]) for number in range(200)]
    await many(scene.gateway, asked)

    async def all_there() -> bool:
        return sum((await scene.outcomes("half")).values()) == len(scene.mirror.asked("half"))

    await eventually(all_there)
    assert 76 <= len(scene.mirror.asked("half")) <= 124  # 3.4 standard deviations


async def test_a_mirror_that_takes_too_long_gets_no_more_than_it_has_room_for(scene: Scene) -> None:
    scene.mirror.play("flood", "hang_before_headers")
    calls = 100
    answers = await many(scene.gateway, [(chat("flood", stream=True), ())] * calls)
    assert {answer.status for answer in answers} == {200}
    await eventually(lambda: _is_complete(scene, "flood", calls), within=3.0)
    outcomes = await scene.outcomes("flood")
    arrived = len(scene.mirror.asked("flood"))
    assert outcomes == {"dropped": calls - arrived, "first_token_timeout": arrived}
    assert 32 <= arrived < 64


async def _is_complete(scene: Scene, model: str, calls: int) -> bool:
    return sum((await scene.outcomes(model)).values()) == calls


async def test_two_routes_with_one_mirror_are_counted_together(scene: Scene) -> None:
    for model in ("shared-1", "shared-2", "shared-2"):
        await scene.client.chat(model)
    await eventually(lambda: _is_complete(scene, "shared", 3))


async def test_copies_are_in_no_other_number(scene: Scene) -> None:
    """Nor do they touch the state of a target that is a mirror besides."""
    scene.mirror.play("pair", "status_500")
    for _ in range(30):
        told = await scene.client.chat("pair", X_Provider_Priority="main")
        assert told.status == 200
    await eventually(lambda: _is_complete(scene, "pair", 30))
    requests = await counted(scene.gateway, "breakwater_requests_total")
    attempts = await counted(scene.gateway, "breakwater_attempts_total")
    assert {target.partition("/")[0] for _, target, *_ in requests} == {"main"}
    assert {target.partition("/")[0] for target, _ in attempts} == {"main"}
    assert requests["pair", "main/pair", "ok", ""] == 30
    states = await counted(scene.gateway, "breakwater_breaker_state")
    assert ("mirror/pair", "closed") in states
    assert await counted(scene.gateway, "breakwater_breaker_moves_total") == {}
    ready = (await get(f"{scene.gateway.url}/ready")).json["targets"]
    assert {target["in_flight"] for target in ready} == {0}
    ids = [line["request_id"] for line in scene.gateway.log_lines() if line["event"] == "request"]
    assert not [each for each in ids if each.endswith("-mirror")]


async def test_a_gateway_that_stops_does_not_wait_for_copies(
    upstream: StartUpstream, gateway: StartGateway, client: OpenClient
) -> None:
    main, mirror = await upstream("main"), await upstream("mirror")
    mirror.play("m", "hang_before_headers")
    one = await gateway(configuration([main, mirror], [mirrored("m") | {"timeouts": {"first_token": 60}}]))
    await (await client(one)).chat("m", stream=True)
    copy = (await eventually(lambda: mirror.asked("m")))[0]
    one._process.send_signal(signal.SIGTERM)
    await one.gone()
    assert await eventually(lambda: copy.abandoned_at)
