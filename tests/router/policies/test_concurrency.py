from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from reach import keeps_alive
from worlds import Upstream, call_for

from providers import Outcome
from providers.errors import (
    Disconnected,
    Misconfigured,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerFault,
    TimedOut,
    Unreachable,
)
from router.config import Concurrency
from router.errors import Refused
from router.events import Unanswered
from router.policies.concurrency import Limiter
from router.policy import IGNORED, OK, UNSENT, Ending
from router.types import Attempt, Live, Route, Target

TARGET = Target(Upstream("a"), "m")
ROUTE = Route("m", (TARGET,))
OVERLOADS = [
    RateLimited("wait", status=429),
    Overloaded("full", status=503),
    Overloaded("full", status=529),
    TimedOut("first_token", 30.0),
]
OTHERS = [
    ServerFault("no", status=500),
    Unreachable("no"),
    Disconnected("no"),
    TimedOut("connect", 5.0),
    TimedOut("idle", 15.0),
    QuotaExhausted("paid?", status=429),
    Misconfigured("key?", status=401),
    Rejected("what?", status=400, body=b"{}"),
]


def attempt(tokens: int = 0, *, stream: bool = True, prompt: int = 100) -> Attempt:
    call = call_for(stream=stream)
    call = call._replace(request=call.request._replace(body=b"x" * 4 * prompt))
    return Attempt(call, ROUTE, TARGET, 1, 0.0, 600.0, tokens, prompt)


ONE = attempt()


def failed(failure) -> Ending:
    return Ending(failure.outcome, failure)


class Limited(Limiter):
    """With its ``Live`` at hand."""

    @property
    def limit(self) -> float:
        return self._live.limit

    @property
    def live(self) -> Live:
        return self._live


def limiter(initial: float | None = 4.0, **settings) -> Limited:
    return Limited(Live(), Concurrency(initial=initial, **settings))


def refuses(limiter: Limited, tokens: int = 0) -> bool:
    try:
        limiter.admit(attempt(tokens), 0.0).settle(UNSENT, 0.0)
    except Refused as refusal:
        return (refusal.reason, refusal.final) == ("at_its_limit", False)
    return False


def seasoned(tokens: int = 100, **settings) -> Limited:
    """One that knows that ``tokens`` is typical."""
    known = limiter(**settings)
    for _ in range(16):
        known.admit(attempt(tokens), 0.0).settle(IGNORED, 0.0)
    assert known.typical == tokens
    return known


# --- admission ------------------------------------------------------------------------------------------------------


def test_it_admits_up_to_its_limit_and_what_ends_makes_room():
    full = limiter(4.0)
    tickets = [full.admit(ONE, 0.0) for _ in range(4)]
    assert full.refusal(ONE.call, 0.0) == "at_its_limit"
    assert refuses(full)
    tickets[2].begun(0.1, 1.0)
    assert full.load == pytest.approx(4.0)
    tickets[2].settle(OK, 2.0)
    assert full.refusal(ONE.call, 0.0) is None
    assert not refuses(full)


def test_it_does_not_know_when_there_will_be_room():
    full = limiter(1.0)
    full.admit(ONE, 0.0)
    assert full.until(0.0) is None


def test_without_a_start_there_is_no_limit_until_an_overload_shows_one():
    free = limiter(None)
    tickets = [free.admit(ONE, float(second)) for second in range(200)]
    assert free.limit == pytest.approx(1000.0)
    tickets[-1].settle(failed(OVERLOADS[0]), 200.0)
    assert free.limit == pytest.approx(180.0)


def test_the_gradient_starts_at_twenty():
    assert limiter(None, algorithm="gradient").limit == pytest.approx(20.0)
    assert limiter(7.0, algorithm="gradient").limit == pytest.approx(7.0)


def test_switched_off_it_never_refuses():
    off = limiter(1.0, enabled=False)
    assert [off.admit(ONE, 0.0) for _ in range(10)] == [None] * 10
    assert off.refusal(ONE.call, 0.0) is None
    assert (off.limit, off.describe(0.0)["limit"]) == (inf, None)


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_an_attempt_weighs_its_tokens_over_the_typical():
    known = seasoned(100, initial=10.0)
    known.admit(attempt(250), 0.0)
    known.admit(attempt(50), 0.0)
    assert known.load == pytest.approx(3.0)
    known.admit(attempt(0), 0.0)
    assert known.load == pytest.approx(4.0)


