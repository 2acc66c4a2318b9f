"""A gateway process, upstreams on real sockets, and what the admin port says of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.e2e.conftest import StartGateway
from tests.e2e.faulty import Exchange, FaultyServer
from tests.e2e.harness import Answer, Call, Gateway, chat

TOKEN = "a-token-for-the-tests-of-resilience"


class Scene:
    """One route, ``m``; each upstream is a target of it."""

    def __init__(self, gateway: Gateway, upstreams: Sequence[FaultyServer]) -> None:
        self.gateway = gateway
        self.upstreams = upstreams
        (self._admin,) = [line["admin"] for line in gateway.log_lines() if line["event"] == "serving"]

    async def ask(self, request_id: str, *, stream: bool = True, **headers: str) -> Answer:
        """One whole exchange on a connection of its own. Headers with _ for -."""
        async with self.call(request_id, stream=stream, **headers) as call:
            return await call.rest()

    def call(self, request_id: str, *, stream: bool = True, **headers: str) -> Call:
        given = {name.replace("_", "-"): value for name, value in headers.items()} | {"X-Request-ID": request_id}
        return Call(f"{self.gateway.url}/v1/chat/completions", chat("m", stream=stream), given)

    async def target(self, name: str) -> dict[str, Any]:
        """What the admin API tells of a target."""
        async with Call(f"{self._admin}/admin/targets", headers={"Authorization": f"Bearer {TOKEN}"}) as call:
            told = (await call.rest()).json["targets"]
        (found,) = [target for target in told if target["target"].partition("/")[0] == name]
        return dict(found)

    async def breaker(self, name: str) -> dict[str, Any]:
        return dict((await self.target(name))["guards"]["breaker"])

    async def metric(self, name: str) -> float:
        """One that has no labels."""
        async with Call(f"{self.gateway.url}/metrics") as call:
            text = (await call.rest()).body.decode()
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    async def in_flight(self) -> int:
        return sum((await self.gateway.in_flight()).values())

    async def quiet(self) -> bool:
        return await self.in_flight() == 0


async def open_scene(
    gateway: StartGateway, *upstreams: FaultyServer, targets: Sequence[Mapping[str, Any]] = (), **settings: Any
) -> Scene:
    """``targets``: what their settings hold beside the provider, one for each upstream. ``settings`` whose name is a route's go there,
    the others are what ``defaults`` would hold.
    """
    of_route = {name: settings.pop(name) for name in ("strategy", "hedge") if name in settings}
    more: Sequence[Mapping[str, Any]] = targets or [{} for _ in upstreams]
    config = {
        "providers": [{"name": one.name, "kind": "openai-compatible", "base_url": one.url} for one in upstreams],
        "routes": [
            {
                "model": "m",
                "targets": [
                    {"provider": one.name, "model": "x", **own} for one, own in zip(upstreams, more, strict=True)
                ],
                **of_route,
            }
        ],
        "defaults": settings,
        "admin": {"token": TOKEN},
        "server": {"drain_seconds": 1},
    }
    return Scene(await gateway(config), upstreams)


def posts(upstream: FaultyServer) -> list[Exchange]:
    """The calls for inference that reached it: a probe is a GET."""
    return [exchange for exchange in upstream.exchanges if exchange.head.startswith(b"POST")]
