"""One line a request, with its attempts. No content, no keys, no header but the request id."""

from __future__ import annotations

from time import perf_counter

import structlog

from app.api.exchange import Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")


def access_log(exchange: Exchange) -> None:
    """Milliseconds throughout. ``end`` is complete, cut or client_closed."""
    attempts = [{"target": t.name, "outcome": t.label, "ms": _ms(t.seconds)} for t in exchange.attempts]
    first_byte = exchange.first_byte
    usage = exchange.usage
    log.info(
        "request",
        request_id=exchange.request_id,
        method=exchange.method,
        path=exchange.path,
        status=exchange.status,
        model=exchange.model,
        stream=exchange.stream,
        target=exchange.target,
        route_reason=exchange.route_reason,
        attempts=attempts,
        duration_ms=_ms(perf_counter() - exchange.started),
        first_byte_ms=None if first_byte is None else _ms(first_byte - exchange.started),
        waited_ms=_ms(exchange.waited),
        tokens_in=None if usage is None else usage.input_tokens,
        tokens_out=None if usage is None else usage.output_tokens,
        bytes_in=exchange.bytes_in,
        bytes_out=exchange.bytes_out,
        client=exchange.client,
        end=exchange.end,
        error=exchange.error,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