def test_until_the_typical_size_is_known_each_weighs_one():
    new = limiter(10.0)
    new.admit(attempt(5000), 0.0)
    new.admit(attempt(1), 0.0)
    assert (new.load, new.typical) == (2.0, 0.0)


def test_the_typical_size_is_the_median_of_the_latest():
    known = seasoned(100, initial=10.0)
    for _ in range(128):
        known.admit(attempt(400), 0.0).settle(IGNORED, 0.0)
    assert known.typical == 400


def test_room_for_a_typical_one_is_room_for_any_but_a_heavy_one_then_takes_more():
    """What has been told that there is room must not be refused when it comes."""
    known = seasoned(100, initial=6.0)
    known.admit(attempt(250), 0.0)
    known.admit(attempt(200), 0.0)
    assert known.refusal(ONE.call, 0.0) is None
    known.admit(attempt(200), 0.0)
    assert known.load == pytest.approx(6.5)
    assert known.refusal(ONE.call, 0.0) == "at_its_limit"
    assert refuses(known, 1)


def test_the_largest_request_can_always_run():
    small = seasoned(100, initial=1.0)
    ticket = small.admit(attempt(1_000_000), 0.0)
    assert refuses(small, 1)
    ticket.settle(OK, 1.0)
    assert not refuses(small, 1_000_000)


def test_below_one_still_one_runs_at_a_time():
    tiny = limiter(0.5, min=0.5)
    tiny.admit(ONE, 0.0)
    assert tiny.refusal(ONE.call, 0.0) == "at_its_limit"
    assert refuses(tiny)


def test_no_rounding_error_is_left_as_load():
    known = seasoned(100, initial=10.0)
    tickets = [known.admit(attempt(tokens), 0.0) for tokens in (10, 20, 30)]
    for ticket in tickets:
        ticket.settle(OK, 1.0)
    assert known.load == 0  # 0.1 + 0.2 + 0.3 - 0.1 - 0.2 - 0.3 is not


def test_the_largest_request_takes_half_of_the_limit_at_most_and_needs_no_moment_without_load():
    busy = seasoned(100, initial=10.0)
    for _ in range(9):
        busy.admit(attempt(100), 0.0)
    busy.admit(attempt(1_000_000), 0.0)
    assert busy.load == pytest.approx(14.0)
    assert refuses(busy, 1_000_000)


# --- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", OVERLOADS, ids=lambda failure: failure.label)
@pytest.mark.parametrize("algorithm", ["aimd", "gradient"])
def test_overload_lowers_the_limit(failure, algorithm):
    full = limiter(10.0, algorithm=algorithm)
    tickets = [full.admit(ONE, 1.0) for _ in range(10)]
    for ticket in tickets:
        ticket.settle(failed(failure), 2.0)
    assert full.limit == pytest.approx(9.0)


def test_a_plain_answer_that_did_not_come_in_time_teaches_only_if_nobody_else_got_one():
    """Alone it may be a matter of its length; while nothing at all comes, the target stands still, and waits for nothing."""
    late = failed(TimedOut("attempt", 5.0))
    it = limiter(40.0)
    lone, other = it.admit(ONE, 0.0), it.admit(ONE, 0.0)
    other.begun(1.0, 1.0)
    it.live.answered_at = 1.0
    before = it.limit
    lone.settle(late, 5.0)
    assert it.limit == before
    still = it.admit(ONE, 6.0)
    still.settle(late._replace(midway=True), 11.0)
    assert it.limit == before
    still = it.admit(ONE, 12.0)
    still.settle(late, 17.0)
    assert it.limit < before


@pytest.mark.parametrize("algorithm", ["aimd", "gradient"])
def test_a_target_that_answers_none_of_many_gets_less_and_half_if_that_goes_on(algorithm):
    it = limiter(100.0, algorithm=algorithm)
    for _ in range(100):
        it.admit(ONE, 0.0)
    silent = Unanswered(10.0, "a/m", 10.0, waiting=50, in_flight=100, drowned=True, again=False)
    it.unanswered(silent._replace(drowned=False))
    assert it.limit == pytest.approx(100.0)
    it.unanswered(silent)
    assert it.limit == pytest.approx(90.0)
    it.unanswered(silent._replace(at=20.1, again=True))
    assert it.limit == pytest.approx(45.0)
    it.unanswered(silent._replace(at=21.0, again=True))
    assert it.limit == pytest.approx(45.0), "whoever came before the limit was lowered knows nothing new"


