from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from providers.errors import (
    Disconnected,
    Empty,
    Malformed,
    Overloaded,
    RateLimited,
    ServerFault,
    TimedOut,
    Truncated,
    Unreachable,
)
from router import config
from router.policies.evidence import CALLS, SLOW, Counts, Probes, Tally, is_slow


@pytest.mark.parametrize(
    ("failure", "slow"),
    [
        (None, False),
        (Unreachable("refused"), False),
        (Disconnected("reset"), False),
        (TimedOut("connect", 5.0), False),
        (TimedOut("first_token", 30.0), True),
        (TimedOut("idle", 15.0), True),
        (TimedOut("attempt", 300.0), True),
        (ServerFault("no", status=500), False),
        (Overloaded("full", status=529), False),
        (RateLimited("wait", status=429), False),
        (Malformed("html"), True),
        (Truncated("cut"), True),
        (Empty("nothing"), True),
    ],
    ids=lambda value: value.label if isinstance(value, Exception) else None,
)
def test_b10_which_failures_are_slow_besides(failure, slow):
    assert is_slow(failure) is slow


def tally(failures: int = 0, slow: int = 0, of: int = 0) -> Tally:
    """``failures`` first, so that they end in no row."""
    told = Tally(config.Breaker())
    for _ in range(failures):
        told.failed(None, slow=False, now=0.0)
    for _ in range(of - failures):
        told.window.add(0.0, CALLS)
    for _ in range(slow):
        told.window.add(0.0, SLOW)
    told.in_a_row = 0
    return told


@pytest.mark.parametrize(
    ("told", "settings", "verdict"),
    [
        (tally(), {}, None),
        (tally(9, 9, of=9), {}, None),
        (tally(7, of=25), {"failure_rate": 0.28}, "7 of 25 calls failed"),
        (tally(6, of=25), {"failure_rate": 0.28}, None),
        (tally(0, 7, of=25), {"slow_rate": 0.28}, "7 of 25 calls were slow"),
        (tally(0, 6, of=25), {"slow_rate": 0.28}, None),
        (tally(30, 30, of=30), {}, "30 of 30 calls failed"),
        (tally(1, of=1), {"min_calls": 1, "failure_rate": 1.0}, "1 of 1 calls failed"),
    ],
)
def test_a_tally_says_why_to_open(told, settings, verdict):
    assert told.verdict(config.Breaker(**settings), 0.0) == verdict


def test_a_row_needs_no_least_number_of_calls():
    told = Tally(config.Breaker())
    for _ in range(4):
        told.failed(ServerFault("no"), slow=False, now=0.0)
    told.failed(RateLimited("wait"), slow=False, now=0.0)
    told.answered(0.0)
    assert told.verdict(config.Breaker(), 0.0) is None
    told.failed(ServerFault("no"), slow=True, now=0.0)
    assert told.verdict(config.Breaker(), 0.0) == "5 failures in a row"
    assert told.counts(0.0) == Counts(7, 6, 1)


@pytest.mark.parametrize(
    ("failures", "slow", "of", "settings", "verdict"),
    [
        (0, 0, 5, {}, None),
        (2, 4, 5, {}, None),
        (3, 0, 5, {}, "3 of 5 probes failed"),
        (0, 5, 5, {}, "5 of 5 probes were slow"),
        (7, 0, 25, {"failure_rate": 0.28}, "7 of 25 probes failed"),
        (0, 7, 25, {"slow_rate": 0.28}, "7 of 25 probes were slow"),
    ],
)
def test_probes_say_why_to_open_again(failures, slow, of, settings, verdict):
    probes = Probes(of)
    for n in range(of):
        probes.grant(0.0)
        probes.record(failed=n < failures, slow=n < slow)
    assert probes.counts() == (of, failures, slow)
    assert probes.verdict(config.Breaker(**settings)) == verdict


def test_probes_are_silent_only_while_one_is_waited_for():
    probes = Probes(3)
    assert not probes.is_silent(1e9)
    probes.grant(0.0)
    assert [probes.is_silent(now) for now in (59.9, 60.0)] == [False, True]
    probes.grant(30.0)  # the latest is given its time too
    assert [probes.is_silent(now) for now in (60.0, 89.9, 90.0)] == [False, False, True]
    probes.record(failed=False, slow=False)
    probes.release()
    assert not probes.is_silent(1e9)


@given(st.integers(1, 9), st.lists(st.sampled_from(["grant", "release", "record"]), max_size=60))
@examples(200)
def test_granted_and_recorded_never_exceed_what_is_allowed(of, actions):
    probes = Probes(of)
    for action in actions:
        if action == "grant" and probes.has_room:
            probes.grant(0.0)
        elif action == "release" and probes.granted:
            probes.release()
        elif action == "record" and probes.granted:
            probes.record(failed=True, slow=False)
        assert 0 <= probes.granted <= of - probes.results
        assert probes.has_room == (probes.granted + probes.results < of)
