"""A gateway whose upstreams can be broken on purpose: what operators do at its admin port, and what clients see."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.faulty import FaultyServer
from tests.e2e.harness import ROOT, Answer, Call, Gateway, chat, eventually

TOKEN = "hush-hush-this-is-the-token"


class Site:
    """Route ``m`` has ``first`` and, in the next tier, ``spare``; route ``alone`` has ``only``, and no second attempt."""

    def __init__(self, gateway: Gateway, first: FaultyServer, spare: FaultyServer, http: httpx2.AsyncClient) -> None:
        self.gateway = gateway
        self.first = first
        self.spare = spare
        self.http = http
        self.admin_url = str(http.base_url)

    def call(self, name: str, model: str = "m", *, stream: bool = False, **headers: str) -> Call:
        """Headers with _ for -."""
        given = {key.replace("_", "-"): value for key, value in headers.items()} | {"X-Request-ID": name}
        return Call(f"{self.gateway.url}/v1/chat/completions", chat(model, stream=stream), given)

    async def ask(self, name: str, model: str = "m", *, stream: bool = False, **headers: str) -> Answer:
        async with self.call(name, model, stream=stream, **headers) as call:
            return await call.rest()

    async def begin(self, kind: str, target: str = "first", **more: Any) -> dict[str, Any]:
        answer = await self.http.post("/admin/faults", json={"kind": kind, "target": target, "ttl": 60, **more})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def stop_all(self) -> list[str]:
        return list((await self.http.post("/admin/faults/stop")).json()["stopped"])

    async def faults(self) -> dict[str, Any]:
        return dict((await self.http.get("/admin/faults")).json())

    async def fault(self, fault_id: str) -> dict[str, Any]:
        """One that acts or that has ended."""
        listed = await self.faults()
        (found,) = [one for one in listed["faults"] + listed["ended"] if one["id"] == fault_id]
        return dict(found)

    async def stopped(self, fault_id: str, within: float) -> dict[str, Any]:
        async def over() -> dict[str, Any] | None:
            one = await self.fault(fault_id)
            return one if one["stopped"] else None

        one = await eventually(over, within=within)
        assert one is not None
        return one

    async def active(self, number: int) -> None:
        """Until so many attempts are under a fault."""

        async def so_many() -> bool:
            return sum(one["active"] for one in (await self.faults())["faults"]) == number

        await eventually(so_many, within=5)

    async def metric(self, name: str) -> dict[str, float]:
        """By target."""
        async with Call(f"{self.gateway.url}/metrics") as call:
            page = (await call.rest()).body.decode()
        found = re.findall(rf'^{name}{{.*target="([^"]*)".*}} (\S+)$', page, re.MULTILINE)
        return {target: float(value) for target, value in found}

    async def command(self, *arguments: str) -> asyncio.subprocess.Process:
        """`breakwater fault …`, with the token in its environment."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "BREAKWATER_ADMIN__TOKEN": TOKEN}
        out = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "app.cli.main", "fault", *arguments]
        return await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=out, stderr=asyncio.subprocess.STDOUT
        )


@asynccontextmanager
async def open_site(folder: Path, **more: Any) -> AsyncGenerator[Site]:
    async with AsyncExitStack() as stack:
        first, spare, only = [
            await stack.enter_async_context(FaultyServer(name, "ok")) for name in ("first", "spare", "only")
        ]
        gateway = Gateway(_config(first, spare, only) | more, folder)
        stack.push_async_callback(gateway.terminate)
        await gateway.start()
        (admin,) = [line["admin"] for line in gateway.log_lines() if line["event"] == "serving"]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=admin, headers=headers, timeout=10))
        yield Site(gateway, first, spare, http)


def _config(*upstreams: FaultyServer) -> Mapping[str, Any]:
    first, spare, only = upstreams
    return {
        "providers": [
            {"name": one.name, "kind": "openai-compatible", "base_url": one.url} for one in (first, spare, only)
        ],
        "routes": [
            {"model": "m", "targets": [{"provider": "first", "model": "f"}, {"provider": "spare", "tier": 1}]},
            {"model": "alone", "targets": [{"provider": "only", "model": "o"}], "retry": {"max_attempts": 1}},
        ],
        "defaults": {
            "retry": {"backoff": {"base": 0}},
            "breaker": {"enabled": False},
            "concurrency": {"enabled": False},
        },
        "passthrough": {"provider": "first", "paths": ["/v1/files"]},
        "admin": {"token": TOKEN},
        "server": {"drain_seconds": 2},
    }
