"""Callers who give up say nothing of a target. That it answers nobody meanwhile does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from providers.errors import TimedOut
from router.events import Unanswered
from router.policies.load import Load
from router.policies.silence import LEAST_SECONDS, TOO_MANY, silence
from router.policy import IGNORED, OK, UNSENT, Ending, Ticket
from router.types import Attempt, Live, Route, Target

USUAL = 2.0
LATE = TimedOut("attempt", 5.0)


class Site:
    """One target and what was told of it; times in seconds."""

    def __init__(self, usual: float | None = USUAL) -> None:
        self.live = Live()
        self.told: list[Unanswered] = []
        self.load = Load(self.live, "a/m", self.told.append)
        if usual is not None:
            for _ in range(20):
                self.live.latency.observe(False, 10, usual, -math.inf)

    def send(self, now: float) -> Ticket:
        target = Target(Upstream("a"), "m", live=self.live)
        attempt = Attempt(call_for(stream=False), Route("m", (target,)), target, 1, now, now + 600.0, prompt=10)
        return self.load.admit(attempt, now)


def test_whoever_waited_longer_than_usual_while_nobody_was_answered_tells_of_it():
    site = Site()
    first, second = site.send(0.0), site.send(0.5)
    first.settle(IGNORED, 4.0)
    assert site.told == [Unanswered(4.0, "a/m", 4.0, overdue=2, again=False)]
    second.settle(IGNORED, 4.5)
    assert len(site.told) == 1, "whoever came before that knows nothing new"


@pytest.mark.parametrize("ending", [OK, UNSENT, Ending(LATE.outcome, LATE)], ids=["ok", "unsent", "timed out"])
def test_only_an_attempt_that_is_given_up_says_so(ending):
    """One that fails counts as a failure, and one that is answered as an answer."""
    site = Site()
    site.send(0.0).settle(ending, 10.0)
    assert site.told == []


def test_one_that_has_begun_says_nothing_when_its_client_leaves():
    """M8: a thousand clients that leave in the middle of their streams."""
    site = Site()
    ticket = site.send(0.0)
    ticket.begun(1.0, 1.0)
    ticket.settle(IGNORED, 100.0)
    assert site.told == []


@pytest.mark.parametrize("answer", ["content", "refused for what it asked"])
def test_whoever_is_answered_meanwhile_breaks_the_silence(answer):
    site = Site()
    ticket, other = site.send(0.0), site.send(1.0)
    if answer == "content":
        other.begun(2.0, 3.0)
    else:
        other.settle(OK, 3.0)
    ticket.settle(IGNORED, 10.0)
    assert site.told == []
    site.send(3.5).settle(IGNORED, 10.0)
    assert len(site.told) == 1, "but not for those who came after it"


@pytest.mark.parametrize(("usual", "waited", "told"), [(2.0, 1.9, 0), (2.0, 2.0, 1), (0.01, 0.9, 0), (0.01, 1.0, 1)])
def test_nobody_is_suspected_for_what_is_usual_nor_within_a_second(usual, waited, told):
    site = Site(usual)
    site.send(0.0).settle(IGNORED, waited)
    assert len(site.told) == told


def test_of_a_target_that_nobody_knows_it_says_that_one_is_overdue():
    site = Site(usual=None)
    tickets = [site.send(0.0) for _ in range(10)]
    tickets[0].settle(IGNORED, 5.0)
    assert [(event.overdue, event.again) for event in site.told] == [(1, False)]


def test_who_has_just_come_is_not_overdue():
    """A burst that came a moment ago at a target that keeps one caller waiting: it had no time to be answered."""
    site = Site()
    ticket = site.send(0.0)
    for _ in range(100):
        site.send(9.9)
    ticket.settle(IGNORED, 10.0)
    assert [event.overdue for event in site.told] == [1]


def test_more_than_enough_are_not_counted():
    site = Site()
    tickets = [site.send(0.0) for _ in range(1000)]
    tickets[500].settle(IGNORED, 3.0)
    assert [event.overdue for event in site.told] == [TOO_MANY]


def test_a_silence_that_goes_on_is_told_again_and_an_answer_ends_it():
    site = Site()
    for began in (0.0, 10.1, 20.2):
        site.send(began).settle(IGNORED, began + 10.0)
    answered = site.send(30.5)
    answered.begun(1.0, 31.5)
    answered.settle(OK, 31.5)
    site.send(40.0).settle(IGNORED, 50.0)
    assert [event.again for event in site.told] == [False, True, True, False]


STEPS = st.lists(st.tuples(st.sampled_from(["send", "begin", "ok", "leave", "fail"]), st.floats(0.0, 5.0)), max_size=60)


@examples(200)
@given(STEPS, st.randoms(use_true_random=False))
def test_it_is_never_said_of_a_target_that_answered_somebody_since(steps, chance):
    site, now = Site(), 0.0
    waiting: dict[Ticket, float] = {}
    running: list[Ticket] = []
    answered = -math.inf
    for deed, seconds in steps:
        now += seconds
        if deed == "send":
            waiting[site.send(now)] = now
        elif waiting:
            ticket = chance.choice(list(waiting))
            since = waiting.pop(ticket)
            before = len(site.told)
            if deed == "begin":
                ticket.begun(now - since, now)
                running.append(ticket)
            else:
                ticket.settle({"ok": OK, "leave": IGNORED, "fail": Ending(LATE.outcome, LATE)}[deed], now)
            if len(site.told) > before:
                assert deed == "leave"
                assert answered <= since
                assert now - since >= LEAST_SECONDS
                assert 1 <= site.told[-1].overdue <= min(TOO_MANY, len(waiting) + 1)
            if deed in ("begin", "ok"):
                answered = now
        assert site.load.describe(now)["waiting"] == len(waiting)
    for ticket in running:
        ticket.settle(IGNORED, now)
    assert len(site.told) <= sum(deed == "leave" for deed, _ in steps)


def test_to_look_costs_next_to_nothing_where_many_wait():
    """Ten thousand that wait are not walked: five are enough."""
    live, seen = Live(), []
    for _ in range(20):
        live.latency.observe(False, 10, USUAL, 0.0)

    def walked():
        for number in range(10_000):
            seen.append(number)
            yield 0.0

    event = silence("a/m", live, False, 10, 0.0, walked(), 10.0)
    assert event is not None
    assert len(seen) <= TOO_MANY
