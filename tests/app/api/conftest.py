from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.api.asgi import App
from app.main import create_app
from app.settings import load
from app.wiring import Gateway, build

CONFIG = """
server: {max_body_mb: 0.01, receive_timeout_s: 0.2}
providers:
  - {name: fast, kind: mock, ttft: 0, token_interval: 0, tokens: 5}
  - {name: broken, kind: mock, ttft: 0, error_rate: 1}
  - {name: slow, kind: mock, ttft: 60}
  - {name: echo, kind: echo}
routes:
  - {model: demo, targets: [{provider: fast}, {provider: echo, tier: 1}, {provider: slow, weight: 0}]}
  - {model: failing, targets: [{provider: broken}, {provider: fast, tier: 1}]}
  - {model: dead, targets: [{provider: broken}]}
  - {model: stuck, targets: [{provider: slow}]}
defaults: {retry: {backoff: {base: 0}}}
"""


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def error(self) -> dict[str, Any]:
        error = orjson.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


class Client:
    """Drives the ASGI callable itself: what comes out is what a server would be told to send."""

    def __init__(self, app: App, gateway: Gateway) -> None:
        self.app = app
        self.gateway = gateway

    async def send(
        self,
        path: str = "/v1/chat/completions",
        body: bytes | dict[str, Any] = b"",
        method: str = "POST",
        receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
        **headers: str,
    ) -> Answer:
        answer = Answer()
        data = orjson.dumps(body) if isinstance(body, dict) else body
        given = {"content-length": str(len(data)), **{name.replace("_", "-"): value for name, value in headers.items()}}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 5000),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        }
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def default_receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            return await asyncio.get_running_loop().create_future()

        async def collect(message: Any) -> None:
            if message["type"] == "http.response.start":
                assert not answer.status, "a second status line"
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
                assert len(answer.headers) == len(message["headers"]), "a header twice"
            else:
                answer.body += message.get("body", b"")
                answer.whole = not message.get("more_body", False)

        await self.app(scope, receive or default_receive, collect)
        return answer


@pytest.fixture
async def client(tmp_path: Path) -> Any:
    (tmp_path / "breakwater.yaml").write_text(CONFIG)
    gateway = build(load(None, {}, tmp_path).settings, started=1)
    yield Client(create_app(gateway), gateway)
    assert all(t.live.in_flight == 0 for route in gateway.routes.named.values() for t in route.targets)
    await gateway.aclose()
