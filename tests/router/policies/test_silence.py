"""Callers who give up say nothing of a target. That it answers nobody meanwhile does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from providers.errors import Misconfigured, TimedOut
from router.events import Unanswered
from router.policies.load import Load
from router.policies.silence import DUE_SECONDS, LEAST_SECONDS, LOOKED_AT, MANY
from router.policy import IGNORED, OK, UNSENT, Ending, Ticket
from router.types import Attempt, Live, Route, Target

USUAL = 2.0
LATE = TimedOut("attempt", 5.0)
NO_KEY = Misconfigured("wrong key", status=401)


class Site:
    """One target and what was told of it; times in seconds."""

    def __init__(self, usual: float | None = USUAL) -> None:
        self.live = Live()
        self.told: list[Unanswered] = []
        self.load = Load(self.live, "a/m", self.told.append)
        if usual is not None:
            for _ in range(20):
                self.live.latency.observe(False, 10, usual, -math.inf)

    def send(self, now: float, *, stream: bool = False, prompt: int = 10) -> Ticket:
        target = Target(Upstream("a"), "m", live=self.live)
        attempt = Attempt(call_for(stream=stream), Route("m", (target,)), target, 1, now, now + 600.0, prompt=prompt)
        return self.load.admit(attempt, now)


def test_whoever_waited_longer_than_usual_while_nobody_was_answered_tells_of_it():
    site = Site()
    first, second = site.send(0.0), site.send(0.5)
    first.settle(IGNORED, 4.0)
    assert site.told == [Unanswered(4.0, "a/m", 4.0, waiting=2, in_flight=2, drowned=False, again=False)]
    second.settle(IGNORED, 4.5)
    assert len(site.told) == 1, "whoever came before that knows nothing new"


@pytest.mark.parametrize(
    "ending",
    [OK, UNSENT, Ending(LATE.outcome, LATE), Ending(NO_KEY.outcome, NO_KEY)],
    ids=["refused for what it asked", "unsent", "timed out", "refused for its credentials"],
)
def test_only_an_attempt_that_is_given_up_says_so(ending):
    """One that fails counts as a failure, and whoever refuses has answered."""
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


def test_whoever_is_answered_meanwhile_breaks_the_silence():
    site = Site()
    ticket, other = site.send(0.0), site.send(1.0)
    other.begun(2.0, 3.0)
    ticket.settle(IGNORED, 10.0)
    assert site.told == []
    site.send(3.5).settle(IGNORED, 10.0)
    assert len(site.told) == 1, "but not for those who came after it"


def test_a_trickle_of_wrong_requests_breaks_none():
    """Servers refuse them before the engine has anything to do: one client that is set up wrongly would hide a hang from all."""
    site = Site()
    ticket = site.send(0.0)
    for second in range(10):
        site.send(float(second)).settle(OK, second + 0.1)
    ticket.settle(IGNORED, 10.0)
    assert len(site.told) == 1


@pytest.mark.parametrize(("usual", "waited", "told"), [(2.0, 1.9, 0), (2.0, 2.0, 1), (0.01, 0.9, 0), (0.01, 1.0, 1)])
def test_nobody_is_suspected_for_what_is_usual_nor_within_a_second(usual, waited, told):
    site = Site(usual)
    site.send(0.0).settle(IGNORED, waited)
    assert len(site.told) == told


def crowd(site: Site, sent: Sequence[float], *, at: float) -> Unanswered:
    """All of them are sent, and at ``at`` the first is given up."""
    first, *_ = [site.send(when) for when in sent]
    first.settle(IGNORED, at)
    (event,) = site.told
    return event


def answering(site: Site, every: float, until: float) -> None:
    """Callers come and are answered, one after the other, up to then."""
    for number in range(50):
        began = until - (50 - number) * every
        ticket = site.send(began)
        ticket.begun(every, began + every)
        ticket.settle(OK, began + every)


def test_a_target_is_drowned_if_many_wait_for_longer_than_usual():
    assert crowd(Site(), [0.0] * MANY, at=DUE_SECONDS).drowned
    assert not crowd(Site(), [0.0] * (MANY - 1), at=DUE_SECONDS).drowned


def test_not_if_they_have_just_come():
    """A burst at a target that keeps one caller waiting: it had no time to be answered."""
    assert not crowd(Site(), [0.0, *[9.9] * 100], at=10.0).drowned


def test_not_if_it_is_busy_with_answers_that_have_begun():
    """A silence between two first tokens is nothing while sixty streams run: whoever opens five of his own and leaves could else
    starve all others.
    """
    site = Site()
    for _ in range(60):
        site.send(0.0).begun(0.1, 0.1)
    event = crowd(site, [1.0] * 20, at=5.0)
    assert (event.waiting, event.in_flight, event.drowned) == (20, 80, False)


@pytest.mark.parametrize(("every", "drowned"), [(0.1, True), (0.5, False)])
def test_not_if_answers_come_so_seldom_that_none_was_to_be_expected(every, drowned):
    """Thirty were due in three seconds, or six: with little traffic a silence is nothing."""
    site = Site(usual=None)
    answering(site, every, until=0.0)
    assert crowd(site, [0.0] * 50, at=3.0).drowned is drowned


def test_the_time_in_which_nobody_waits_is_no_gap_between_answers():
    """An answer in a tenth of a second, once an hour."""
    site = Site(usual=None)
    for hour in range(50):
        ticket = site.send(hour * 3600.0)
        ticket.begun(0.1, hour * 3600.0 + 0.1)
        ticket.settle(OK, hour * 3600.0 + 0.2)
    assert crowd(site, [1e6] * 50, at=1e6 + 1.5).drowned


def test_of_a_target_that_nobody_knows_those_are_overdue_that_have_waited_half_as_long():
    """A gateway that was started anew in the middle of it has seen no answer yet."""
    assert crowd(Site(usual=None), [0.0, 2.0, 4.0, 4.9, 5.0], at=DUE_SECONDS).drowned
    assert not crowd(Site(usual=None), [0.0, 2.0, 4.0, 4.9, 5.1], at=DUE_SECONDS).drowned
    assert not crowd(Site(usual=None), [0.0] * 50, at=DUE_SECONDS - 0.1).drowned, "nor how often answers come"


def test_each_is_compared_with_what_is_usual_for_its_like():
    """Whole answers that take a minute are not overdue when a stream that usually begins in half a second does not."""
    site = Site(usual=60.0)
    for _ in range(20):
        site.live.latency.observe(True, 10, 0.5, -math.inf)
    for _ in range(8):
        site.send(0.0)
    site.send(5.0, stream=True).settle(IGNORED, 7.0)
    assert [(event.waiting, event.drowned) for event in site.told] == [(9, False)]


def test_what_has_begun_is_in_flight_and_does_not_wait():
    site = Site()
    for _ in range(7):
        site.send(0.0).begun(0.1, 0.1)
    site.send(1.0).settle(IGNORED, 9.0)
    assert [(event.waiting, event.in_flight) for event in site.told] == [(1, 8)]


def test_two_silences_an_hour_apart_are_two():
    site = Site()
    for began in (0.0, 3600.0):
        site.send(began).settle(IGNORED, began + 10.0)
    assert [event.again for event in site.told] == [False, False]


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
                assert site.told[-1].waiting == len(waiting) + 1 <= site.told[-1].in_flight
                assert site.told[-1].waiting >= MANY or not site.told[-1].drowned
            if deed == "begin":
                answered = now
        assert site.load.describe(now)["waiting"] == len(waiting)
    for ticket in running:
        ticket.settle(IGNORED, now)
    assert len(site.told) <= sum(deed == "leave" for deed, _ in steps)


def test_of_ten_thousand_that_wait_few_are_looked_at():
    site, looked = Site(), []
    real = site.live.latency.quantile
    site.live.latency = SimpleNamespace(quantile=lambda *of: (looked.append(of), real(*of))[1])  # type: ignore[assignment]
    gone = site.send(0.0)
    for _ in range(10_000):
        site.send(9.9)
    gone.settle(IGNORED, 10.0)
    assert len(looked) == LOOKED_AT + 1
