"""The rows of ``bench.faults``: each kind of fault of the catalogue, with knobs that tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """``more`` are keys beside the knobs. ``calls`` while it acts, one after the other, ``apart`` seconds; ``both``: the other
    target has it too; ``timeouts`` are the route's own.
    """

    name: str
    kind: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    calls: int = 6
    apart: float = 0.0
    both: bool = False
    timeouts: Mapping[str, float] = field(default_factory=dict)


ROWS = (
    Row("429", "http_429", {"retry_after": 1}),
    Row("quota", "quota_exhausted", {"reset_after": 1}),
    Row("5xx", "http_5xx"),
    Row("529-before", "overloaded_529"),
    Row("529-inside", "overloaded_529", {"where": "inside", "after": 3}),
    Row("slow-ttft", "slow_ttft", {"delay": 5}),
    Row("slow-tokens", "slow_tokens", {"bytes_per_second": 2000}),
    # A ping comes each second, and idle is what has no content.
    Row("stall", "stall", {"after": 3, "hold": 30}, timeouts={"idle": 1.3}),
    Row("cut", "truncate"),
    Row("cut-eof", "truncate", {"form": "eof"}),
    Row("cut-clean", "truncate", {"form": "clean"}),
    Row("bad-json", "malformed_sse"),
    Row("bad-json-late", "malformed_sse", {"every": 4}),
    Row("no-blank-line", "malformed_sse", {"form": "missing_blank_line"}),
    Row("interleaved", "malformed_sse", {"form": "interleaved", "every": 4}),
    Row("giant-line", "malformed_sse", {"form": "giant_line", "every": 4}),
    Row("crlf", "malformed_sse", {"form": "crlf"}),
    Row("split-utf8", "malformed_sse", {"form": "split_utf8"}),
    Row("short-length", "wrong_content_length", {"delta": -10}),
    Row("long-length", "wrong_content_length", {"delta": 10}),
    Row("reset", "conn_reset"),
    Row("reset-early", "conn_reset", {"where": "after_bytes", "bytes": 50}),
    Row("reset-late", "conn_reset", {"where": "after_bytes", "bytes": 500}),
    Row("refused", "connect_refused"),
    Row("blackhole", "connect_refused", {"mode": "blackhole"}),
    Row("dns", "dns_failure"),
    Row("tls", "tls_error"),
    Row("gray-slow", "gray_slow", {"factor": 20}, {"share": 0.1}, calls=40, timeouts={"first_token": 4, "attempt": 4}),
    Row("gray-wrong", "gray_wrong"),
    Row("empty", "empty_200"),
    Row("outage", "correlated_outage", calls=30, both=True),
    Row("flap", "flap", {"period": 2.0}, calls=40, apart=0.1),
    Row("brownout", "brownout", {"factor": 0.25}),
    Row("limit-ramp", "limit_ramp", {"start": 600, "end": 300, "over": 5}, calls=40),
    Row("slow-close", "slow_close", {"delay": 0.3}),
    Row("half-open", "slow_close", {"mode": "half_open", "delay": 5}),
    Row("auth", "auth_revoked"),
    Row("duplicates", "duplicate_events", {"p": 1.0}),
    Row("out-of-order", "duplicate_events", {"mode": "out_of_order", "p": 0.5}),
)
