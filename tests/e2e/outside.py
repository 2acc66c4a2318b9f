"""What the tests by number share: a gateway in front of upstreams that play a script per model, chance and memory."""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from tests.e2e.faulty import Exchange, Fault, FaultyServer, ok
from tests.e2e.harness import Gateway
from tests.e2e.wire_http import CHAT, Response, Wire, post

MB = 1_000_000


def dice() -> Random:
    """Chance whose seed is printed; SEED=… repeats a run."""
    seed = int(os.environ.get("SEED") or secrets.randbelow(2**32))
    print(f"SEED={seed}")
    return Random(seed)


def memory(pid: int, what: str = "VmRSS") -> float:
    """In MB of 10^6 bytes; VmHWM is the peak."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / MB


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def ask(model: str, *, stream: bool = False, **more: Any) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}], **more}


async def refused(gateway: Gateway, answer: Response, status: int, code: str | None = None) -> dict[str, Any]:
    """A refusal as it must be: the one error shape, its id, and exactly one log line."""
    assert answer.status == status, (answer.status, answer.body[:300])
    assert answer.whole
    error = answer.error
    assert code in (None, error["code"]), error
    line = await gateway.log_line(answer.header("x-request-id"))
    assert line["status"] == status
    return error


def says(*payloads: bytes, **headers: str) -> Fault:
    """A streamed answer, each payload in a chunk of its own. Keyword arguments are headers, with _ for -."""

    async def script(x: Exchange) -> None:
        await x.begin(headers={name.replace("_", "-"): value for name, value in headers.items()})
        await x.say(*payloads)
        await x.end()

    return script


def replies(body: bytes, code: int = 200, media_type: str = "application/json", **headers: str) -> Fault:
    async def script(x: Exchange) -> None:
        await x.reply(code, body, media_type, {name.replace("_", "-"): value for name, value in headers.items()})

    return script


class Stage:
    """``up`` alone serves every model; for the model "two" ``spare`` stands behind it. "short" has short timeouts."""

    def __init__(self, gateway: Gateway, up: FaultyServer, spare: FaultyServer) -> None:
        self.gateway = gateway
        self.up = up
        self.spare = spare
        self._models = itertools.count(1)
        self._scripts: dict[str, Fault] = {}
        up.fault = self._act

    def play(self, script: Fault) -> str:
        """The model that ``up`` answers with ``script`` from now on."""
        model = f"m{next(self._models)}"
        self._scripts[model] = script
        return model

    def put_on(self, model: str, script: Fault) -> None:
        self._scripts[model] = script

    def calls(self, model: str) -> list[Exchange]:
        return [one for one in self.up.exchanges if one.model == model]

    async def ask(self, body: bytes | Mapping[str, Any], *headers: str, path: str = CHAT) -> Response:
        async with Wire(self.gateway.url) as wire:
            await wire.send(post(body, *headers, path=path))
            return await wire.response()

    async def direct(self, body: bytes | Mapping[str, Any], *headers: str, path: str = CHAT) -> Response:
        """The same request to the upstream itself."""
        async with Wire(self.up.url) as wire:
            await wire.send(post(body, *headers, path=path))
            return await wire.response()

    async def quiet(self) -> bool:
        return not await self.gateway.in_flight()

    async def _act(self, x: Exchange) -> None:
        await self._scripts.get(x.model, ok)(x)


SHORT = {"first_token": 0.3, "idle": 0.15, "attempt": 0.4, "connect": 0.3}


# What one request meets is shown on these stages; what many of them lead to, in resilience/. So nothing is remembered here.
OFF = {"enabled": False}
UNPROTECTED = {
    "retry": {"backoff": {"base": 0.01, "throttle_base": 0.01}, "budget": OFF, "concurrency": OFF, "dont_retry": OFF},
    "breaker": OFF,
    "throttle": OFF,
    "concurrency": OFF,
}


@asynccontextmanager
async def open_stage(folder: Path, server: Mapping[str, Any], **sections: Any) -> AsyncGenerator[Stage]:
    """``server`` and ``sections`` go into the gateway's configuration."""
    async with FaultyServer("up", "ok") as up, FaultyServer("spare", "ok") as spare:
        first: Sequence[Mapping[str, Any]] = [{"provider": "up"}]
        config = {
            "server": {**server},
            "providers": [provider("up", up.url), provider("spare", spare.url)],
            "routes": [
                {"model": "*", "targets": first},
                {"model": "two", "targets": [*first, {"provider": "spare", "tier": 1}]},
                {"model": "short", "targets": first, "timeouts": SHORT},
                {"model": "renamed", "targets": [{"provider": "up", "model": 'models/"one"'}]},
            ],
            "defaults": UNPROTECTED,
        }
        async with running(config | sections, folder) as gateway:
            yield Stage(gateway, up, spare)


@asynccontextmanager
async def running(config: Mapping[str, Any], folder: Path) -> AsyncGenerator[Gateway]:
    """A gateway that leaves cleanly, and whose log tells each request once."""
    gateway = Gateway(config, folder)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.terminate()
    ids = [line["request_id"] for line in gateway.log_lines() if line["event"] == "request"]
    assert len(ids) == len(set(ids)), "a request has two log lines"


def provider(name: str, url: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "openai-compatible", "base_url": url, **more}