def silent(it: Limited, at: float, *, again: bool = False) -> None:
    it.unanswered(Unanswered(at, "a/m", 10.0, waiting=50, in_flight=50, drowned=True, again=again))


def test_after_a_time_without_anything_to_do_a_silence_is_forgiven():
    """What it had to do for those who had gone is done by then."""
    it = limiter(100.0)
    tickets = [it.admit(ONE, 0.0) for _ in range(10)]
    silent(it, 10.0)
    silent(it, 20.1, again=True)
    assert it.limit == pytest.approx(4.5)
    for ticket in tickets:
        ticket.settle(IGNORED, 21.0)
    it.admit(ONE, 30.9).settle(IGNORED, 30.9)
    assert it.limit == pytest.approx(4.5)
    it.admit(ONE, 41.0)
    assert it.limit == pytest.approx(100.0)


def test_what_an_overload_has_taught_since_is_not_forgiven():
    it = limiter(100.0)
    tickets = [it.admit(ONE, 0.0) for _ in range(10)]
    silent(it, 10.0)
    for ticket in tickets:
        ticket.settle(IGNORED, 11.0)
    it.admit(ONE, 12.0).settle(failed(Overloaded("full")), 12.5)
    lowered = it.limit
    it.admit(ONE, 100.0)
    assert it.limit == lowered < 9.0


def test_switched_off_it_learns_nothing_from_a_silence_either():
    it = limiter(enabled=False)
    it.unanswered(Unanswered(10.0, "a/m", 10.0, waiting=50, in_flight=50, drowned=True, again=False))
    assert it.limit == inf
    assert it.describe(0.0)["limit"] is None


@pytest.mark.parametrize("ending", [OK, IGNORED, UNSENT, *map(failed, OTHERS)], ids=lambda ending: str(ending.label))
@pytest.mark.parametrize("algorithm", ["aimd", "gradient"])
def test_nothing_is_learnt_from_cancels_client_errors_and_faults(ending, algorithm):
    full = limiter(10.0, algorithm=algorithm)
    tickets = [full.admit(ONE, 1.0) for _ in range(10)]
    for ticket in tickets:
        ticket.settle(ending, 2.0)
    assert (full.limit, full.load) == (10.0, 0.0)


def test_a_late_failure_is_blamed_on_what_was_in_flight_when_it_started():
    full = limiter(10.0)
    tickets = [full.admit(ONE, 1.0) for _ in range(10)]
    for ticket in tickets[:9]:
        ticket.settle(OK, 2.0)
    tickets[9].settle(failed(TimedOut("first_token", 30.0)), 31.0)
    assert full.limit == pytest.approx(9.0)


def test_what_begins_raises_it_once_and_its_end_does_not():
    full = limiter(4.0)
    tickets = [full.admit(ONE, 1.0) for _ in range(4)]
    for ticket in tickets:
        ticket.begun(0.1, 2.0)
    grown = full.limit
    assert grown == pytest.approx(4.0 + 3.0)  # doubling, but for the first, which met no load
    for ticket in tickets:
        ticket.settle(OK, 3.0)
    assert full.limit == grown


def test_overload_in_the_middle_of_a_stream_counts_too():
    full = limiter(4.0)
    tickets = [full.admit(ONE, 1.0) for _ in range(4)]
    tickets[3].begun(0.1, 2.0)
    tickets[3].settle(failed(Overloaded("full")), 3.0)
    assert full.limit == pytest.approx(3.6)


def test_the_gradient_learns_from_streams_by_their_prompts():
    full = limiter(None, algorithm="gradient")
    for prompt, seconds in ((100, 0.1), (10_000, 3.0)):
        tickets = [full.admit(attempt(prompt=prompt), 1.0) for _ in range(20)]
        for ticket in tickets:
            ticket.begun(seconds, 2.0)
            ticket.settle(OK, 3.0)
    assert full.limit == pytest.approx(40.0)


