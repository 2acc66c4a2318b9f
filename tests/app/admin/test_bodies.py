"""What is sent to the admin API is bounded and read with care."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.admin import bodies
from tests.app.admin.conftest import Desk, error_of

PATH = "/admin/targets/left/a/drain"


@pytest.mark.parametrize("path", [PATH, "/admin/routes/m/weights"])
async def test_s13_a_large_body_is_refused(desk: Desk, path: str) -> None:
    method = "PATCH" if path.endswith("weights") else "POST"
    answer = await desk.admin(method, path, content=b'{"reason": "' + b"x" * bodies.SMALL_BYTES + b'"}')
    assert (answer.status_code, error_of(answer)["code"]) == (413, "request_too_large")
    assert "16 KiB" in error_of(answer)["message"]
    assert answer.headers["connection"] == "close"


async def test_one_without_a_length_is_counted_as_it_comes(desk: Desk) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1024
            yield b"x" * 1024

    answer = await desk.admin("POST", PATH, content=endless())
    assert answer.status_code == 413
    assert taken <= bodies.SMALL_BYTES + 2048


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[" * 5000, "JSON"),
        (b'{"reason": ' + b"[" * 2000 + b"]" * 2000 + b"}", ""),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"reason": "\xff"}', "not valid JSON"),
        (b"5", "must be a JSON object"),
    ],
)
async def test_s13_what_is_no_json_is_a_400(desk: Desk, body: bytes, words: str) -> None:
    answer = await desk.admin("POST", PATH, content=body)
    assert answer.status_code == 400
    assert words in error_of(answer)["message"]


async def test_s15_a_body_that_does_not_come_is_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "RECEIVE_SECONDS", 0.05)
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer hush-hush-this-is-the-token")],
        "client": None,
    }
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": b'{"reason"', "more_body": True}]

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.get_running_loop().create_future()

    await desk.edge(scope, receive, send)
    assert sent[0]["status"] == 408
