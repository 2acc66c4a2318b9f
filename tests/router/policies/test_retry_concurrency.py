from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from router.config import Retry, RetryConcurrency
from router.errors import Refused
from router.policies.retry_concurrency import RetryConcurrencies
from router.policy import IGNORED, OK, UNSENT
from router.types import Attempt, Live, Route, Target


def route_with(*in_flight: int, model: str = "m", enabled: bool = True, share: float = 0.2, least: int = 3) -> Route:
    """Its targets fail all the time: what fails over to them counts."""
    lives = [Live(in_flight=count, failed_at=math.inf) for count in in_flight]
    targets = tuple(Target(Upstream(f"t{n}"), "m", live=live) for n, live in enumerate(lives))
    return Route(model, targets, retry=Retry(concurrency=RetryConcurrency(enabled, share, least)))


def retry_on(route: Route, *, hedge: bool = False) -> Attempt:
    return Attempt(call_for(), route, route.targets[-1], 2, 0.0, 600.0, after=route.targets[0], hedge=hedge)


def granted(policy: RetryConcurrencies, route: Route, asked: int = 100) -> list:
    """Tickets until the first refusal."""
    tickets = []
    with suppress(Refused):
        tickets.extend(policy.admit(retry_on(route), 0.0) for _ in range(asked))
    return tickets


@pytest.mark.parametrize(
    ("in_flight", "retries"),
    [((100,), 20), ((60, 40), 20), ((5,), 3), ((0,), 3), ((15,), 3), ((19,), 3), ((20,), 4), ((24,), 4), ((25,), 5)],
)
def test_m3_a_fifth_of_what_runs_and_three_at_least(in_flight, retries):
    assert len(granted(RetryConcurrencies(), route_with(*in_flight))) == retries


def test_a_retry_holds_its_slot_until_its_stream_ends():
    policy, route = RetryConcurrencies(), route_with(5)
    first, *_ = granted(policy, route)
    first.begun(1.0, 1.0)
    assert policy.running("m") == 3
    assert not granted(policy, route)
    first.settle(OK, 60.0)
    assert len(granted(policy, route)) == 1


@pytest.mark.parametrize("ending", [OK, IGNORED, UNSENT], ids=["ok", "ignored", "unsent"])
def test_every_ending_gives_the_slot_back(ending):
    policy, route = RetryConcurrencies(), route_with(5)
    for ticket in granted(policy, route):
        ticket.settle(ending, 1.0)
    assert policy.running("m") == 0


def test_first_attempts_are_neither_counted_nor_refused():
    policy, route = RetryConcurrencies(), route_with(0, share=0.0, least=0)
    assert policy.admit(Attempt(call_for(), route, route.targets[0], 1, 0.0, 600.0), 0.0) is None
    assert not granted(policy, route)


@pytest.mark.parametrize("hedge", [False, True])
def test_no_slot_ends_the_call_but_not_for_the_sake_of_a_hedge(hedge):
    policy, route = RetryConcurrencies(), route_with(0)
    for _ in range(3):
        policy.admit(retry_on(route, hedge=True), 0.0)
    with pytest.raises(Refused) as refusal:
        policy.admit(retry_on(route, hedge=hedge), 0.0)
    assert (refusal.value.reason, refusal.value.final) == ("concurrency_budget", not hedge)


def test_each_route_has_its_own():
    policy = RetryConcurrencies()
    assert len(granted(policy, route_with(0, model="one"))) == 3
    assert len(granted(policy, route_with(0, model="two"))) == 3


def test_two_targets_of_one_provider_and_model_run_once():
    live = Live(in_flight=20)
    targets = tuple(Target(Upstream("a"), "m", live=live) for _ in range(2))
    assert len(granted(RetryConcurrencies(), Route("m", targets))) == 4


def test_it_can_be_switched_off():
    assert granted(RetryConcurrencies(), route_with(0, enabled=False), asked=50) == [None] * 50


@examples(100)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 99))), st.floats(0, 1), st.integers(0, 5))
def test_never_more_retries_than_the_share_of_what_runs(steps, share, least):
    policy, route = RetryConcurrencies(), route_with(0, share=share, least=least)
    live, held = route.targets[0].live, []
    for ask, in_flight, place in steps:
        live.in_flight = in_flight
        if ask:
            before = len(held)
            held += granted(policy, route, asked=1)
            assert (len(held) > before) == (before + 1 <= max(least, share * in_flight))
        elif held:
            held.pop(place % len(held)).settle(OK, 0.0)
        assert policy.running("m") == len(held)


def test_what_fails_over_to_a_target_that_is_well_does_not_count():
    """All that was in flight at a target that died may go to the next, however much it was."""
    route = route_with(8, 0)
    route.targets[-1].live.failed_at = -math.inf
    assert granted(RetryConcurrencies(), route, asked=50) == [None] * 50
