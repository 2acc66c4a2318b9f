from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from providers import Outcome
from providers.errors import Misconfigured, Rejected, ServerFault
from router import config
from router.errors import Refused
from router.policies.retry_throttle import RetryThrottle, RetryThrottles
from router.policy import IGNORED, OK, UNSENT, Ending
from router.types import Attempt, Route, Target

FAULT = Ending(Outcome.FAULT, ServerFault("x", status=500))
RETRY = config.Retry(throttle=config.RetryThrottle(enabled=True))


def test_m4_five_failures_switch_retries_off_and_one_success_on():
    throttle = RetryThrottle(max_tokens=10, token_ratio=0.1)
    for left in (9.0, 8.0, 7.0, 6.0):
        throttle.failed()
        assert (throttle.tokens, throttle.allows) == (left, True)
    throttle.failed()
    assert (throttle.tokens, throttle.allows) == (5.0, False)
    throttle.succeeded()
    assert (throttle.tokens, throttle.allows) == (5.1, True)


def test_the_tokens_stay_between_none_and_all():
    throttle = RetryThrottle(max_tokens=10, token_ratio=0.1)
    throttle.succeeded()
    assert throttle.tokens == 10
    for _ in range(12):
        throttle.failed()
    assert throttle.tokens == 0
    for _ in range(50):
        throttle.succeeded()
    assert not throttle.allows
    throttle.succeeded()
    assert throttle.allows


@examples(200)
@given(st.lists(st.booleans(), max_size=200), st.integers(1, 1000), st.integers(0, 3000))
def test_thousandths_add_up_exactly(endings, tokens, ratio):
    throttle = RetryThrottle(tokens, ratio / 1000)
    left = tokens * 1000
    for ok in endings:
        (throttle.succeeded if ok else throttle.failed)()
        left = min(tokens * 1000, left + ratio) if ok else max(0, left - 1000)
        assert throttle.allows == (2 * left > tokens * 1000)
    assert throttle.tokens == left / 1000


# --- the rule ---------------------------------------------------------------------------------------------------------


class Calls:
    """First attempts at ``a``, and retries at ``b`` after it."""

    def __init__(self, retry: config.Retry = RETRY) -> None:
        self.a, self.b = Target(Upstream("a"), "m"), Target(Upstream("b"), "m")
        self.route = Route("m", (self.a, self.b), retry=retry)
        self.policy = RetryThrottles()

    def first(self, ending: Ending) -> None:
        self.policy.admit(Attempt(call_for(), self.route, self.a, 1, 0.0, 600.0), 0.0).settle(ending, 1.0)

    def retry(self, ending: Ending = UNSENT, *, hedge: bool = False) -> None:
        attempt = Attempt(call_for(), self.route, self.b, 2, 0.0, 600.0, after=self.a, hedge=hedge)
        ticket = self.policy.admit(attempt, 0.0)
        ticket.begun(0.1, 0.5)
        ticket.settle(ending, 1.0)

    @property
    def allows(self) -> bool:
        try:
            self.retry()
        except Refused:
            return False
        return True


def test_m4_as_a_rule_by_the_target_that_failed():
    calls = Calls()
    for _ in range(4):
        calls.first(FAULT)
    assert calls.allows
    calls.first(FAULT)
    assert not calls.allows
    calls.first(OK)  # the original is always sent
    assert calls.allows


def test_what_happens_at_the_second_target_is_on_its_own_account():
    calls = Calls()
    for _ in range(20):
        calls.retry(FAULT)
    assert calls.allows


@pytest.mark.parametrize(
    "ending",
    [
        IGNORED,
        UNSENT,
        Ending(Outcome.IGNORED, Misconfigured("x", status=401)),
        Ending(Outcome.OK, Rejected("x", status=400, body=b"{}")),
    ],
    ids=["client left", "unsent", "our key", "wrong request"],
)
def test_what_says_nothing_of_the_target_takes_and_gives_nothing(ending):
    calls = Calls()
    for _ in range(20):
        calls.first(ending)
    assert calls.allows
    for _ in range(5):
        calls.first(FAULT)
    for _ in range(20):
        calls.first(ending)
    assert not calls.allows


@pytest.mark.parametrize(
    "ending",
    [
        FAULT,
        Ending(Outcome.OVERLOAD, ServerFault("x", status=503)),
        Ending(Outcome.IGNORED, Misconfigured("x", status=401, should_retry=False)),
    ],
    ids=["fault", "overload", "pushback"],
)
def test_failures_and_pushback_take_a_token(ending):
    calls = Calls()
    for _ in range(5):
        calls.first(ending)
    assert not calls.allows


@pytest.mark.parametrize("hedge", [False, True])
def test_a_refusal_ends_the_call_but_not_for_the_sake_of_a_hedge(hedge):
    calls = Calls()
    for _ in range(5):
        calls.first(FAULT)
    with pytest.raises(Refused) as refusal:
        calls.retry(hedge=hedge)
    assert (refusal.value.reason, refusal.value.final) == ("retry_throttle", not hedge)


def test_it_is_off_unless_it_is_wanted():
    calls = Calls(config.Retry())
    attempt = Attempt(call_for(), calls.route, calls.b, 2, 0.0, 600.0, after=calls.a)
    assert calls.policy.admit(attempt, 0.0) is None
