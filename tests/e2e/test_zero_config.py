"""`breakwater serve` without a file: the variables that SDKs and servers use are enough, and nonsense in them is told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from waiting import free_port

from tests.e2e.faulty import FaultyServer, refusing
from tests.e2e.harness import ROOT, Answer, Call, chat, eventually, get

KEY = "sk-canary-0123456789abcdef"
KEYED = {"OPENAI_API_KEY": KEY}


class Zero:
    """`breakwater serve` in an empty folder, with these variables and no others."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "output.log"
        any_port = {"BREAKWATER_SERVER__METRICS_PORT": "0", "BREAKWATER_SERVER__ADMIN_PORT": "0"}
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **any_port}
        command = [sys.executable, "-m", "app.cli.main", "serve", "--port", str(self.port)]
        (folder / "empty").mkdir()
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                command, cwd=folder / "empty", env=own | environment, stdout=sink, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    async def healthy(self) -> bool:
        assert self.process.poll() is None, self.output
        try:
            return (await get(f"{self.url}/health")).status == 200
        except (OSError, asyncio.IncompleteReadError):
            return False

    async def ask(self, model: str = "any-model", request_id: str = "r", pin: str = "") -> Answer:
        headers = {"X-Request-ID": request_id} | ({"X-Provider-Priority": pin} if pin else {})
        async with Call(f"{self.url}/v1/chat/completions", chat(model, stream=False), headers) as call:
            return await call.rest()

    async def leave(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 20)


Serve = Callable[..., Awaitable[Zero]]


@pytest_asyncio.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts a gateway with these variables; it must leave cleanly and must never have told the key."""
    started: list[Zero] = []

    async def start(**environment: str) -> Zero:
        one = Zero(tmp_path, environment)
        started.append(one)
        await eventually(one.healthy, within=20)
        return one

    yield start
    for one in started:
        assert await one.leave() == 0, one.output
        assert "Traceback" not in one.output
        assert KEY not in one.output


def bearer(server: FaultyServer) -> list[str | None]:
    """The key of each request that the upstream got."""
    return [dict(exchange.headers).get("authorization") for exchange in server.exchanges]


async def test_a_key_and_a_base_url(serve: Serve) -> None:
    async with FaultyServer("up", "ok") as upstream:
        gateway = await serve(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=upstream.url, LOG_LEVEL="DEBUG")
        answer = await gateway.ask("gpt-4o-mini")
        assert (answer.status, answer.text) == (200, "hello from up")
        assert answer.headers["x-target"] == "openai/gpt-4o-mini"
        assert bearer(upstream) == [f"Bearer {KEY}"]
        shown = [
            (await get(f"{gateway.url}{path}")).body for path in ("/ready", "/metrics", "/v1/models", "/openapi.json")
        ]
    assert KEY.encode() not in b"".join([answer.body, *shown]) + repr(answer.headers).encode()
    assert "the environment (OPENAI_API_KEY, OPENAI_BASE_URL)" in gateway.output


async def test_a_base_url_without_a_key(serve: Serve) -> None:
    """A local server needs none, and the address of the server alone is enough."""
    async with FaultyServer("up", "ok") as upstream:
        gateway = await serve(OPENAI_BASE_URL=upstream.url.removesuffix("/v1"))
        assert (await gateway.ask()).text == "hello from up"
        assert bearer(upstream) == [None]
        assert upstream.exchanges[0].head.startswith(b"POST /v1/chat/completions ")


async def test_every_upstream_and_their_weights(serve: Serve) -> None:
    async with FaultyServer("a", "ok") as a, FaultyServer("b", "ok") as b, FaultyServer("c", "ok") as c:
        gateway = await serve(
            OPENAI_API_KEY=KEY,
            OPENAI_BASE_URL=a.url,
            VLLM_URL=b.url,
            BACKEND_URL=c.url,
            PROVIDER_WEIGHTS='{"openai": 30, "vllm": 10, "backend": 0}',
        )
        answers = [await gateway.ask(request_id=f"r{number}") for number in range(60)]
        counts = Counter(answer.headers["x-provider"] for answer in answers)
        assert {answer.status for answer in answers} == {200}
        assert counts["openai"] > counts["vllm"] > 0 == counts["backend"]
        assert (await gateway.ask(pin="backend")).text == "hello from c"
        assert bearer(c) == [None]
        assert set(bearer(b)) == {None}


async def test_it_fails_over_from_one_to_the_other(serve: Serve) -> None:
    with refusing() as nobody:
        async with FaultyServer("up", "ok") as upstream:
            gateway = await serve(
                VLLM_URL=nobody,
                BACKEND_URL=upstream.url,
                PROVIDER_WEIGHTS='{"vllm": 1000000, "backend": 0.000001}',
            )
            answer = await gateway.ask()
            assert answer.text == "hello from up"
            assert answer.headers["x-route-reason"] == "failover"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OPENAI_BASE_URL": "localhost:8000"}, "environment OPENAI_BASE_URL: providers[0].base_url: must begin with http:// or https://"),
        ({"VLLM_URL": "vllm:8000/v1"}, "environment VLLM_URL: providers[0].base_url: must begin with http:// or https://"),
        ({"BACKEND_URL": "ftp://h"}, "environment BACKEND_URL: providers[0].base_url: must be an address such as https://host/v1"),
        ({"BACKEND_URL": "http://models.example.com"}, "BREAKWATER_PROVIDERS__0__NETWORK=private if the server is in your own network"),
        ({"BACKEND_URL": "http://169.254.169.254"}, "environment BACKEND_URL: providers[0].base_url: could never be reached: its address is link-local"),
        (KEYED | {"PROVIDER_WEIGHTS": '{"opnai": 1}'}, 'environment PROVIDER_WEIGHTS: opnai: unknown provider; did you mean "openai"?'),
        (KEYED | {"PROVIDER_WEIGHTS": '{"openai": 0}'}, "environment PROVIDER_WEIGHTS: routes[0].targets[0].weight: every weight of the route is 0"),
        (KEYED | {"PROVIDER_WEIGHTS": '{"openai": "many"}'}, "environment PROVIDER_WEIGHTS: openai: must be a number >= 0"),
        (KEYED | {"PROVIDER_WEIGHTS": "openai=70"}, "environment PROVIDER_WEIGHTS: must be a JSON object of providers and weights"),
        ({"OPENAI_API_KEY": f"{KEY}\nx"}, "environment OPENAI_API_KEY: providers[0].api_key: contains a line break"),
        (KEYED | {"HOST": "0.0.0.0"}, "environment HOST: server.host: others could reach it here"),
        (KEYED | {"HOST": "::"}, "environment HOST: server.host: others could reach it here"),
        (KEYED | {"HOST": "192.168.1.7"}, "environment HOST: server.host: others could reach it here"),
        (KEYED | {"HOST": "gateway.example.com"}, "environment HOST: server.host: others could reach it here"),
    ],
)  # fmt: skip
async def test_nonsense_is_told_and_nothing_starts(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    one = Zero(tmp_path, environment)
    assert await asyncio.to_thread(one.process.wait, 20) == 1
    assert said in one.output
    assert "Traceback" not in one.output
    assert KEY not in one.output
