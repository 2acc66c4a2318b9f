from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from providers import Outcome
from providers.errors import Rejected, ServerFault
from router import config
from router.config import Retry
from router.errors import Refused
from router.policies.dont_retry import DontRetry
from router.policy import IGNORED, OK, UNSENT, Ending
from router.types import Attempt, Route, Target

FAULT = Ending(Outcome.FAULT, ServerFault("x", status=500))
OVERLOAD = Ending(Outcome.OVERLOAD, ServerFault("x", status=503))
REJECTED = Ending(Outcome.OK, Rejected("x", status=400, body=b"{}"))
A, B = Target(Upstream("a"), "m"), Target(Upstream("b"), "m")
ROUTE = Route("m", (A, B))


def first(*, retries: int = 0, route: Route = ROUTE) -> Attempt:
    return Attempt(call_for()._replace(retries=retries), route, A, 1, 0.0, 600.0)


def retry(*, hedge: bool = False, route: Route = ROUTE) -> Attempt:
    return Attempt(call_for(), route, B, 2, 0.0, 600.0, after=A, hedge=hedge)


def play(policy: DontRetry, attempt: Attempt, ending: Ending, now: float = 0.0, count: int = 1) -> None:
    for _ in range(count):
        ticket = policy.admit(attempt, now)
        if ending is OK:
            ticket.begun(0.1, now)
        ticket.settle(ending, now)


@pytest.mark.parametrize(
    ("ok", "failed", "retries_ok", "retries_failed", "is_active"),
    [
        (0, 17, 0, 3, True),
        (0, 18, 0, 2, False),  # a tenth of twenty is not more than a tenth
        (0, 16, 0, 3, False),  # nineteen say nothing
        (10, 7, 0, 3, False),  # half is not more than half
        (9, 8, 0, 3, True),
        (8, 8, 1, 3, True),
        (0, 1000, 0, 100, False),
        (100, 0, 90, 0, False),
    ],
)
def test_many_retries_and_mostly_failures(ok, failed, retries_ok, retries_failed, is_active):
    policy = DontRetry()
    play(policy, first(), OK, count=ok)
    play(policy, first(), FAULT, count=failed)
    play(policy, retry(), OK, count=retries_ok)
    play(policy, first(retries=1), FAULT, count=retries_failed)
    assert policy.active("m", 0.0) is is_active


def active_policy(at: float = 0.0) -> DontRetry:
    policy = DontRetry()
    play(policy, retry(), FAULT, at, count=10)
    play(policy, first(), FAULT, at, count=10)
    assert policy.active("m", at)
    return policy


@pytest.mark.parametrize("hedge", [False, True])
def test_it_refuses_retries_and_never_a_first_attempt(hedge):
    policy = active_policy()
    with pytest.raises(Refused) as refusal:
        policy.admit(retry(hedge=hedge), 1.0)
    assert (refusal.value.reason, refusal.value.final) == ("dont_retry", not hedge)
    play(policy, first(retries=2), OK, 1.0)


@pytest.mark.parametrize(("now", "is_active"), [(0.0, True), (9.9, True), (10.0, False)])
def test_it_holds_for_ten_seconds(now, is_active):
    assert active_policy().active("m", now) is is_active


def test_it_holds_no_longer_for_failures_of_first_attempts_alone():
    policy = active_policy()
    for second in range(1, 60):
        play(policy, first(), FAULT, float(second), count=50)
    assert not policy.active("m", 10.0)
    assert not policy.active("m", 60.0)


def test_clients_that_retry_by_themselves_bring_it_back():
    policy = active_policy()
    play(policy, first(retries=1), FAULT, 12.0, count=20)
    assert policy.active("m", 12.0)


def test_what_is_older_than_ten_seconds_is_forgotten():
    policy = DontRetry()
    play(policy, retry(), FAULT, 0.5, count=10)
    play(policy, first(), FAULT, 10.5, count=10)
    assert not policy.active("m", 10.5)
    play(policy, first(), FAULT, 10.5, count=10)
    assert not policy.active("m", 10.5)


def test_each_route_has_its_own():
    policy = active_policy()
    other = Route("other", (A, B))
    play(policy, retry(route=other), OK, 1.0)
    assert not policy.active("other", 1.0)
    assert not policy.active("unknown", 1.0)


@pytest.mark.parametrize("ending", [IGNORED, UNSENT], ids=["client left", "unsent"])
def test_what_says_nothing_is_not_counted(ending):
    policy = DontRetry()
    play(policy, retry(), ending, count=100)
    play(policy, first(), FAULT, count=30)
    assert not policy.active("m", 0.0)


@pytest.mark.parametrize(("ending", "is_active"), [(FAULT, True), (OVERLOAD, True), (OK, False), (REJECTED, False)])
def test_faults_and_overload_are_failures(ending, is_active):
    policy = DontRetry()
    play(policy, first(retries=1), ending, count=30)
    assert policy.active("m", 0.0) is is_active


def test_a_stream_counts_when_it_begins_and_as_a_failure_when_it_breaks_off():
    policy = DontRetry()
    tickets = [policy.admit(retry(), 0.0) for _ in range(20)]
    for ticket in tickets:
        ticket.begun(0.5, 1.0)
    for ticket in tickets[:10]:
        ticket.settle(FAULT._replace(midway=True), 2.0)
    assert not policy.active("m", 2.0)
    tickets[10].settle(FAULT._replace(midway=True), 3.0)
    assert policy.active("m", 3.0)


def test_a_long_stream_counts_in_the_seconds_in_which_it_began():
    policy = DontRetry()
    tickets = [policy.admit(first(), 0.0) for _ in range(100)]
    for ticket in tickets:
        ticket.begun(0.5, 0.5)
    play(policy, retry(), FAULT, 60.0, count=19)
    for ticket in tickets:
        ticket.settle(OK, 60.0)
    play(policy, retry(), FAULT, 60.0)
    assert policy.active("m", 60.0)


@examples(200)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.4, 1.0, 3.0, 11.0, 25.0]), st.booleans(), st.booleans(), st.integers(1, 12)),
        max_size=40,
    )
)
def test_it_is_what_a_plain_list_of_the_last_ten_seconds_says(steps):
    policy, log, now, until = DontRetry(), [], 0.0, -1.0
    for gap, failed, is_retry, count in steps:
        now += gap
        for _ in range(count):
            play(policy, first(retries=int(is_retry)), FAULT if failed else OK, now)
            log.append((int(now), failed, is_retry))
            recent = [entry for entry in log if entry[0] > int(now) - 10]
            failures, retries = sum(entry[1] for entry in recent), sum(entry[2] for entry in recent)
            many = len(recent) >= 20 and retries > 0.1 * len(recent) and failures > 0.5 * len(recent)
            if failed and many and now >= until:
                until = now + 10.0
            assert policy.active("m", now) == (now < until)


def test_it_can_be_switched_off():
    off = Route("m", (A, B), retry=Retry(dont_retry=config.DontRetry(enabled=False)))
    policy = DontRetry()
    for _ in range(100):
        assert policy.admit(retry(route=off), 0.0) is None
    assert not policy.active("m", 0.0)
