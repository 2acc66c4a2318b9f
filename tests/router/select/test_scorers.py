from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from router.select.scorers import by_latency, by_load, by_price, by_weight
from router.types import Target

STREAM, PLAIN = call_for(stream=True), call_for(stream=False)
NOW = 100.0


def target(weight=1.0, *, price=None, tokens=0, in_flight=0, ttft=None, whole=None):
    """``ttft`` and ``whole`` in seconds: what a stream, or a plain answer, took just now."""
    made = Target(Upstream("a"), "m", weight=weight, price=price)
    made.live.tokens, made.live.in_flight = tokens, in_flight
    for stream, seconds in ((True, ttft), (False, whole)):
        if seconds is not None:
            made.live.latency.observe(stream, 100, seconds, NOW)
    return made


def score(scorer, one, call=STREAM, now=NOW):
    (found,) = scorer(call, [one], now)
    return found


# --- weight -----------------------------------------------------------------------------------------------------


def test_weights_are_their_own_score_and_a_pinned_one_of_nothing_counts_as_one():
    assert by_weight(STREAM, [target(70), target(0.5), target(0)], NOW) == [70, 0.5, 1.0]


# --- load -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "tokens", "in_flight", "expected"),
    [
        (1, 0, 0, 1.0),
        (50, 0, 0, 1.0),  # idle is idle
        (1, 94, 1, 0.01),  # 94 tokens and 5 for the request
        (2, 188, 2, 0.01),  # twice the weight, twice the load
        (0, 94, 1, 0.01),  # pinned
        (1, 0, 2, 1 / 11),  # where nothing is said of tokens, requests decide
    ],
)
def test_load_is_tokens_in_flight_for_the_weight(weight, tokens, in_flight, expected):
    assert score(by_load, target(weight, tokens=tokens, in_flight=in_flight)) == pytest.approx(expected)


def test_one_long_prompt_is_more_load_than_many_short_ones():
    assert score(by_load, target(tokens=8000, in_flight=1)) < score(by_load, target(tokens=400, in_flight=10))


# --- latency ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "ttft", "in_flight", "expected"),
    [(1, 0.25, 0, 4.0), (1, 0.25, 3, 1.0), (3, 0.25, 0, 12.0), (0, 0.25, 0, 4.0), (1, 20.0, 0, 0.05)],
)
def test_latency_is_the_time_to_first_token_for_each_in_flight_and_one_more(weight, ttft, in_flight, expected):
    assert score(by_latency, target(weight, ttft=ttft, in_flight=in_flight)) == pytest.approx(expected)


def test_streams_and_plain_answers_are_told_apart():
    both = target(ttft=0.2, whole=8.0)
    assert score(by_latency, both, STREAM) == pytest.approx(5.0)
    assert score(by_latency, both, PLAIN) == pytest.approx(0.125)


KNOWN = st.builds(
    target, st.floats(0.01, 1000), ttft=st.floats(0.001, 600), in_flight=st.integers(0, 200), whole=st.none()
)


@examples(100)
@given(KNOWN, st.floats(0.01, 1000))
def test_an_idle_target_of_which_nothing_is_known_is_tried_before_any_other(known, weight):
    assert score(by_latency, target(weight)) > score(by_latency, known)


@examples(100)
@given(st.floats(0.001, 10), st.integers(0, 50), st.integers(1, 50))
def test_finagle_one_that_has_not_answered_its_first_call_gets_no_more(ttft, in_flight, pending):
    known, unknown = target(ttft=ttft, in_flight=in_flight), target(in_flight=pending)
    assert score(by_latency, unknown) < score(by_latency, known)
    assert score(by_latency, unknown) > score(by_latency, target(in_flight=pending + 1)) > 0


def test_what_is_known_fades_until_it_is_as_if_nothing_were_known():
    slow = target(ttft=30.0)
    assert score(by_latency, slow) < score(by_latency, slow, now=NOW + 30) < score(by_latency, target())
    assert score(by_latency, slow, now=NOW + 600) == score(by_latency, target())
    slow.live.in_flight = 1
    assert score(by_latency, slow, now=NOW + 600) < 0.001


def test_a_kind_of_answer_that_never_came_is_guessed_low_from_the_other_however_busy():
    """Else a target that always has plain answers in flight would never get its first stream."""
    fast = target(ttft=0.3)
    only_plain = target(whole=8.0, in_flight=1)
    assert score(by_latency, only_plain, STREAM) > score(by_latency, fast, STREAM)
    usual = target(whole=8.0)
    only_streams = target(ttft=0.3, in_flight=1)
    assert score(by_latency, only_streams, PLAIN) > score(by_latency, usual, PLAIN)


def test_m9_a_refusal_in_no_time_is_scored_as_a_slow_answer():
    refusing, healthy = target(ttft=0.01), target(ttft=0.3)
    assert score(by_latency, refusing) > score(by_latency, healthy)
    refusing.live.latency.penalise(5.0, NOW)
    assert score(by_latency, refusing) < score(by_latency, healthy)


# --- price ------------------------------------------------------------------------------------------------------


def test_the_cheaper_the_better_free_is_best_and_unknown_is_last():
    scores = by_price(STREAM, [target(price=price) for price in (0.0, 1.0, 3.0, 600.0, None)], NOW)
    assert scores == [1.0, 0.5, 0.25, pytest.approx(1 / 601), 0.0]
