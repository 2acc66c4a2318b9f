from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from reach import keeps_alive
from worlds import Upstream, call_for

from providers import Outcome
from providers.errors import Disconnected, Overloaded, QuotaExhausted, RateLimited, Rejected, ServerFault, TimedOut
from router import config
from router.errors import Refused
from router.policies.load import Load
from router.policies.throttle import Throttle
from router.policy import IGNORED, OK, UNSENT, Ending
from router.types import Attempt, Route, Target

TARGET = Target(Upstream("a"), "m")
ROUTE = Route("m", (TARGET,))


def attempt(request_id: str = "r1", *, forced: bool = False) -> Attempt:
    return Attempt(call_for(request_id), ROUTE, TARGET, 1, 0.0, 600.0, forced=forced)


def failed(failure) -> Ending:
    return Ending(failure.outcome, failure)


FULL = failed(Overloaded("full", status=529))
REJECTED = failed(Rejected("wrong", status=400, body=b"{}"))


def throttle(**settings) -> Throttle:
    return Throttle(config.Throttle(**settings))


def met(throttle: Throttle, ending: Ending, times: int, now: float = 0.0) -> Throttle:
    """``times`` calls sent whatever the throttle says, and answered in no time."""
    for _ in range(times):
        ticket = throttle.admit(attempt(forced=True), now)
        if ending is OK:
            ticket.begun(0.1, now)
        ticket.settle(ending, now)
    return throttle


# --- the share ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "refused", "share"),
    [
        (1000, 0, 0.0),
        (950, 50, 0.0),
        (900, 100, (1000 - 900 / 0.95) / 1001),
        (500, 500, (1000 - 500 / 0.95) / 1001),
        (100, 900, 0.8),
        (0, 1000, 0.8),
    ],
)
def test_the_share_is_envoys(taken, refused, share):
    limited = met(met(throttle(), OK, taken), FULL, refused)
    assert limited.share(0.0) == pytest.approx(share)


def test_of_too_few_calls_it_concludes_nothing():
    few = met(throttle(), FULL, 149)
    assert few.share(0.0) == pytest.approx(0.0)
    assert met(few, FULL, 1).share(0.0) == pytest.approx(0.8)


def test_what_is_older_than_the_window_is_forgotten():
    limited = met(throttle(), FULL, 200, now=5.0)
    assert limited.share(33.0) == pytest.approx(0.8)
    assert limited.share(35.0) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("ending", "share"),
    [
        (failed(RateLimited("wait", status=429)), 0.8),
        (failed(Overloaded("full", status=503)), 0.8),
        (failed(TimedOut("first_token", 30.0)), 0.8),
        (failed(TimedOut("connect", 5.0)), 0.0),
        (failed(ServerFault("no", status=500)), 0.0),
        (failed(Disconnected("no")), 0.0),
        (failed(Rejected("what?", status=400, body=b"{}")), 0.0),
        (failed(QuotaExhausted("paid?", status=429)), 0.0),
    ],
    ids=lambda value: str(value.label) if isinstance(value, Ending) else None,
)
def test_only_overload_counts_against_a_target(ending, share):
    assert met(throttle(), ending, 200).share(0.0) == share


@pytest.mark.parametrize(
    ("ending", "calls"),
    [(REJECTED, 1), (failed(ServerFault("no", status=500)), 1), (FULL, 1), (IGNORED, 0), (UNSENT, 0)],
    ids=["rejected", "fault", "overload", "ignored", "unsent"],
)
def test_what_is_ignored_or_was_never_sent_does_not_count(ending, calls):
    limited = throttle()
    limited.admit(attempt(), 0.0).settle(ending, 1.0)
    assert limited.describe(1.0)["calls"] == calls


@pytest.mark.parametrize("ending", [OK, IGNORED, FULL], ids=["ok", "ignored", "overload"])
def test_a_call_counts_once_and_at_its_first_content(ending):
    limited = throttle()
    ticket = limited.admit(attempt(), 0.0)
    assert limited.describe(1.0)["calls"] == 0
    ticket.begun(1.0, 1.0)
    assert limited.describe(1.0) == {"enabled": True, "share": 0.0, "calls": 1, "overloads": 0}
    ticket.settle(ending._replace(midway=True), 2.0)
    assert limited.describe(2.0) == {"enabled": True, "share": 0.0, "calls": 1, "overloads": 0}


