from __future__ import annotations

import heapq
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from router.select.chance import unit
from router.select.strategies import STRATEGIES
from router.types import Call, Target

COUNT = 20_000
# Chi-square, 99.9 %, by degrees of freedom.
CRITICAL = {1: 10.828, 2: 13.816, 3: 16.266}


def targets_of(*weights, price=1.0):
    return [Target(Upstream(str(place)), "m", weight=weight, price=price) for place, weight in enumerate(weights)]


def pick(name, targets, call, now=0.0):
    strategy = STRATEGIES[name]
    scores = strategy.score(call, targets, now)
    return strategy.pick(targets, scores, unit(0, call.request.id, "pick 1"))


def one_of(number, *, stream=True):
    return of_session(call_for(f"req-{number}", stream=stream), f"session-{number}")


def of_session(call, session):
    return call._replace(request=call.request._replace(session=session))


def found(name, targets, count=COUNT):
    """How often each is picked while nothing is in flight, in the order of ``targets``."""
    picks = Counter(pick(name, targets, one_of(number)) for number in range(count))
    return [picks[each] for each in targets]


def chi_square(seen, parts):
    expected = [sum(seen) * part / sum(parts) for part in parts]
    return sum((have - want) ** 2 / want for have, want in zip(seen, expected, strict=True))


# --- all of them ------------------------------------------------------------------------------------------------


def test_the_strategies_are_those_of_the_contract():
    assert STRATEGIES.keys() == {"weighted", "least_busy", "latency", "cost", "affinity"}


@st.composite
def lives(draw):
    """A target after whatever may have happened to it."""
    target = Target(
        Upstream(draw(st.text("ab", min_size=1, max_size=4))),
        draw(st.none() | st.text(max_size=3)),
        weight=draw(st.just(0.0) | st.floats(1e-6, 1e6)),
        price=draw(st.none() | st.floats(0, 1e6)),
    )
    live = target.live
    live.in_flight = draw(st.integers(0, 10_000))
    live.tokens = draw(st.integers(0, 10**9))
    for seconds in draw(st.lists(st.floats(0, 1e4), max_size=3)):
        live.latency.observe(draw(st.booleans()), draw(st.integers(0, 10**6)), seconds, draw(st.floats(0, 1e6)))
    if draw(st.booleans()):
        live.latency.penalise(draw(st.floats(5, 300)), draw(st.floats(0, 1e6)))
    return target


@examples(150)
@given(
    st.sampled_from(list(STRATEGIES)),
    st.lists(lives(), min_size=1, max_size=6),
    st.booleans(),
    st.floats(0, 1e6),
    st.sampled_from([0.0, 1 - 2**-53]) | st.floats(0, 1, exclude_max=True),
)
def test_litellm_39970_whatever_is_known_or_not_every_target_is_scored_and_one_is_picked(
    name, targets, stream, now, chance
):
    strategy = STRATEGIES[name]
    scores = strategy.score(one_of(1, stream=stream), targets, now)
    assert len(scores) == len(targets)
    assert all(math.isfinite(score) and score >= 0 for score in scores), scores
    assert any(strategy.pick(targets, scores, chance) is target for target in targets)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_litellm_37622_new_targets_are_picked_uniformly_and_not_by_position(name, count):
    seen = found(name, targets_of(*[1.0] * count))
    assert chi_square(seen, [1] * count) < CRITICAL[count - 1], seen


@pytest.mark.parametrize("name", ["weighted", "least_busy", "cost", "affinity"])
@pytest.mark.parametrize("weights", [(70, 30), (5, 3, 2), (0.1, 0.3, 0.2, 0.4)], ids=str)
def test_idle_equals_are_picked_in_proportion_to_their_weights(name, weights):
    seen = found(name, targets_of(*weights))
    assert chi_square(seen, weights) < CRITICAL[len(weights) - 1], seen


# --- least_busy -------------------------------------------------------------------------------------------------


def test_least_busy_fills_targets_in_proportion_to_their_weights():
    targets = targets_of(6, 3, 1)
    for number in range(2000):
        picked = pick("least_busy", targets, one_of(number)).live
        picked.in_flight += 1
        picked.tokens += 100 + number % 7 * 300
    total = sum(each.live.tokens for each in targets)
    for each in targets:
        assert each.live.tokens / total == pytest.approx(each.weight / 10, abs=0.01)


