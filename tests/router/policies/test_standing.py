from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from providers.errors import Misconfigured, Overloaded, QuotaExhausted, RateLimited, Rejected, ServerFault, UnknownModel
from router.errors import Refused
from router.policies.standing import Standing
from router.policy import IGNORED, OK, UNSENT, Ending
from router.types import Attempt, Route, Target

TARGET = Target(Upstream("a"), "m")
FIRST = Attempt(call_for(), Route("m", (TARGET,)), TARGET, 1, 0.0, 600.0)
SECOND = FIRST._replace(number=2)


class Line:
    """A standing and its alarms."""

    def __init__(self, **settings) -> None:
        self.told = []
        self.standing = Standing("a/m", emit=self.told.append, **settings)

    def ends(self, failure, now: float = 0.0) -> Line:
        """A call that was on its way fails."""
        self.standing.settle(Ending(failure.outcome, failure), now)
        return self

    def refusal(self, now: float, attempt: Attempt = FIRST) -> str | None:
        try:
            ticket = self.standing.admit(attempt, now)
        except Refused as refusal:
            return refusal.reason
        assert ticket is self.standing
        return None

    def at(self, now: float):
        """state, why not, until when."""
        standing = self.standing
        state, until, reason = standing.state_at(now), standing.until(now), standing.refusal(FIRST.call, now)
        assert self.refusal(now) == reason
        assert standing.state_at(now) == state  # looking changes nothing
        assert (standing.describe(now)["state"], standing.describe(now)["until"]) == (state, until)
        return state, reason, until

    @property
    def events(self):
        return [(event.at, event.standing, event.reason, event.until) for event in self.told]


OKAY = ("ok", None, None)


UNKNOWN_MODEL = UnknownModel("a does not know this model", status=404)


def misconfigured(status) -> Misconfigured:
    return Misconfigured(f"a said {status}", status=status)


def quota(retry_after=None) -> QuotaExhausted:
    return QuotaExhausted("no money", status=429, retry_after=retry_after)


@pytest.mark.parametrize("ending", [OK, IGNORED, UNSENT], ids=["ok", "ignored", "unsent"])
def test_it_keeps_nobody_out_by_itself(ending):
    line = Line()
    ticket = line.standing.admit(FIRST, 0.0)
    ticket.begun(0.1, 0.0)
    ticket.settle(ending, 1.0)
    assert line.at(1.0) == OKAY
    assert line.standing.describe(1.0) == {"state": "ok", "cause": None, "reason": None, "since": None, "until": None}
    assert line.told == []


@pytest.mark.parametrize(
    "failure",
    [ServerFault("no", status=500), Rejected("what?", status=400, body=b"{}"), misconfigured(None), misconfigured(418)],
    ids=["500", "400", "no_status", "418"],
)
def test_what_is_one_calls_own_fault_or_the_breakers_business_changes_nothing(failure):
    line = Line().ends(failure)
    assert (line.at(0.0), line.told) == (OKAY, [])


# --- drained --------------------------------------------------------------------------------------------------------


def test_drained_until_an_operator_says_otherwise():
    line = Line()
    line.standing.drain(1.0, "new disks")
    assert line.at(1e9) == ("drained", "drained", None)
    assert line.refusal(2.0, SECOND) == "drained"
    shown = line.standing.describe(2.0)
    assert (shown["reason"], shown["since"]) == ("new disks", 1.0)
    line.standing.undrain(5.0, "done")
    assert line.at(5.0) == OKAY
    line.standing.undrain(6.0, "once more")
    assert line.events == [(1.0, "drained", "new disks", None), (5.0, "undrained", "done", None)]


def test_drained_for_a_time():
    line = Line()
    line.standing.drain(1.0, "new disks", until=10.0)
    assert line.at(math.nextafter(10.0, 0.0)) == ("drained", "drained", 10.0)
    assert line.standing.state_at(10.0) == "ok"
    assert len(line.told) == 1
    assert line.at(10.0) == OKAY
    assert line.at(0.0) == OKAY
    assert line.events == [(1.0, "drained", "new disks", 10.0), (10.0, "undrained", "its time is over", None)]


def test_what_runs_goes_on_while_it_is_drained():
    line = Line()
    ticket = line.standing.admit(FIRST, 0.0)
    line.standing.drain(1.0, "new disks")
    ticket.begun(0.1, 2.0)
    ticket.settle(OK, 3.0)
    assert len(line.told) == 1


