from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from reach import keeps_alive
from worlds import Upstream, call_for

from providers import Outcome, Usage
from providers.errors import Overloaded, RateLimited, ServerFault, TimedOut
from router.policies.load import Load
from router.policy import IGNORED, OK, UNSENT, Ending
from router.types import Attempt, Live, Route, Target


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def load(live) -> Load:
    return Load(live)


@pytest.fixture
def attempt(live) -> Attempt:
    target = Target(Upstream("a"), "m", live=live)
    return Attempt(call_for(), Route("m", (target,)), target, 1, 0.0, 600.0, tokens=30)


def failed(failure) -> Ending:
    return Ending(failure.outcome, failure)


def test_it_counts_what_runs_and_its_tokens_to_the_end_of_the_stream(load, live, attempt):
    first, second = load.admit(attempt, 0.0), load.admit(attempt._replace(tokens=5), 1.0)
    assert (live.in_flight, live.tokens) == (2, 35)
    first.begun(0.5, 2.0)
    assert (live.in_flight, live.tokens) == (2, 35)
    first.settle(OK, 3.0)
    assert (live.in_flight, live.tokens) == (1, 5)
    second.settle(IGNORED, 4.0)
    assert (live.in_flight, live.tokens) == (0, 0)


def test_it_notes_when_a_target_was_last_asked(load, live, attempt):
    load.admit(attempt, 3.0).settle(OK, 9.0)
    assert live.used == pytest.approx(3.0)


def test_it_never_refuses(load, live, attempt):
    for _ in range(1000):
        load.admit(attempt, 0.0)
    assert load.refusal(attempt.call, 0.0) is None
    assert load.until(0.0) is None
    assert live.in_flight == 1000


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
def test_it_counts_failures_in_a_row_and_what_is_ignored_changes_nothing(load, live, attempt, outcomes, failures, last):
    for now, outcome in enumerate(outcomes):
        load.admit(attempt, float(now)).settle(Ending(Outcome(outcome)), now + 1.0)
    assert (live.failures, live.last_failure) == (failures, last)


def test_an_answer_that_was_asked_for_before_the_last_failure_does_not_end_the_row(load, live, attempt):
    """A server that goes away may finish what it has begun, and take nothing new."""
    early = load.admit(attempt, 0.0)
    load.admit(attempt, 1.0).settle(failed(ServerFault("no")), 1.1)
    early.settle(Ending(Outcome.OK), 2.0)
    assert live.failures == 1
    load.admit(attempt, 3.0).settle(Ending(Outcome.OK), 4.0)
    assert live.failures == 0


def test_what_was_never_sent_counts_for_nothing(load, live, attempt):
    load.admit(attempt, 0.0).settle(failed(ServerFault("no")), 1.0)
    load.admit(attempt, 1.0).settle(UNSENT, 2.0)
    assert (live.in_flight, live.tokens, live.failures) == (0, 0, 1)


@pytest.mark.parametrize("stream", [True, False])
def test_it_learns_how_long_first_content_takes_by_kind_and_prompt(load, live, attempt, stream):
    for _ in range(20):
        load.admit(attempt._replace(call=call_for(stream=stream), prompt=3000), 0.0).begun(0.75, 1.0)
        load.admit(attempt._replace(call=call_for(stream=stream)), 0.0).begun(0.25, 1.0)
    assert live.latency.quantile(0.5, stream=stream, tokens=3000) == pytest.approx(0.75)
    assert live.latency.quantile(0.5, stream=stream, tokens=10) == pytest.approx(0.25)
    assert live.latency.estimate(stream=stream, now=1.0) == pytest.approx(0.75)
    assert live.latency.estimate(stream=not stream, now=1.0) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("retry_after", "scored"), [(None, 5.0), (0.0, 5.0), (3.0, 5.0), (60.0, 60.0), (9999.0, 300.0)]
)
def test_a_429_is_scored_as_a_slow_answer(load, live, attempt, retry_after, scored):
    load.admit(attempt, 0.0).settle(failed(RateLimited("wait", status=429, retry_after=retry_after)), 0.01)
    assert live.latency.estimate(stream=True, now=0.01) == scored


@pytest.mark.parametrize(
    ("failure", "began", "ended", "scored"),
    [
        (ServerFault("no", status=500), 0.0, 0.01, 5.0),  # 40 % of fast failures would else attract 61 % of the calls
        (Overloaded("full", status=529), 0.0, 0.01, 5.0),
        (TimedOut("first_token", 30.0), 0.0, 30.0, 30.0),
    ],
    ids=str,
)
def test_a_failure_never_looks_like_a_fast_answer(load, live, attempt, failure, began, ended, scored):
    load.admit(attempt, began).settle(failed(failure), ended)
    assert live.failed_at == ended
    assert live.latency.estimate(stream=True, now=ended) == pytest.approx(scored)


def test_an_answer_that_breaks_off_began_when_it_began(load, live, attempt):
    ticket = load.admit(attempt, 0.0)
    ticket.begun(0.5, 0.5)
    ticket.settle(failed(ServerFault("cut", status=None))._replace(midway=True), 0.5)
    assert live.latency.estimate(stream=True, now=0.5) == pytest.approx(0.5)


def test_the_route_learns_the_length_of_whole_answers(load, attempt):
    outputs = attempt.route.outputs
    load.admit(attempt, 0.0).settle(Ending(Outcome.OK, usage=Usage(7, 123)), 1.0)
    assert (outputs.count, outputs.quantile(0.0)) == (1, 123)
    load.admit(attempt, 0.0).settle(OK, 1.0)
    load.admit(attempt, 0.0).settle(Ending(Outcome.IGNORED, usage=Usage(7, 2)), 1.0)
    load.admit(attempt, 0.0).settle(Ending(Outcome.FAULT, usage=Usage(7, 2)), 1.0)
    assert outputs.count == 1


def test_a_ticket_does_not_keep_the_request_alive(load, attempt):
    ticket = load.admit(attempt, 0.0)
    assert keeps_alive(attempt, attempt.call.request.body)
    assert not keeps_alive(ticket, attempt.call.request.body)


def test_it_describes_itself(load, attempt):
    ticket = load.admit(attempt, 0.0)
    ticket.begun(0.5, 0.5)
    load.admit(attempt, 0.0).settle(failed(ServerFault("no", status=500)), 0.5)
    assert load.describe(0.5) == {
        "in_flight": 1,
        "waiting": 0,
        "tokens": 30,
        "failures": 1,
        "last_failure": "fault",
        "seconds_to_first_content": 5.0,
        "seconds_to_answer": 5.0,
    }


@examples(100)
@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.booleans(), st.sampled_from([OK, IGNORED, UNSENT, Ending(Outcome.FAULT)])),
        max_size=50,
    ),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_nothing_is_left_in_flight(steps, chance):
    live = Live()
    load = Load(live)
    target = Target(Upstream("a"), "m", live=live)
    attempt = Attempt(call_for(), Route("m", (target,)), target, 1, 0.0, 600.0)
    tickets = [(load.admit(attempt._replace(tokens=tokens), 0.0), begins, ends) for tokens, begins, ends in steps]
    assert live.tokens == sum(tokens for tokens, *_ in steps)
    chance.shuffle(tickets)
    for ticket, begins, ends in tickets:
        if begins and ends.sent:
            ticket.begun(0.1, 1.0)
        ticket.settle(ends, 2.0)
    assert (live.in_flight, live.tokens) == (0, 0)
