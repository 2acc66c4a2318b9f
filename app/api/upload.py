"""A request body on its way up: never held, bounded in bytes, in pauses and in slowness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Protocol

from app.api.asgi import Receive
from app.api.client_watch import departure
from app.api.errors import ApiError
from app.api.exchange import Exchange

# OpenAI's largest file, 512 MiB, and what multipart wraps around it.
MAX_UPLOAD_BYTES = 550_000_000
# A body that drips holds a connection upstream as well as ours.
SLOWEST_BYTES_PER_SECOND = 1000


class Write(Protocol):
    def __call__(self, part: bytes, *, more: bool) -> Awaitable[None]: ...


async def carry_up(exchange: Exchange, receive: Receive, write: Write, pause: float) -> None:
    """Hand the whole body to ``write``, then listen on until the client leaves: so it ends by cancellation or raises.

    ``pause`` is how many seconds may pass without a byte. Raises ``ApiError`` (408, 413, 400) or ``ClientGone``.
    """
    clock = asyncio.get_running_loop().time
    waited = 0.0
    more = True
    while more:
        began = clock()
        try:
            async with asyncio.timeout(min(pause, pause - waited + exchange.bytes_in / SLOWEST_BYTES_PER_SECOND)):
                message = await receive()
        except TimeoutError:
            raise _too_slow(pause) from None
        waited += clock() - began
        if message["type"] == "http.disconnect":
            raise departure(message)
        part = message.get("body", b"")
        exchange.bytes_in += len(part)
        if exchange.bytes_in > MAX_UPLOAD_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
        await write(part, more=more)
    while (message := await receive())["type"] != "http.disconnect":
        pass
    raise departure(message)


def check_length(headers: Mapping[bytes, bytes]) -> None:
    """Raises ``ApiError`` 413 for a body that says beforehand that it is too large."""
    if int(headers.get(b"content-length", b"0")) > MAX_UPLOAD_BYTES:
        raise _too_large()


def _too_large() -> ApiError:
    message = f"the request body is larger than {MAX_UPLOAD_BYTES // 1_000_000} MB, which no upload may be"
    return ApiError(413, message, code="request_too_large", headers={"connection": "close"})


def _too_slow(pause: float) -> ApiError:
    message = (
        f"the request body came too slowly: nothing for {pause:g} s, or less than {SLOWEST_BYTES_PER_SECOND} bytes/s"
    )
    headers = {"connection": "close", "x-should-retry": "false"}
    return ApiError(408, message, code="request_timeout", headers=headers)