def test_slow_answers_are_not_mistaken_for_refusals():
    """10 calls a second, each silent for 20 s: of what was sent in the window, most is not answered yet."""
    limited = met(throttle(), FULL, 1)
    waiting = []
    for tick in range(600):
        now = tick / 10
        waiting.append(limited.admit(attempt(forced=True), now))
        if tick >= 200:
            waiting[tick - 200].begun(20.0, now)
        assert limited.share(now) == pytest.approx(0.0)


# --- refusing -------------------------------------------------------------------------------------------------------


def test_it_turns_its_share_of_calls_away_the_same_at_every_look():
    limited = met(throttle(), FULL, 200)
    calls = [attempt(f"r{number}") for number in range(2000)]
    looks = [limited.refusal(one.call, 1.0) for one in calls]
    assert 0.77 < looks.count("throttled") / len(looks) < 0.83
    assert [limited.refusal(one.call, 1.0) for one in calls] == looks
    for one, look in zip(calls, looks, strict=True):
        if look is None:
            limited.admit(one, 1.0).settle(UNSENT, 1.0)
            continue
        with pytest.raises(Refused) as refusal:
            limited.admit(one, 1.0)
        assert refusal.value.reason == "throttled"
        assert not refusal.value.final


def test_in_another_window_it_turns_others_away():
    limited = met(met(throttle(), FULL, 200, now=29.0), FULL, 200, now=31.0)
    calls = [attempt(f"r{number}").call for number in range(200)]
    assert [limited.refusal(call, 29.9) for call in calls] != [limited.refusal(call, 31.0) for call in calls]


def test_it_does_not_know_when_it_will_turn_no_more_away():
    assert met(throttle(), FULL, 200).until(1.0) is None


def test_a_forced_attempt_is_admitted():
    limited = met(throttle(), FULL, 200)
    assert all(limited.admit(attempt(f"r{number}", forced=True), 0.0) for number in range(100))


def test_looking_changes_nothing():
    limited = met(throttle(), FULL, 200)
    before = limited.describe(1.0)
    for number in range(500):
        limited.refusal(call_for(f"r{number}"), 1.0)
    assert limited.describe(1.0) == before


def test_throttling_can_be_switched_off():
    off = throttle(enabled=False)
    assert off.admit(attempt(), 0.0) is None
    assert off.refusal(call_for(), 0.0) is None
    assert off.describe(0.0) == {"enabled": False, "share": 0.0, "calls": 0, "overloads": 0}


def test_its_ticket_does_not_keep_the_request_alive():
    one = attempt()
    assert not keeps_alive(throttle().admit(one, 0.0), one.call.request.body)


@examples(100)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.booleans(),
            st.sampled_from([OK, IGNORED, UNSENT, FULL, failed(TimedOut("first_token", 30.0)), Ending(Outcome.FAULT)]),
        ),
        max_size=400,
    ),
    st.floats(0, 1),
    st.floats(0.05, 1),
)
def test_the_share_is_never_out_of_bounds(steps, most, threshold):
    limited = throttle(min_per_second=0.1, max_rejection=most, threshold=threshold)
    now = 0.0
    for pause, begins, ends in steps:
        now += pause
        ticket = limited.admit(attempt(forced=True), now)
        if begins and ends.sent:
            ticket.begun(0.1, now)
        ticket.settle(ends, now)
        assert 0.0 <= limited.share(now) <= most
        assert 0 <= limited.describe(now)["overloads"] <= limited.describe(now)["calls"]
    assert limited.share(now + 30.0) == pytest.approx(0.0)


# --- against a target in virtual time -------------------------------------------------------------------------------


