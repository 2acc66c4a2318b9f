"""Structured logs on standard output: JSON lines, or coloured text where a person is watching."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from app.observability.sink import Output, standard_output


class _NoIncompleteResponse(logging.Filter):
    """Aborting a stream that broke is done by not completing it; uvicorn would call that an error each time."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


def configure(level: str, *, colours: bool | None = None) -> None:
    """``level`` is a name of ``logging``. ``colours`` None means: if standard output is a terminal."""
    if colours is None:
        colours = sys.stdout.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]
    if colours:
        timestamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        console = structlog.dev.ConsoleRenderer(colors=True, sort_keys=False)
        shared = [structlog.processors.add_log_level, timestamp, console, _encoded]
    else:
        shared.append(structlog.processors.JSONRenderer(serializer=_dumps))
    lines = _Lines(standard_output())
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    _join_uvicorn(level)


class _Lines:
    """structlog's own has a lock, and who logs from the garbage collector, in the middle of a line, would wait for himself."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def msg(self, line: bytes) -> None:
        self._out.write(line + b"\n")

    log = debug = info = warn = warning = error = err = critical = fatal = failure = exception = msg


def _encoded(_logger: Any, _method: str, line: Any) -> bytes:
    return str(line).encode(errors="backslashreplace")


def _dumps(event: Any, **_: Any) -> bytes:
    return orjson.dumps(event, default=str)


class _Forward(logging.Handler):
    """The standard library's records (uvicorn, asyncio, aiohttp) through the same door."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger("breakwater")
        log.log(record.levelno, record.getMessage(), source=record.name, exc_info=record.exc_info or None)


def _join_uvicorn(level: str) -> None:
    root = logging.getLogger()
    root.handlers = [_Forward()]
    root.setLevel(logging.WARNING if level != "DEBUG" else logging.INFO)
    logging.getLogger("uvicorn.error").addFilter(_NoIncompleteResponse())
