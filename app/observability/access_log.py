"""One line a request, with its attempts. No content, no keys, no header but the request id."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter, time
from typing import Any

import orjson
import structlog

from app.api.exchange import Exchange
from app.observability.sink import standard_output
from router import Decision

Facts = dict[str, Any]
NOTHING_DECIDED = Decision()


class AccessLog:
    """A listener: JSON lines are made and written together."""

    def __init__(self, *, colours: bool | None = None) -> None:
        """``colours`` None means: if standard output is a terminal."""
        self._colours = sys.stdout.isatty() if colours is None else colours

    def __call__(self, exchanges: Sequence[Exchange]) -> None:
        wall = time() - perf_counter()
        lines = [facts(exchange, datetime.fromtimestamp(wall + exchange.ended, UTC)) for exchange in exchanges]
        if self._colours:
            for line in lines:
                _for_people(line)
            return
        standard_output().write(b"".join([orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines]))


def facts(exchange: Exchange, at: datetime) -> Facts:
    """Milliseconds throughout, as orjson writes it. ``end`` is complete, cut or client_closed; ``at``: when. ``faults`` only if some
    were injected.
    """
    first_byte = exchange.first_byte
    usage, decision = exchange.usage, exchange.decision or NOTHING_DECIDED
    line = {
        "ts": at,
        "level": "info",
        "event": "request",
        "request_id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "model": exchange.model,
        "stream": exchange.stream,
        "target": exchange.target,
        "route_reason": decision.reason,
        "attempts": [{"target": t.name, "outcome": t.label, "ms": _ms(t.seconds)} for t in decision.tried],
        "duration_ms": _ms(exchange.ended - exchange.started),
        "first_byte_ms": None if first_byte is None else _ms(first_byte - exchange.started),
        "waited_ms": _ms(decision.waited),
        "tokens_in": None if usage is None else usage.input_tokens,
        "tokens_out": None if usage is None else usage.output_tokens,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "client": exchange.client,
        "end": exchange.end,
        "error": exchange.error,
    }
    if exchange.faults:
        line["faults"] = [{"fault": each.fault, "kind": each.kind, "target": each.target} for each in exchange.faults]
    return line


def _for_people(line: Facts) -> None:
    """On a terminal a line is read, not searched: only what a person looks for."""
    kept: Facts = {}
    if line["attempts"]:
        kept["attempts"] = " → ".join(f"{tried['target']}:{tried['outcome']}" for tried in line["attempts"])
    if "faults" in line:
        kept["faults"] = ", ".join(fault["fault"] for fault in line["faults"])
    kept |= {name: line[name] for name in ("route_reason", "tokens_out", "error") if line[name] is not None}
    if line["stream"] and line["first_byte_ms"] is not None:
        kept["first"] = f"{line['first_byte_ms']:.0f}ms"
    kept["took"] = f"{line['duration_ms']:.0f}ms"
    if line["end"] != "complete":
        kept["end"] = line["end"]
    log = structlog.get_logger("breakwater")
    say = log.warning if line["status"] >= 500 or line["end"] == "cut" else log.info
    path = line["path"].encode("unicode_escape").decode()  # a path may hold what a terminal would obey
    say(f"{line['status']} {path}", **kept)


def _ms(seconds: float) -> float:
    """To two places; a fifth of what ``round`` takes."""
    return int(seconds * 100_000 + 0.5) / 100
