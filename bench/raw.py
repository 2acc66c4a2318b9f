"""The raw path: the least that a Python proxy on the same libraries does. ASGI in, aiohttp out, nothing between."""

from __future__ import annotations

import os
from typing import Any

import aiohttp

UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9100")
sessions: list[aiohttp.ClientSession] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Forward one POST: its body read whole, a stream's answer piece by piece and any other whole."""
    if scope["type"] != "http":
        return
    if not sessions:
        sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False))
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    url = UPSTREAM + scope["path"]
    async with sessions[0].post(url, data=body, headers={"content-type": "application/json"}) as response:
        kind = response.headers["content-type"].encode()
        if kind == b"text/event-stream":
            await send({"type": "http.response.start", "status": response.status, "headers": [(b"content-type", kind)]})
            async for piece in response.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            answer = b""
        else:
            answer = await response.read()
            headers = [(b"content-type", kind), (b"content-length", str(len(answer)).encode())]
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
