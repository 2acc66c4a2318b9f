"""Whose fault it was."""

from __future__ import annotations

import pytest

from app.api.errors import answer_for
from app.observability.ending import OK, Ending, ending_of
from providers.errors import Rejected, ServerFault, TimedOut
from router.errors import DeadlineExceeded, Exhausted, ModelNotFound, NoTarget, RequestRejected, UnknownPin


@pytest.mark.parametrize(
    ("status", "end", "error", "tried", "ending"),
    [
        (200, "complete", None, True, OK),
        (200, "cut", "upstream_error", True, Ending("truncated", "provider", "upstream_error")),
        (200, "cut", "draining", True, Ending("truncated", "gateway", "draining")),
        (499, "client_closed", "client_closed", True, Ending("cancelled", "client", "499")),
        (499, "client_closed", "client_closed", False, Ending("cancelled", "client", "499")),
        (499, "client_stalled", "client_stalled", True, Ending("cancelled", "client", "499")),
        (405, "complete", "method_not_allowed", False, Ending("error", "client", "405")),
        (400, "complete", None, False, Ending("error", "client", "400")),
        (413, "complete", "request_too_large", False, Ending("error", "client", "413")),
        (429, "complete", "rate_limit_exceeded", True, Ending("error", "provider", "429")),
        (429, "complete", "rate_limit_exceeded", False, Ending("error", "gateway", "429")),
        (503, "complete", "draining", False, Ending("error", "gateway", "503")),
        (503, "complete", "draining", True, Ending("error", "gateway", "503")),
        (500, "complete", "internal_error", True, Ending("error", "gateway", "500")),
        (0, "complete", None, False, Ending("error", "gateway", "0")),
    ],
)
def test_every_way_to_end(status: int, end: str, error: str | None, tried: bool, ending: Ending) -> None:
    assert ending_of(status, end, error, tried=tried) == ending


@pytest.mark.parametrize(
    ("error", "tried", "source"),
    [
        (ModelNotFound("x", []), False, "client"),
        (UnknownPin("p", "m", []), False, "client"),
        (RequestRejected(Rejected("no", status=422, body=b"{}")), True, "client"),
        (NoTarget("none"), False, "gateway"),
        (DeadlineExceeded("over"), False, "gateway"),
        (DeadlineExceeded("over"), True, "provider"),
        (Exhausted([ServerFault("down", status=500)]), True, "provider"),
        (Exhausted([TimedOut("first_token", 1)]), True, "provider"),
        (RuntimeError("a bug"), True, "gateway"),
    ],
)
def test_every_row_of_the_error_table_has_its_source(error: Exception, tried: bool, source: str) -> None:
    answer = answer_for(error)
    assert ending_of(answer.status, "complete", answer.code, tried=tried).source == source