# --- latency ----------------------------------------------------------------------------------------------------


def play(targets, first_token, *, seconds=60.0, rate=50, answer=2.0):
    """Calls at ``rate``, picked by latency; ``first_token`` (place, number, now) says what each meets: seconds, or
    None for a refusal in 10 ms. A stream runs ``answer`` seconds more. How many each target got in the last half.
    """
    ends, picks = [], Counter()
    for number in range(int(seconds * rate)):
        now = number / rate
        while ends and ends[0][0] <= now:
            at, _, step, target, took = heapq.heappop(ends)
            if step == "begun":
                target.live.latency.observe(True, 100, took, at)
            elif step == "refused":
                target.live.latency.penalise(5.0, at)
            target.live.in_flight -= step != "begun"
        target = pick("latency", targets, one_of(number), now)
        target.live.in_flight += 1
        place = targets.index(target)
        took = first_token(place, number, now)
        if took is None:
            heapq.heappush(ends, (now + 0.01, number, "refused", target, took))
        else:
            heapq.heappush(ends, (now + took, number, "begun", target, took))
            heapq.heappush(ends, (now + took + answer, number, "ended", target, took))
        picks[place] += now > seconds / 2
    return [picks[place] / picks.total() for place in range(len(targets))]


def test_latency_prefers_the_fast_and_still_asks_the_slow():
    shares = play(targets_of(1, 1), lambda place, number, now: (0.2, 0.8)[place])
    assert 0.7 < shares[0] < 0.9, shares


def test_latency_shares_between_equals():
    shares = play(targets_of(1, 1, 1), lambda place, number, now: 0.2 + unit(1, str(number), "jitter") / 10)
    assert min(shares) > 0.25, shares


def test_latency_shares_by_weight_between_equals_that_are_busy():
    shares = play(targets_of(3, 1), lambda place, number, now: 0.3)
    assert shares[0] == pytest.approx(0.75, abs=0.05), shares


def test_latency_leaves_one_that_has_become_slow():
    shares = play(targets_of(1, 1, 1), lambda place, number, now: 6.0 if place == 0 and now > 20 else 0.3)
    assert shares[0] < 0.1, shares
    assert shares[0] > 0, "it is asked again from time to time, or nobody would see that it has recovered"


def test_latency_comes_back_to_one_that_has_recovered():
    shares = play(targets_of(1, 1), lambda place, number, now: 6.0 if place == 0 and now < 10 else 0.3, seconds=120)
    assert shares[0] > 0.4, shares


def test_m9_traffic_leaves_a_target_that_refuses_half_of_its_calls_in_no_time():
    shares = play(targets_of(1, 1), lambda place, number, now: None if place == 0 and number % 2 else 0.3)
    assert shares[0] < 0.15, shares


# --- cost -------------------------------------------------------------------------------------------------------


def test_cost_picks_the_cheapest_and_a_price_that_nobody_knows_is_not_cheap():
    dear, cheap, unknown = targets_of(200, 1, 200)
    dear, cheap, unknown = (
        Target(each.provider, "m", weight=each.weight, price=price)
        for each, price in zip((dear, cheap, unknown), (3.0, 0.2, None), strict=True)
    )
    for number in range(200):
        assert pick("cost", [dear, unknown, cheap], one_of(number)) is cheap
        assert pick("cost", [unknown, dear], one_of(number)) is dear
        assert pick("cost", [unknown], one_of(number)) is unknown


# --- affinity ---------------------------------------------------------------------------------------------------


def test_affinity_keeps_a_session_at_its_target_whatever_the_request():
    targets = targets_of(1, 1, 1)
    for session in range(50):
        picks = {
            pick("affinity", targets, of_session(call_for(f"r{session}-{turn}"), f"s{session}")) for turn in range(10)
        }
        assert len(picks) == 1


def test_affinity_spreads_requests_that_belong_to_nothing():
    targets = targets_of(1, 1, 1)
    asked = call_for().request
    calls = [Call(asked._replace(id=f"r{number}", fields={}), "m") for number in range(COUNT)]
    seen = Counter(pick("affinity", targets, call) for call in calls)
    assert chi_square([seen[each] for each in targets], [1, 1, 1]) < CRITICAL[2], seen
