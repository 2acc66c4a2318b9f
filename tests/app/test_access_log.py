"""The one line a request: as JSON for machines, short for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from app.api.exchange import Exchange
from app.observability.access_log import AccessLog
from providers import Usage
from providers.mock import Mock, MockOptions
from router import Decision, Target
from router.types import Tried


@pytest.fixture
def exchange() -> Exchange:
    headers = [(b"authorization", b"Bearer sk-secret"), (b"x-request-id", b"r-1")]
    one = Exchange({"headers": headers, "method": "POST", "path": "/v1/completions", "client": ("10.0.0.9", 5)})
    target = Target(Mock("m", MockOptions()), None)
    one.status, one.stream, one.model, one.target = 200, True, "x", "b/x"
    one.decision = Decision()
    one.decision.reason = "failover"
    one.decision.tried = [Tried(target, "a/x", "503", 0.0012), Tried(target, "b/x", "200", 0.25)]
    one.first_byte = one.started + 0.3
    one.usage = Usage(3, 9)
    return one


def test_as_json_it_has_the_attempts_and_no_secret(exchange: Exchange, capfdbinary: Any) -> None:
    AccessLog(colours=False)([exchange])
    written = capfdbinary.readouterr().out
    line = orjson.loads(written)
    assert line["request_id"] == "r-1"
    assert line["attempts"] == [
        {"target": "a/x", "outcome": "503", "ms": 1.2},
        {"target": "b/x", "outcome": "200", "ms": 250.0},
    ]
    assert (line["tokens_in"], line["tokens_out"], line["first_byte_ms"], line["end"]) == (3, 9, 300.0, "complete")
    assert b"secret" not in written


def test_for_people_it_is_short(exchange: Exchange) -> None:
    with capture_logs() as lines:
        AccessLog(colours=True)([exchange])
    (line,) = lines
    assert line.pop("took").endswith("ms")
    assert line == {
        "event": "200 /v1/completions",
        "log_level": "info",
        "attempts": "a/x:503 → b/x:200",
        "route_reason": "failover",
        "tokens_out": 9,
        "first": "300ms",
    }


def test_what_broke_stands_out(exchange: Exchange) -> None:
    exchange.end, exchange.error = "cut", "upstream_error"
    with capture_logs() as lines:
        AccessLog(colours=True)([exchange])
    assert (lines[0]["log_level"], lines[0]["end"], lines[0]["error"]) == ("warning", "cut", "upstream_error")


def test_the_lines_of_a_batch_are_in_order(exchange: Exchange, capfdbinary: Any) -> None:
    second = Exchange({"headers": [], "method": "GET", "path": "/health"})
    AccessLog(colours=False)([exchange, second])
    lines = [orjson.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == ["/v1/completions", "/health"]


def test_the_time_is_that_of_the_end_and_not_of_the_writing(exchange: Exchange, capfdbinary: Any) -> None:
    exchange.ended = perf_counter() - 3600
    AccessLog(colours=False)([exchange])
    told = datetime.fromisoformat(orjson.loads(capfdbinary.readouterr().out)["ts"])
    assert datetime.now(UTC) - told >= timedelta(hours=1)
