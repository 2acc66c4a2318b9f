from __future__ import annotations

import pytest
from worlds import Upstream, World, call_for

from providers import Outcome
from router.policies.in_flight import InFlight
from router.types import Attempt, Route


@pytest.fixture
def attempt():
    (target,) = World([Upstream("a")]).targets
    return Attempt(call_for(), Route("m", (target,)), target, 1, 0.0, 600.0)


def test_it_counts_what_is_between_admission_and_settlement(attempt):
    live, policy = attempt.target.live, InFlight()
    tickets = [policy.admit(attempt, 0.0) for _ in range(3)]
    assert live.in_flight == 3
    for outcome, ticket in zip(Outcome, tickets, strict=False):
        ticket(outcome, 1.0)
    assert live.in_flight == 0


@pytest.mark.parametrize(
    ("outcomes", "failures", "last"),
    [
        ([], 0, None),
        (["fault"], 1, "fault"),
        (["fault", "overload"], 2, "overload"),
        (["overload", "fault", "ok"], 0, None),
        (["fault", "ignored"], 1, "fault"),
        (["ok", "ignored"], 0, None),
        (["ok", "fault", "fault"], 2, "fault"),
    ],
    ids=str,
)
def test_it_counts_failures_in_a_row_and_what_is_ignored_changes_nothing(attempt, outcomes, failures, last):
    for outcome in outcomes:
        InFlight().admit(attempt, 0.0)(Outcome(outcome), 1.0)
    live = attempt.target.live
    assert (live.failures, live.last_failure) == (failures, last)
