from __future__ import annotations

import pytest

from providers import errors
from providers.errors import Outcome, ProviderError

# Class: what it means for the target's health (resilience table B10), and whether the same target may be tried again.
MEANING = {
    errors.Unreachable: (Outcome.FAULT, True),
    errors.Disconnected: (Outcome.FAULT, True),
    errors.TimedOut: (Outcome.FAULT, True),
    errors.ServerFault: (Outcome.FAULT, True),
    errors.Overloaded: (Outcome.OVERLOAD, True),
    errors.RateLimited: (Outcome.OVERLOAD, True),
    errors.QuotaExhausted: (Outcome.IGNORED, False),
    errors.Misconfigured: (Outcome.IGNORED, False),
    errors.Rejected: (Outcome.OK, False),
    errors.Malformed: (Outcome.FAULT, True),
    errors.Truncated: (Outcome.FAULT, True),
    errors.Empty: (Outcome.FAULT, True),
}


@pytest.mark.parametrize(("kind", "meaning"), MEANING.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_each_failure_means(kind, meaning):
    assert (kind.outcome, kind.same_target) == meaning


def test_the_table_is_whole_and_reasons_are_a_small_set_of_distinct_labels():
    assert set(ProviderError.__subclasses__()) == set(MEANING)
    reasons = [kind.reason for kind in MEANING]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.replace("_", "").isalpha() for reason in reasons)


@pytest.mark.parametrize(
    ("error", "label"),
    [
        (errors.ServerFault("x", status=502), "502"),
        (errors.Disconnected("x"), "disconnected"),
        (errors.TimedOut("first_token", 30.0), "first_token_timeout"),
        (errors.TimedOut("connect", 0.5), "connect_timeout"),
        (errors.Rejected("x", status=422, body=b""), "422"),
    ],
)
def test_labels_are_the_status_or_the_reason(error, label):
    assert error.label == label


def test_a_timeout_says_which_phase_and_how_long():
    assert str(errors.TimedOut("idle", 15.0)) == "no answer in time: idle took longer than 15 s"
