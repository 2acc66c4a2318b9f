"""Knobs that make no sense are refused by name; and what an error says where a client shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from faulted import Attempt, fault_of
from pydantic import ValidationError
from worlds import on_virtual_clock, request

from app.settings.options import dataclass_names
from providers.errors import Overloaded, RateLimited
from providers.errors import QuotaExhausted as NoQuota
from providers.failures import QUOTA_CODES
from providers.faults import FAULTS
from providers.mock import Mock, MockOptions

FOLDER = Path(__file__).parents[3] / "providers" / "faults"

# Kind, knobs, the one that is named, and what is said of it.
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("http_429", {"retry_after": -1}, "retry_after", "at least 0"),
    ("http_429", {"form": "minutes"}, "form", "'seconds', 'date', 'ms' or 'none'"),
    ("http_429", {"limits": "many"}, "limits", "boolean"),
    ("quota_exhausted", {"code": "poor"}, "code", "insufficient_quota"),
    ("quota_exhausted", {"reset_after": -1}, "reset_after", "at least 0"),
    ("http_5xx", {"statuses": [404]}, "statuses", "500 to 599"),
    ("http_5xx", {"statuses": []}, "statuses", "one or more"),
    ("http_5xx", {"retry_after": -1}, "retry_after", "at least 0"),
    ("overloaded_529", {"after": 1}, "after", "where: inside"),
    ("overloaded_529", {"where": "inside", "after": -1}, "after", "at least 0"),
    ("slow_ttft", {"delay": 1, "factor": 2}, "factor", "one of the two"),
    ("slow_ttft", {"delay": -1}, "delay", "distribution"),
    ("slow_ttft", {"factor": 1}, "factor", "above 1"),
    ("slow_tokens", {"tokens_per_second": 1, "bytes_per_second": 1}, "bytes_per_second", "one of the two"),
    ("slow_tokens", {"tokens_per_second": 0}, "tokens_per_second", "above 0"),
    ("slow_tokens", {"bytes_per_second": 0}, "bytes_per_second", "above 0"),
    ("stall", {"after": -1}, "after", "at least 0"),
    ("stall", {"hold": -1}, "hold", "at least 0"),
    ("truncate", {"after": -1}, "after", "at least 0"),
    ("truncate", {"form": "torn"}, "form", "'cut', 'eof' or 'clean'"),
    ("malformed_sse", {"every": 0}, "every", "at least 1"),
    ("malformed_sse", {"form": "xml"}, "form", "bad_json"),
    ("wrong_content_length", {"delta": 0}, "delta", "must not be 0"),
    ("conn_reset", {"bytes": -1}, "bytes", "at least 0"),
    ("conn_reset", {"where": "later"}, "where", "before_headers"),
    ("connect_refused", {"mode": "shy"}, "mode", "blackhole"),
    ("dns_failure", {"cached_for": -1}, "cached_for", "at least 0"),
    ("tls_error", {"certificate": "ugly"}, "certificate", "wrong_host"),
    ("gray_slow", {"factor": 0.5}, "factor", "above 1"),
    ("gray_wrong", {"text": " "}, "text", "have a word"),
    ("gray_wrong", {"text": "\ud83d"}, "text", "be printable"),  # half an emoji: no answer could hold it
    ("empty_200", {"text": "x"}, "text", "unknown key"),
    ("correlated_outage", {"mode": "all"}, "mode", "'http' or 'refused'"),
    ("flap", {"period": 0}, "period", "above 0"),
    ("flap", {"duty": 1}, "duty", "below 1"),
    ("brownout", {"factor": 0.5, "rate": 1}, "rate", "one of the two"),
    ("brownout", {"factor": 1}, "factor", "below 1"),
    ("brownout", {"rate": 0}, "rate", "above 0"),
    ("brownout", {"rate": 1, "patience": 0}, "patience", "above 0"),
    ("limit_ramp", {"start": 0}, "start", "above 0"),
    ("limit_ramp", {"end": 0}, "end", "above 0"),
    ("limit_ramp", {"over": -1}, "over", "at least 0"),
    ("slow_close", {"delay": -1}, "delay", "at least 0"),
    ("auth_revoked", {"status": 404}, "status", "401 or 403"),
    ("duplicate_events", {"p": 0}, "p", "above 0"),
    # Numbers that overflow what is computed with them.
    ("http_429", {"retry_after": 1e12, "form": "date"}, "retry_after", "at most 1e+09"),
    ("slow_tokens", {"tokens_per_second": 1.7e308}, "tokens_per_second", "at most 1e+09"),
    ("brownout", {"factor": 5e-324}, "factor", "above 0"),
    ("limit_ramp", {"start": 5e-324}, "start", "above 0"),
    ("duplicate_events", {"p": 1.5}, "p", "at most 1"),
]


@pytest.mark.parametrize(("kind", "knobs", "named", "says"), REFUSED)
def test_a_knob_that_makes_no_sense_is_refused_by_name(kind: str, knobs: dict[str, Any], named: str, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        fault_of(kind, **knobs)
    (fault,) = caught.value.errors(include_url=False)
    assert fault["loc"][0] == named
    assert says in fault["msg"]


def test_every_kind_has_its_row_its_file_and_its_number() -> None:
    assert [row.number for row in FAULTS.values()] == [f"F{number:02}" for number in range(1, 25)]
    for kind, row in FAULTS.items():
        assert row.fault.__module__ == f"providers.faults.{kind}"
        assert row.number in (FOLDER / f"{kind}.py").read_text().partition("\n")[0]
        assert re.fullmatch(r"[a-z].*[a-z\d]", row.does)


def test_no_knob_has_the_name_of_something_that_is_said_of_every_fault() -> None:
    common = {"id", "kind", "target", "targets", "share", "seed", "ttl", "at", "for", "per", "route", "reason", "guard"}
    common |= {"max_active", "dead_man", "knobs", "streams", "request_id"}
    assert [kind for kind, row in FAULTS.items() if common.intersection(dataclass_names(row.fault))] == []


def refusal(kind: str, created: int = 0, **knobs: Any) -> Any:
    found: list[Any] = []

    @on_virtual_clock
    async def scenario() -> None:
        attempt = Attempt(fault_of(kind, **knobs), Mock("up", MockOptions()), request(created=created))
        found.append((await attempt.seen()).error)

    scenario()
    return found[0]


@pytest.mark.parametrize(
    ("knobs", "seconds"),
    [
        ({}, 1.0),
        ({"retry_after": 2.5}, 2.5),
        ({"retry_after": 0.25, "form": "ms"}, 0.25),
        ({"retry_after": 90, "form": "date"}, 90.0),
        ({"retry_after": 1.5, "form": "date"}, 2.0),  # a date knows whole seconds: not too early
        ({"form": "none"}, None),
        ({"retry_after": None}, None),
    ],
)
def test_a_429_says_in_every_way_when_to_come_back(knobs: dict[str, Any], seconds: float | None) -> None:
    error = refusal("http_429", 1_700_000_000, **knobs)
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds
    assert error.headers == {}


def test_a_429_tells_limits_if_it_is_asked_to() -> None:
    assert refusal("http_429", limits=True).headers == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1s",
    }


@pytest.mark.parametrize("code", sorted(QUOTA_CODES))
def test_every_code_of_an_empty_account_is_read_as_one(code: str) -> None:
    error = refusal("quota_exhausted", code=code, reset_after=60)
    assert isinstance(error, NoQuota)
    assert error.retry_after == pytest.approx(60)


def test_a_503_may_say_when_to_come_back() -> None:
    error = refusal("http_5xx", statuses=[503], retry_after=7)
    assert isinstance(error, Overloaded)
    assert (error.status, error.retry_after) == (503, 7.0)
