"""Read a request body: counted as it comes, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.api.asgi import Receive
from app.api.client_watch import ClientGone
from app.api.errors import ApiError
from router.time_limit import TimeLimit

DISCARD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BodyLimits:
    max_bytes: int
    receive_seconds: float


async def read_body(receive: Receive, declared: bytes | None, limits: BodyLimits) -> bytes:
    """The whole body. ``declared`` is the Content-Length. Raises ``ApiError`` (413, 408) or ``ClientGone``."""
    try:
        loop = asyncio.get_running_loop()
        with TimeLimit(loop, loop.time() + limits.receive_seconds):
            if declared is not None and declared.isdigit() and int(declared) > limits.max_bytes:
                await _discard(receive)
                raise _too_large(limits)
            return await _collect(receive, limits)
    except TimeoutError:
        raise ApiError(
            408,
            f"the request body did not arrive within {limits.receive_seconds:g} s",
            code="request_timeout",
            headers={"connection": "close", "x-should-retry": "false"},
        ) from None


async def _collect(receive: Receive, limits: BodyLimits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limits.max_bytes:
            if message.get("more_body", False):
                await _discard(receive)
            raise _too_large(limits)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _discard(receive: Receive) -> None:
    """Read on for a while, in the time that the body has: closing with unread bytes would reset the connection and
    hide our answer.
    """
    size = 0
    while size <= DISCARD_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def _too_large(limits: BodyLimits) -> ApiError:
    return ApiError(
        413,
        f"the request body is larger than {limits.max_bytes // 1_000_000} MB (server.max_body_mb)",
        code="request_too_large",
        headers={"connection": "close"},
    )