class Traffic:
    """Calls at random times; ``sent`` and ``served`` are counted for each ten seconds."""

    def __init__(self, limited: Throttle, rate: float, takes: Callable[[float], bool], seed: int = 0) -> None:
        self.limited = limited
        self.chance = Random(seed)
        self.rate = rate
        self.takes = takes
        self.calls: list[int] = []
        self.sent: list[int] = []
        self.served: list[int] = []

    def run(self, seconds: int) -> Traffic:
        now, number = 0.0, 0
        counts = [[0] * (seconds // 10 + 1) for _ in range(3)]
        while (now := now + self.chance.expovariate(self.rate)) < seconds:
            number += 1
            counts[0][int(now / 10)] += 1
            one = attempt(f"r{number}")
            if self.limited.refusal(one.call, now) is not None:
                continue
            counts[1][int(now / 10)] += 1
            ticket = self.limited.admit(one, now)
            if self.takes(now):
                counts[2][int(now / 10)] += 1
                ticket.begun(0.1, now + 0.1)
                ticket.settle(OK, now + 1.0)
            else:
                ticket.settle(FULL, now + 0.01)
        self.calls, self.sent, self.served = counts
        return self

    def share_sent(self, first: int, last: int) -> float:
        return sum(self.sent[first // 10 : last // 10]) / sum(self.calls[first // 10 : last // 10])

    def share_served(self, first: int, last: int) -> float:
        return sum(self.served[first // 10 : last // 10]) / sum(self.calls[first // 10 : last // 10])


def test_in_full_overload_a_fifth_comes_through_and_within_a_window_it_has_recovered():
    traffic = Traffic(throttle(), 50.0, lambda now: not 60 <= now < 180).run(300)
    print("sent", traffic.sent, "served", traffic.served, sep="\n")
    assert traffic.share_sent(0, 60) == pytest.approx(1.0)
    assert 0.17 < traffic.share_sent(90, 180) < 0.23
    assert traffic.share_served(180, 190) > 0.2
    assert traffic.share_served(210, 300) > 0.99


def test_a_few_calls_a_second_are_throttled_without_swinging():
    """10 a second, of which 2 come through: fewer than ``min_per_second``, but there are more to turn away."""
    traffic = Traffic(throttle(), 10.0, lambda now: False).run(600)
    for start in range(60, 600, 30):
        assert 0.1 < traffic.share_sent(start, start + 30) < 0.3


def test_fewer_than_enough_calls_are_never_turned_away():
    assert Traffic(throttle(), 3.0, lambda now: False).run(600).share_sent(0, 600) == pytest.approx(1.0)


def test_of_a_target_that_refuses_a_fifth_not_much_more_is_turned_away():
    chance = Random(1)
    traffic = Traffic(throttle(), 50.0, lambda now: chance.random() >= 0.2).run(600)
    print(f"{traffic.share_sent(60, 600):.3f} sent, {traffic.share_served(60, 600):.3f} served")
    assert 0.78 < traffic.share_sent(60, 600) < 0.9


def test_m9_a_target_that_answers_half_with_429_is_throttled_and_looks_slow():
    chance = Random(2)
    estimates = {}
    shares = {}
    for name, bad in (("a", 0.5), ("b", 0.0)):
        target = Target(Upstream(name), "m")
        load, limited = Load(target.live), throttle()
        now = 0.0
        for number in range(2000):
            now += 0.05
            one = Attempt(call_for(f"r{number}"), Route("m", (target,)), target, 1, 0.0, 600.0)
            if limited.refusal(one.call, now) is not None:
                continue
            tickets = [load.admit(one, now), limited.admit(one, now)]
            refused = chance.random() < bad
            for ticket in tickets:
                if not refused:
                    ticket.begun(0.1, now)
                ticket.settle(failed(RateLimited("wait", status=429)) if refused else OK, now)
            if refused:
                assert target.live.latency.estimate(stream=True, now=now) >= 5.0
        estimates[name] = target.live.latency.estimate(stream=True, now=now)
        shares[name] = limited.share(now)
    print(estimates, shares)
    assert estimates["a"] > 4.0
    assert estimates["b"] == pytest.approx(0.1)
    assert 0.35 < shares["a"] < 0.6
    assert shares["b"] == pytest.approx(0.0)