# --- disabled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "cause", "until"),
    [
        (misconfigured(401), "credentials", None),
        (misconfigured(403), "credentials", None),
        (misconfigured(402), "quota", None),
        (UNKNOWN_MODEL, "model", None),
        (misconfigured(301), "address", 307.0),
        (misconfigured(308), "address", 307.0),
        (quota(), "quota", None),
        (quota(retry_after=3600.0), "quota", 3607.0),
    ],
    ids=["401", "403", "402", "404", "301", "308", "quota", "quota_until"],
)
def test_b10_what_its_upstream_says_disables_it_and_is_an_alarm(failure, cause, until):
    line = Line().ends(failure, 7.0)
    assert line.at(7.0) == ("disabled", f"disabled_{cause}", until)
    assert line.refusal(7.0, SECOND) == f"disabled_{cause}"
    assert line.standing.describe(8.0) == {
        "state": "disabled",
        "cause": cause,
        "reason": failure.message,
        "since": 7.0,
        "until": until,
    }
    assert line.events == [(7.0, "disabled", failure.message, until)]
    if until is None:
        assert line.at(1e9)[0] == "disabled"
    else:
        assert line.at(until) == OKAY
        assert line.events[1:] == [(until, "restored", "its time is over", None)]


def test_one_that_passes_on_any_name_is_not_disabled_by_an_unknown_one():
    line = Line(names_model=False).ends(UNKNOWN_MODEL)
    assert (line.at(0.0), line.told) == (OKAY, [])
    line.ends(misconfigured(401))
    assert line.at(0.0)[1] == "disabled_credentials"


def test_what_else_is_not_found_disables_nothing():
    """An endpoint that a model has not, or an id in the request."""
    line = Line().ends(misconfigured(404))
    assert (line.at(0.0), line.told) == (OKAY, [])


def test_many_that_find_out_at_once_are_one_alarm():
    line = Line()
    for n in range(100):
        line.ends(UNKNOWN_MODEL if n else misconfigured(401), float(n))
    assert line.events == [(0.0, "disabled", "a said 401", None)]
    assert line.at(99.0)[1] == "disabled_credentials"
    assert line.standing.describe(99.0)["since"] == pytest.approx(0.0)


def test_it_is_never_disabled_for_less_than_it_was():
    line = Line().ends(quota(100.0), 0.0).ends(quota(10.0), 1.0)
    assert line.at(1.0) == ("disabled", "disabled_quota", 100.0)
    line.ends(quota(200.0), 2.0)
    assert line.at(2.0) == ("disabled", "disabled_quota", 202.0)
    line.ends(misconfigured(401), 3.0).ends(quota(50.0), 4.0)
    assert line.at(4.0) == ("disabled", "disabled_credentials", None)
    assert [event[:2] for event in line.events] == [(0.0, "disabled"), (3.0, "disabled")]
    assert line.standing.describe(4.0)["since"] == pytest.approx(0.0)


def test_what_begins_again_is_a_new_alarm():
    line = Line().ends(quota(10.0), 0.0).ends(quota(10.0), 10.0)
    assert [event[:2] for event in line.events] == [(0.0, "disabled"), (10.0, "disabled")]
    assert line.standing.describe(11.0)["since"] == pytest.approx(10.0)


def test_an_operator_restores_it():
    line = Line().ends(misconfigured(401), 0.0)
    line.standing.restore(5.0, "new key")
    assert line.at(5.0) == OKAY
    line.standing.restore(6.0, "once more")
    assert line.events[1:] == [(5.0, "restored", "new key", None)]
    line.ends(misconfigured(401), 7.0)
    assert line.at(7.0)[1] == "disabled_credentials"


def test_drained_and_disabled_are_two_things():
    line = Line().ends(misconfigured(401), 0.0)
    line.standing.drain(1.0, "new disks", until=10.0)
    assert line.at(2.0) == ("drained", "drained", None)
    line.standing.restore(3.0, "new key")
    assert line.at(3.0) == ("drained", "drained", 10.0)
    line.ends(misconfigured(401), 4.0)
    assert line.at(10.0) == ("disabled", "disabled_credentials", None)
    assert [event[1] for event in line.events] == ["disabled", "drained", "restored", "disabled", "undrained"]


