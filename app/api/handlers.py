"""What FastAPI's own exceptions, and ours, become outside: the one error shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api.errors import ApiError, answer_for
from router import RouterError

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")


def answer_errors(app: FastAPI, listed: str = "/docs") -> None:
    """``listed``: where all paths can be seen, for those who ask for one that there is not."""
    handlers: dict[type[Exception], Callable[[Exception], Exception]] = {
        HTTPException: partial(_as_api_error, listed=listed),
        RequestValidationError: _as_field_error,
        ApiError: _itself,
        RouterError: _itself,
        Exception: _logged,
    }
    for kind, translate in handlers.items():
        app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Callable[[Exception], Exception]) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        answer = answer_for(translate(error))
        request.scope["exchange"].error = answer.code
        return Response(
            answer.encoded(), status_code=answer.status, headers=dict(answer.headers), media_type="application/json"
        )

    return handle


def _as_api_error(error: Exception, listed: str) -> Exception:
    """Starlette's own 404 and 405."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    codes = {404: "unknown_path", 405: "method_not_allowed"}
    message = f"no such path; {listed} lists them all" if error.status_code == 404 else str(error.detail)
    return ApiError(error.status_code, message, code=codes.get(error.status_code), headers=error.headers)


def _as_field_error(error: Exception) -> Exception:
    """A parameter of the path or the query: the first that is wrong."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for nothing else
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return ApiError(400, f"{name}: {first['msg']}", code="invalid_field", param=name)


def _itself(error: Exception) -> Exception:
    return error


def _logged(error: Exception) -> Exception:
    log.error("internal error", exc_info=error)
    return error
