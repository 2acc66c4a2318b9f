from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.admin.app import Admin
from app.main import create_app
from app.settings import load
from app.wiring import Gateway, build

TOKEN = "hush-hush-this-is-the-token"
CONFIG = """
providers:
  - {name: left, kind: mock, ttft: 0, token_interval: 0, tokens: 5}
  - {name: right, kind: mock, ttft: 0, token_interval: 0, tokens: 5}
  - {name: broken, kind: mock, ttft: 0, error_rate: 1}
  - {name: cloud, kind: openai, api_key: sk-canary-api-key, headers: {X-Org: canary-header}, base_url: "http://127.0.0.1:9/v1"}
routes:
  - {model: m, targets: [{provider: left, model: a, weight: 3}, {provider: right, model: b}, {provider: cloud, weight: 0}]}
  - {model: failing, targets: [{provider: broken}, {provider: left, model: a, tier: 1}]}
  - {model: dead, targets: [{provider: broken}]}
  - model: tried
    targets: [{provider: left, model: a}, {provider: right, model: b}]
    experiments: [{name: side, arms: [{name: old, providers: [left], share: 0.5}, {name: new, providers: [right], share: 0.5}]}]
  - {model: "*", targets: [{provider: right}]}
admin: {token: hush-hush-this-is-the-token}
defaults: {retry: {backoff: {base: 0}}}
"""


class Desk:
    """Both ports of a gateway, without sockets. ``admin`` sends the token unless told otherwise."""

    def __init__(self, gateway: Gateway, parts: Admin) -> None:
        self.gateway = gateway
        self.edge = parts.edge(TOKEN, fresh=lambda: None)
        self.parts = parts
        self.data_app = create_app(gateway, listeners=parts.listeners)
        self._admin = self._client(self.edge, {"Authorization": f"Bearer {TOKEN}"})
        self._stranger = self._client(self.edge, {})
        self._data = self._client(self.data_app, {})

    @staticmethod
    def _client(app: Any, headers: dict[str, str]) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False, client=("127.0.0.1", 4000))
        return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001", headers=headers)

    async def admin(self, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        return await self._admin.request(method, path, json=body, **more)

    async def stranger(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return await self._stranger.request(method, path, **more)

    async def data(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return await self._data.request(method, path, **more)

    async def get(self, path: str) -> Any:
        answer = await self.admin("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def chat(
        self, model: str, request_id: str = "r1", *, stream: bool = False, **headers: str
    ) -> httpx2.Response:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "secret words"}]}
        given = {name.replace("_", "-"): value for name, value in headers.items()} | {"X-Request-ID": request_id}
        return await self.data("POST", "/v1/chat/completions", json=body, headers=given)

    async def state(self, target: str) -> Any:
        (found,) = [one for one in (await self.get("/admin/targets"))["targets"] if one["target"] == target]
        return found

    async def aclose(self) -> None:
        for client in (self._admin, self._stranger, self._data):
            await client.aclose()


def error_of(answer: httpx2.Response) -> Any:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "breakwater.yaml").write_text(CONFIG)
    gateway = build(load(None, {}, tmp_path).settings, started=1)
    one = Desk(gateway, Admin(gateway))
    yield one
    await one.aclose()
    assert all(not live.in_flight for live in gateway.lives.values())
    await gateway.aclose()