# --- resting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [lambda s: RateLimited("wait", status=429, retry_after=s), lambda s: Overloaded("full", status=529, retry_after=s)],
)
def test_retry_after_lets_it_rest_for_that_long_and_300_s_at_most(kind):
    line = Line().ends(kind(5.0), 10.0)
    assert line.standing.not_before == pytest.approx(15.0)
    assert line.at(14.9) == ("resting", "rate_limited", 15.0)
    assert line.at(15.0) == OKAY
    line.ends(kind(7200.0), 20.0)
    assert line.at(20.0) == ("resting", "rate_limited", 320.0)
    line.ends(kind(1.0), 21.0)
    assert line.standing.not_before == pytest.approx(320.0)
    assert line.told == []


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_without_a_time_to_come_back_it_does_not_rest(seconds):
    line = Line().ends(RateLimited("wait", status=429, retry_after=seconds))
    assert (line.at(0.0), line.standing.not_before) == (OKAY, -math.inf)


def test_a_rest_keeps_out_first_attempts_only():
    line = Line().ends(RateLimited("wait", status=429, retry_after=5.0))
    assert line.refusal(1.0, FIRST) == "rate_limited"
    assert line.refusal(1.0, SECOND) is None


def test_what_is_over_is_looked_at_no_more():
    line = Line().ends(RateLimited("wait", status=429, retry_after=5.0))
    assert line.refusal(5.0) is None
    assert line.standing._clear


def test_an_operator_who_restores_it_ends_its_rest_too():
    line = Line().ends(RateLimited("wait", status=429, retry_after=5.0))
    line.standing.restore(1.0, "come on")
    assert (line.at(1.0), line.told) == (OKAY, [])


def test_a_rest_comes_last_and_the_longest_says_until_when():
    line = Line().ends(RateLimited("wait", status=429, retry_after=50.0)).ends(quota(20.0))
    assert line.at(1.0) == ("disabled", "disabled_quota", 50.0)
    assert line.at(20.0) == ("resting", "rate_limited", 50.0)
    assert line.at(50.0) == OKAY


FAILURES = st.one_of(
    st.sampled_from([401, 402, 403, 404, 302, 418]).map(misconfigured),
    st.floats(0, 400).map(quota),
    st.builds(quota),
    st.floats(0, 400).map(lambda seconds: RateLimited("wait", status=429, retry_after=seconds)),
)
ACTIONS = st.one_of(
    FAILURES.map(lambda failure: ("ends", failure)),
    st.sampled_from([("drain", None), ("drain", 50.0), ("undrain", None), ("restore", None), ("wait", None)]),
)


@given(st.lists(st.tuples(ACTIONS, st.floats(0, 100)), max_size=40))
@examples(300)
def test_the_fast_path_and_the_whole_truth_agree(steps):
    line, now = Line(), 0.0
    standing = line.standing
    for (action, argument), wait in steps:
        now += wait
        match action:
            case "ends":
                line.ends(argument, now)
            case "drain":
                standing.drain(now, "a test", None if argument is None else now + argument)
            case "undrain" | "restore":
                getattr(standing, action)(now, "a test")
        state, reason, until = line.at(now)
        words = {"ok": None, "drained": "drained", "resting": "rate_limited"}
        assert reason == words.get(state, reason)
        assert (reason or "").startswith("disabled_") == (state == "disabled")
        assert until is None or until > now
        assert standing._clear == (state == "ok")
        if until is not None:
            assert standing.state_at(until) == "ok"


def test_a_503_is_no_rest_whatever_its_retry_after_says():
    """A server with a fixed capacity says 1 s, and has room again after one answer."""
    standing = Standing("a/m")
    full = Overloaded("full", status=503, retry_after=30.0)
    standing.settle(Ending(full.outcome, full), 0.0)
    assert standing.refusal(call_for(), 0.0) is None


def test_where_nothing_may_eject_it_only_an_operator_takes_it_out():
    standing = Standing("a/m", listens=False)
    for failure in (Misconfigured("key?", status=401), RateLimited("wait", status=429, retry_after=30.0)):
        standing.settle(Ending(failure.outcome, failure), 0.0)
    assert standing.refusal(call_for(), 0.0) is None
    standing.drain(0.0, "maintenance")
    assert standing.refusal(call_for(), 0.0) == "drained"
