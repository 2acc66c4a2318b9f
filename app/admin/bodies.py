"""Request bodies of the admin API: bounded, read as JSON, and checked; what is wrong is a 400 that names the field."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect

from app.api.errors import ApiError
from app.api.fields import parse_object

SMALL_BYTES = 16 * 1024
RECEIVE_SECONDS = 10.0


class Body(BaseModel):
    """No value of it appears in an error: it may hold a configuration with a key in it."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


B = TypeVar("B", bound=Body)


def body_of(kind: type[B], most: int = SMALL_BYTES) -> Callable[[Request], Awaitable[B]]:
    """A dependency that reads a ``kind`` of ``most`` bytes. Raises ``ApiError`` 400, 408 or 413."""

    async def read(request: Request) -> B:
        fields = await read_object(request, most)
        try:
            return kind.model_validate(fields)
        except ValidationError as error:
            raise field_error(error) from None

    return read


async def read_object(request: Request, most: int = SMALL_BYTES) -> dict[str, Any]:
    size, parts = 0, []
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _too_large(most)
                parts.append(part)
    except TimeoutError:
        message = f"the request body did not arrive within {RECEIVE_SECONDS:g} s"
        raise ApiError(408, message, code="request_timeout", headers=_CLOSE) from None
    except ClientDisconnect:
        raise ApiError(400, "the request body ended too early", code="invalid_json") from None
    return parse_object(b"".join(parts))


def field_error(error: ValidationError) -> ApiError:
    """The first thing that is wrong."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    known = {"missing": "is missing", "extra_forbidden": "is not known here"}
    return ApiError(400, f"{name}: {known.get(first['type'], message)}", code="invalid_field", param=name or None)


def documented(kind: type[Body]) -> dict[str, Any]:
    """The request body's part of the OpenAPI document, which FastAPI cannot know."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


_CLOSE = {"connection": "close"}


def _too_large(most: int) -> ApiError:
    message = f"the request body is larger than {most // 1024} KiB"
    return ApiError(413, message, code="request_too_large", headers=_CLOSE)
