"""Read a request body: counted as it comes, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.api.asgi import Receive
from app.api.client_watch import departure
from app.api.errors import ApiError
from router.time_limit import within


@dataclass(frozen=True, slots=True)
class BodyLimits:
    max_bytes: int
    receive_seconds: float


async def read_body(
    receive: Receive, declared: bytes | None, limits: BodyLimits, loop: asyncio.AbstractEventLoop
) -> bytes:
    """The whole body. ``declared`` is the Content-Length. Raises ``ApiError`` (413, 408, 400) or ``ClientGone``."""
    try:
        if declared is not None and declared.isdigit() and int(declared) > limits.max_bytes:
            raise _too_large(limits)
        return await within(limits.receive_seconds, _collect(receive, limits), loop)
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
            raise departure(message)
        part = message.get("body", b"")
        size += len(part)
        if size > limits.max_bytes:
            raise _too_large(limits)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limits: BodyLimits) -> ApiError:
    return ApiError(
        413,
        f"the request body is larger than {limits.max_bytes // 1_000_000} MB (server.max_body_mb)",
        code="request_too_large",
        headers={"connection": "close"},
    )
