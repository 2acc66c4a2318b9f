"""Probes on real sockets: who was ejected is asked before traffic returns, and who idles if that is wanted."""

from __future__ import annotations

import signal
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartGateway
from tests.e2e.faulty import ok
from tests.e2e.harness import Gateway, eventually
from tests.e2e.routing.conftest import OpenClient, StartUpstream
from tests.e2e.routing.town import Client, Upstream, configuration, counted, targets

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN_BASE = 0.4  # open for 0.4 to 0.6 s at first
QUICK: Any = {
    "breaker": {"consecutive": 3, "open_base": OPEN_BASE, "half_open": 1},
    "probing": {"timeout": 0.2},
    "retry": {"max_attempts": 1},
}


class Scene(NamedTuple):
    gateway: Gateway
    client: Client

    async def state(self, target: str) -> str:
        samples = await counted(self.gateway, "breakwater_breaker_state")
        return next(state for name, state in samples if name == target)

    async def is_in(self, target: str, state: str) -> bool:
        return await self.state(target) == state

    async def eject(self, server: Upstream) -> float:
        """Three failures; when the last was."""
        server.play("m", "status_500")
        for _ in range(3):
            assert (await self.client.chat("m", X_Provider_Priority=server.name)).status == 502
        assert await self.is_in(f"{server.name}/m", "open")
        return server.asked("m")[-1].at


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(upstream: StartUpstream) -> dict[str, Upstream]:
    return {name: await upstream(name) for name in ("well", "sick", "silent", "denies", "idle", "other")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(servers: dict[str, Upstream], gateway: StartGateway, client: OpenClient) -> Scene:
    everyone = targets("m", *servers)
    for target in everyone:
        target["weight"] = 1
        if target["provider"] == "idle":
            target["probing"] = {"timeout": 0.2, "idle": 0.3}
    everyone.append({"provider": "inside", "model": "m"})
    config = configuration(list(servers.values()), [{"model": "m", "targets": everyone, **QUICK}])
    config["providers"].append({"name": "inside", "kind": "mock", "ttft": 0, "token_interval": 0, "error_rate": 1})
    one = await gateway(config)
    return Scene(one, await client(one))


def probed(server: Upstream, fault: str) -> None:
    """How it answers when it is asked for its models. What it does for "m" is said by ``play``."""
    server.play("None", fault)


async def test_a_target_is_asked_before_its_end_and_then_traffic_is_the_judge(
    scene: Scene, servers: dict[str, Upstream]
) -> None:
    server = servers["well"]
    opened = await scene.eject(server)
    calls = len(server.asked("m"))
    probe = (await eventually(lambda: server.probes, within=2.0))[0]
    assert OPEN_BASE - 0.2 - 0.05 <= probe.at - opened <= OPEN_BASE * 1.5
    assert b"GET /v1/models HTTP/1.1" in probe.head
    assert await scene.is_in("well/m", "open"), "a probe that succeeds closes nothing"
    refused = await scene.client.chat("m", X_Provider_Priority="well")
    assert (refused.status, refused.attempts) == (503, [])
    await eventually(lambda: scene.is_in("well/m", "half_open"), within=1.0)
    assert len(server.asked("m")) == calls
    server.play("m", ok)
    assert (await scene.client.chat("m", X_Provider_Priority="well")).status == 200
    assert await scene.is_in("well/m", "closed")
    assert len(server.probes) == 1


@pytest.mark.parametrize(("name", "fault"), [("sick", "status_503"), ("silent", "hang_before_headers")])
async def test_while_probes_fail_no_client_has_to_find_out(
    scene: Scene, servers: dict[str, Upstream], name: str, fault: str
) -> None:
    server = servers[name]
    probed(server, fault)
    await scene.eject(server)
    calls = len(server.asked("m"))
    await eventually(lambda: len(server.probes) >= 2, within=4.0)  # open for 0.4, then for 0.8 s
    assert await scene.is_in(f"{name}/m", "open")
    for _ in range(3):
        assert (await scene.client.chat("m", X_Provider_Priority=name)).status == 503
    assert len(server.asked("m")) == calls
    probed(server, "ok")
    await eventually(lambda: scene.is_in(f"{name}/m", "half_open"), within=4.0, every=0.05)
    server.play("m", ok)
    assert (await scene.client.chat("m", X_Provider_Priority=name)).status == 200
    assert await scene.is_in(f"{name}/m", "closed")


async def test_whoever_denies_the_list_is_there_all_the_same(scene: Scene, servers: dict[str, Upstream]) -> None:
    server = servers["denies"]
    probed(server, "status_401")
    await scene.eject(server)
    await eventually(lambda: scene.is_in("denies/m", "half_open"), within=2.0, every=0.05)
    assert len(server.probes) == 1


async def test_who_idles_is_asked_and_ejected_before_a_client_meets_it(
    scene: Scene, servers: dict[str, Upstream]
) -> None:
    server = servers["idle"]
    asked = len(server.probes)
    await eventually(lambda: len(server.probes) >= asked + 2, within=2.0)
    assert await scene.is_in("idle/m", "closed")
    probed(server, "reset_before_headers")
    await eventually(lambda: scene.is_in("idle/m", "open"), within=3.0, every=0.05)
    assert server.asked("m") == []
    probed(server, "ok")
    await eventually(lambda: scene.is_in("idle/m", "half_open"), within=5.0, every=0.05)


async def test_without_idle_nobody_is_asked_who_was_not_ejected(scene: Scene, servers: dict[str, Upstream]) -> None:
    for _ in range(3):
        await scene.client.chat("m", X_Provider_Priority="other")
    assert servers["other"].probes == []


async def test_who_cannot_be_asked_is_half_open_by_the_clock_alone(scene: Scene) -> None:
    for _ in range(3):
        assert (await scene.client.chat("m", X_Provider_Priority="inside")).status == 502
    assert await scene.is_in("inside/m", "open")
    await eventually(lambda: scene.is_in("inside/m", "half_open"), within=2.0, every=0.05)


async def test_a_gateway_stops_cleanly_while_it_asks(
    upstream: StartUpstream, gateway: StartGateway, client: OpenClient
) -> None:
    server = await upstream("hanging")
    probed(server, "hang_before_headers")
    quick = QUICK | {"probing": {"timeout": 5, "idle": 0.1}}
    one = await gateway(configuration([server], [{"model": "m", "targets": targets("m", "hanging"), **quick}]))
    probe = (await eventually(lambda: server.probes, within=2.0))[0]
    one._process.send_signal(signal.SIGTERM)
    await one.gone()
    assert await eventually(lambda: probe.abandoned_at)