def test_the_gradient_learns_nothing_from_the_time_of_a_plain_answer():
    full = limiter(None, algorithm="gradient")
    for seconds in (1.0, 100.0):
        tickets = [full.admit(attempt(stream=False), 1.0) for _ in range(20)]
        for ticket in tickets:
            ticket.begun(seconds, 2.0)
            ticket.settle(OK, 3.0)
    assert full.limit == pytest.approx(36.0)  # slow start: what was used was served, whatever it took


# --- keeping --------------------------------------------------------------------------------------------------------


def test_a_ticket_does_not_keep_the_request_alive():
    request = attempt()
    assert not keeps_alive(limiter().admit(request, 0.0), request.call.request.body)


def test_it_describes_itself():
    known = seasoned(100, initial=10.0)
    known.admit(attempt(250), 0.0)
    assert known.describe(0.0) == {
        "enabled": True,
        "algorithm": "aimd",
        "limit": 10.0,
        "load": 2.5,
        "typical_tokens": 100.0,
    }


LATE = failed(TimedOut("attempt", 300.0))
ENDINGS = [OK, IGNORED, UNSENT, LATE, *map(failed, OVERLOADS), *map(failed, OTHERS), Ending(Outcome.FAULT)]


@examples(100)
@given(
    st.sampled_from(["aimd", "gradient"]),
    st.none() | st.floats(1, 50),
    st.lists(st.tuples(st.integers(0, 200_000), st.booleans(), st.sampled_from(ENDINGS)), max_size=300),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_nothing_is_left_and_the_limit_is_kept(algorithm, initial, steps, chance):
    full = limiter(initial, algorithm=algorithm)
    running = []
    for now, (tokens, begins, ends) in enumerate(steps):
        before = full.load
        try:
            running.append((full.admit(attempt(tokens), float(now)), begins, ends))
            assert not before or before + 1.0 <= full.limit + 1e-9
        except Refused:
            assert full.load >= before > 0.0
        if running and chance.random() < 0.5:
            finish(*running.pop(chance.randrange(len(running))), chance.uniform(0, 60), now + 0.5)
    for one in running:
        finish(*one, 1.0, 1e6)
    assert not full.load
    assert 1.0 <= full.limit <= 1000.0
    assert full.refusal(ONE.call, 0.0) is None


def finish(ticket, begins: bool, ends: Ending, seconds: float, now: float) -> None:
    if begins and ends.sent:
        ticket.begun(seconds, now)
    ticket.settle(ends, now)


@pytest.mark.parametrize("algorithm", ["aimd", "gradient"])
def test_a_target_that_is_back_gets_its_traffic_by_slow_start(algorithm):
    """Once an open breaker's crowd came back in the same second, and opened it again."""
    back = limiter(1000.0, algorithm=algorithm)
    back.restart(5.0)
    assert back.limit == pytest.approx(5.0)
    for now in range(200):
        one_round(back, 10_000, float(now))
        if back.limit >= 999:
            break
    assert now < 40, back.limit
    small = limiter(3.0, algorithm=algorithm)
    small.restart(5.0)
    assert small.limit == pytest.approx(3.0)


def test_a_target_that_is_back_gets_no_more_at_once_than_it_has_borne():
    """A server that queues takes whatever comes: doubled on and on, the crowd that waited made it too slow, and opened it again.
    The gradient sees the queue.
    """
    back = limiter(1000.0, algorithm="aimd")
    one_round(back, 12, 0.0)
    back.restart(5.0)
    limits = []
    for now in range(1, 12):
        one_round(back, 1000, float(now))
        limits.append(back.limit)
    assert limits[3] >= 12, "what is known comes back by doubling"
    assert all(after - before <= 4.5 for before, after in pairwise(limits) if before >= 12), limits
    assert limits[-1] > limits[3], "and it goes on from there"


def one_round(it, most, now):
    """As many as are let in, all of them served."""
    tickets = []
    while len(tickets) < most and not it.refusal(ONE.call, now):
        tickets.append(it.admit(ONE, now))
    for ticket in tickets:
        ticket.begun(0.1, now + 0.1)
        ticket.settle(OK, now + 0.2)
