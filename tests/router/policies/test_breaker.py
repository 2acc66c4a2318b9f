from __future__ import annotations

import asyncio
import math

import pytest
from reach import keeps_alive
from worlds import Upstream, World, call_for, fails, healthy, on_virtual_clock

from providers import Outcome
from providers.errors import (
    Disconnected,
    Empty,
    Malformed,
    Misconfigured,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerFault,
    TimedOut,
    Truncated,
    Unreachable,
)
from router import config
from router.errors import Refused, RouterError
from router.policies.breaker import CLOSED, FORCED_OPEN, HALF_OPEN, OPEN, Breaker
from router.policies.ejections import Ejections
from router.policy import IGNORED, OK, UNSENT, Ending
from router.select.chance import unit
from router.types import Attempt, Route, Target

TARGET = Target(Upstream("a"), "m")
ROUTE = Route("m", (TARGET,))


def attempt(*, stream: bool = True, forced: bool = False) -> Attempt:
    return Attempt(call_for(stream=stream), ROUTE, TARGET, 1, 0.0, 600.0, forced=forced)


ATTEMPT, FORCED = attempt(), attempt(forced=True)


def failed(failure) -> Ending:
    return Ending(failure.outcome, failure)


FAULT = failed(ServerFault("no", status=500))
BUSY = failed(RateLimited("wait", status=429))
CUT = failed(Truncated("no terminal event"))


class Line:
    """A breaker, its timeline, and what happens to calls. ``time`` stands still unless it is set."""

    def __init__(self, **settings) -> None:
        self.moves = []
        self.breaker = Breaker("a/m", config.Breaker(**settings), emit=self.moves.append)
        self.time = 0.0

    def admit(self, attempt=ATTEMPT):
        return self.breaker.admit(attempt, self.time)

    def call(self, ending=OK, *, seconds=0.1, begins=None, attempt=ATTEMPT) -> None:
        """One call, from admission to its end in no time. Only what fails does not begin, unless told."""
        ticket = self.admit(attempt)
        if begins if begins is not None else ending is OK:
            ticket.begun(seconds, self.time)
        ticket.settle(ending, self.time)

    def calls(self, *endings, every=0.0) -> Line:
        for ending in endings:
            self.call(ending)
            self.time += every
        return self

    def look(self) -> str | None:
        return self.breaker.refusal(ATTEMPT.call, self.time)

    def refused(self) -> str:
        with pytest.raises(Refused) as refusal:
            self.admit()
        assert self.look() == refusal.value.reason
        return refusal.value.reason

    def told(self, *names):
        described = self.breaker.describe(self.time)
        return described[names[0]] if len(names) == 1 else tuple(described[name] for name in names)

    @property
    def counts(self):
        return self.told("calls", "failures", "slow", "consecutive_failures")

    @property
    def probes(self):
        return self.told("probes")["running"], self.told("probes")["results"]

    def open(self) -> Line:
        """By five failures in a row."""
        self.calls(*[FAULT] * 5)
        assert self.breaker.state == OPEN
        return self

    def half_open(self) -> Line:
        self.open()
        self.time = self.breaker.open_until
        return self


# --- what counts: table B10 -----------------------------------------------------------------------------------------

# (failure, after the answer had begun, (calls, failures, slow, in a row after two failures), is its permit consumed)
B10 = {
    "unreachable": (Unreachable("refused"), False, (1, 1, 0, 3), True),
    "connect_timeout": (TimedOut("connect", 5.0), False, (1, 1, 0, 3), True),
    "closed_before_headers": (Disconnected("closed"), False, (1, 1, 0, 3), True),
    "reset_midway": (Disconnected("reset"), True, (1, 1, 0, 3), True),
    "500": (ServerFault("no", status=500), False, (1, 1, 0, 3), True),
    "502": (ServerFault("no", status=502), False, (1, 1, 0, 3), True),
    "503": (Overloaded("full", status=503), False, (1, 1, 0, 3), True),
    "504": (ServerFault("no", status=504), False, (1, 1, 0, 3), True),
    "529": (Overloaded("full", status=529), False, (1, 1, 0, 3), True),
    "in_band_api_error": (ServerFault("said so"), True, (1, 1, 0, 3), True),
    "in_band_overloaded": (Overloaded("said so"), True, (1, 1, 0, 3), True),
    "first_token_timeout": (TimedOut("first_token", 30.0), False, (1, 1, 1, 3), True),
    "attempt_timeout": (TimedOut("attempt", 300.0), False, (1, 1, 1, 3), True),
    "idle_timeout": (TimedOut("idle", 15.0), True, (1, 1, 1, 3), True),
    "truncated": (Truncated("cut"), True, (1, 1, 1, 3), True),
    "malformed_at_once": (Malformed("html"), False, (1, 1, 1, 3), True),
    "malformed_midway": (Malformed("not JSON"), True, (1, 1, 1, 3), True),
    "empty": (Empty("nothing"), False, (1, 1, 1, 3), True),
    "429": (RateLimited("wait", status=429), False, (1, 1, 0, 2), True),
    "429_in_band": (RateLimited("wait", status=429), True, (1, 1, 0, 2), True),
    "quota": (QuotaExhausted("no money", status=429), False, (0, 0, 0, 2), False),
    "401": (Misconfigured("key", status=401), False, (0, 0, 0, 2), False),
    "402": (Misconfigured("pay", status=402), False, (0, 0, 0, 2), False),
    "403": (Misconfigured("no", status=403), False, (0, 0, 0, 2), False),
    "404_model": (Misconfigured("model", status=404), False, (0, 0, 0, 2), False),
    "400": (Rejected("what?", status=400, body=b"{}"), False, (1, 0, 0, 2), True),
    "413": (Rejected("what?", status=413, body=b"{}"), False, (1, 0, 0, 2), True),
    "422": (Rejected("what?", status=422, body=b"{}"), False, (1, 0, 0, 2), True),
}
ROWS = {name: (failed(failure), 0.1 if begun else None, *rest) for name, (failure, begun, *rest) in B10.items()} | {
    "client_left_waiting": (IGNORED, None, (0, 0, 0, 2), False),
    "client_left_midway": (IGNORED, 0.1, (1, 0, 0, 0), True),  # its answer had begun
    "our_own_refusal": (UNSENT, None, (0, 0, 0, 2), False),
    "success": (OK, 0.1, (1, 0, 0, 0), True),
    "slow_success": (OK, 20.1, (1, 0, 1, 0), True),
}
EVERY_ROW = pytest.mark.parametrize(("ending", "begins", "counted", "consumed"), ROWS.values(), ids=ROWS)


@EVERY_ROW
def test_b10_what_counts_while_it_is_closed(ending, begins, counted, consumed):
    line = Line().calls(FAULT, FAULT)
    before = line.counts
    line.call(ending, seconds=begins, begins=begins is not None)
    calls, failures, slow, in_a_row = line.counts
    assert (calls - before[0], failures - before[1], slow - before[2], in_a_row) == counted


@EVERY_ROW
def test_b10_what_becomes_of_a_half_open_permit(ending, begins, counted, consumed):
    line = Line().half_open()
    ticket = line.admit()
    assert line.probes == (1, 0)
    if begins is not None:
        ticket.begun(begins, line.time)
        assert line.probes == (0, 1)
    ticket.settle(ending, line.time)
    assert line.probes == (0, int(consumed))
    assert line.counts[:3] == counted[:3]


def test_m9_half_of_the_calls_rate_limited_open_it_by_rate_and_never_as_a_row():
    line = Line().calls(*[BUSY] * 9)
    assert line.told("consecutive_failures") == 0
    line.call(BUSY)
    assert line.moves[-1].reason == "10 of 10 calls failed"
    mixed = Line(failure_rate=0.6)
    for n in range(1000):
        mixed.call(BUSY if n % 2 else OK)
        assert mixed.told("consecutive_failures") == 0
    assert mixed.breaker.state == CLOSED


def test_a_rate_limit_neither_ends_a_row_nor_belongs_to_it():
    line = Line().calls(FAULT, FAULT, BUSY, BUSY, FAULT, FAULT)
    assert line.counts == (6, 6, 0, 4)
    line.call(FAULT)
    assert line.moves[-1].reason == "5 failures in a row"


# --- closed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("consecutive", [1, 2, 5, 9])
def test_with_the_nth_failure_the_very_next_admit_is_refused(consecutive):
    line = Line(consecutive=consecutive)
    for _ in range(consecutive):
        assert line.look() is None
        line.call(FAULT)
    assert line.refused() == "breaker_open"
    assert line.moves[0].reason == f"{consecutive} failures in a row"


@on_virtual_clock
async def test_with_the_nth_failure_the_very_next_request_does_not_reach_the_target_whatever_its_weight():
    breaker = Breaker("a/m", config.Breaker())
    upstream, spare = Upstream("a", fails(ServerFault("no", status=500))), Upstream("b", healthy())
    world = World([upstream, spare], weights=[200, 1], max_attempts=2)
    world.targets[0].live.guarded_by(breaker, counters=())
    n = 0
    while breaker.state == CLOSED:
        await world.answer(call_for(f"r{(n := n + 1)}"))
    assert len(upstream.calls) == 5
    for later in range(100):
        await world.answer(call_for(f"later {later}"))
    assert (len(upstream.calls), len(spare.calls)) == (5, n + 100)


@pytest.mark.parametrize(
    ("failures", "of", "opens"),
    [(9, 9, False), (5, 10, True), (4, 10, False), (5, 11, False), (50, 100, True), (49, 100, False)],
)
def test_the_failure_rate_opens_it_from_the_least_number_of_calls_on(failures, of, opens):
    line = Line(consecutive=1000).calls(*[OK] * (of - failures), *[FAULT] * failures)
    assert (line.breaker.state == OPEN) is opens
    if opens:
        assert line.moves[0].reason == f"{failures} of {of} calls failed"


def test_a_success_may_be_the_call_that_makes_them_enough():
    line = Line().calls(*[FAULT, OK] * 4, FAULT)
    assert line.breaker.state == CLOSED
    line.call(OK)
    assert line.moves[0].reason == "5 of 10 calls failed"
    rejected = Line().calls(*[FAULT, OK] * 4, FAULT)
    rejected.call(failed(Rejected("what?", status=400, body=b"{}")))
    assert rejected.breaker.state == OPEN


def test_a_rate_that_is_met_exactly_is_met():
    assert Line(min_calls=25, consecutive=9, failure_rate=0.28).calls(*[OK] * 18, *[FAULT] * 7).breaker.state == OPEN


def test_what_is_older_than_the_window_does_not_count():
    line = Line(window=10.0).calls(*[FAULT, OK] * 4)
    line.time = 9.9
    assert line.counts == (8, 4, 0, 0)
    line.time = 10.0
    assert line.counts == (0, 0, 0, 0)
    line.calls(FAULT, OK)
    assert line.breaker.state == CLOSED


def test_a_row_is_not_forgotten_with_time():
    line = Line().calls(FAULT, FAULT, FAULT, FAULT, every=100.0)
    assert line.counts == (0, 0, 0, 4)
    line.call(FAULT)
    assert line.breaker.state == OPEN


@pytest.mark.parametrize(
    ("slow", "of", "rate", "opens"), [(10, 10, 1.0, True), (9, 10, 1.0, False), (3, 10, 0.3, True)]
)
def test_the_slow_rate_opens_it(slow, of, rate, opens):
    line = Line(slow_rate=rate)
    for n in range(of):
        line.call(seconds=0.1 if n < of - slow else 20.1)
    assert (line.breaker.state == OPEN) is opens
    if opens:
        assert line.moves[0].reason == f"{slow} of {of} calls were slow"


def test_slow_is_more_than_the_limit_and_only_of_streams():
    line = Line()
    line.call(seconds=20.0)
    line.call(seconds=250.0, attempt=attempt(stream=False))
    assert line.counts == (2, 0, 0, 0)
    line.call(seconds=20.001)
    assert line.counts == (3, 0, 1, 0)


def test_m10_one_call_in_a_hundred_twenty_times_slower_for_an_hour_leaves_it_closed():
    line = Line()
    slow = 0
    for n in range(36_000):
        line.time = n / 10
        gray = unit(10, f"r{n}", "gray") < 0.01
        seconds = 1.0 + unit(10, f"r{n}", "seconds")
        slow += gray
        line.call(seconds=seconds * 20 if gray else seconds)
        assert line.look() is None
    assert (line.breaker.state, line.moves) == (CLOSED, [])
    assert 300 < slow < 420
    assert line.told("slow") > 0


def test_m8_a_thousand_clients_that_leave_midway_leave_it_closed():
    line = Line().calls(FAULT)
    for n in range(1000):
        line.call(IGNORED, begins=n % 2 == 0)
    assert (line.breaker.state, line.told("failures")) == (CLOSED, 1)


# --- answers that break off -----------------------------------------------------------------------------------------


def test_m11_when_every_answer_breaks_off_every_call_failed():
    by_row = Line()
    for _ in range(5):
        by_row.call(CUT, begins=True)
    assert by_row.moves[0].reason == "5 failures in a row"
    assert by_row.told("calls", "failures") == (5, 5)
    by_rate = Line(consecutive=1000, failure_rate=1.0)
    tickets = [by_rate.admit() for _ in range(10)]
    for ticket in tickets:
        ticket.begun(0.1, by_rate.time)
    for ticket in tickets:
        by_rate.time += 1.0
        ticket.settle(CUT, by_rate.time)
    assert by_rate.moves[0].reason == "10 of 10 calls failed"


def test_an_answer_that_breaks_off_counts_once_and_at_its_end():
    line = Line(window=10.0)
    long, longer = line.admit(), line.admit()
    long.begun(21.0, line.time)
    longer.begun(21.0, line.time)
    assert line.counts == (2, 0, 2, 0)
    line.time = 9.0
    long.settle(CUT, line.time)
    assert line.counts == (2, 1, 2, 1)
    line.time = 18.0  # its beginning is forgotten, and so is the other's
    assert line.counts == (1, 1, 1, 1)
    longer.settle(CUT, line.time)
    assert line.counts == (2, 2, 2, 2)


def test_a_slow_answer_that_is_reset_stays_slow():
    line = Line()
    line.call(failed(Disconnected("reset")), seconds=21.0, begins=True)
    assert line.counts == (1, 1, 1, 1)


def test_an_answer_that_breaks_off_has_not_ended_a_row():
    line = Line().calls(FAULT, FAULT, FAULT)
    ticket = line.admit()
    ticket.begun(0.1, line.time)
    assert line.told("consecutive_failures") == 0
    line.call(FAULT)
    ticket.settle(CUT, line.time)
    assert line.moves[0].reason == "5 failures in a row"


def test_a_success_after_one_that_breaks_off_has():
    line = Line().calls(FAULT, FAULT, FAULT, FAULT)
    ticket = line.admit()
    ticket.begun(0.1, line.time)
    line.calls(*[OK] * 20)
    ticket.settle(CUT, line.time)
    assert line.counts == (25, 5, 1, 1)


def test_a_rate_limit_midway_takes_the_success_back_and_is_no_hard_failure():
    line = Line().calls(FAULT, FAULT)
    line.call(BUSY, begins=True)
    assert line.counts == (3, 3, 0, 2)


# --- open -----------------------------------------------------------------------------------------------------------


def test_it_stays_open_for_its_time_and_then_lets_probes_through():
    line = Line().open()
    end = line.breaker.open_until
    assert 5.0 <= end < 7.5
    assert line.breaker.until(0.0) == end
    line.time = math.nextafter(end, 0.0)
    assert line.refused() == "breaker_open"
    line.time = end
    assert line.breaker.until(end) is None
    line.admit()
    assert line.breaker.state == HALF_OPEN


def test_each_opening_lasts_longer_up_to_a_limit_and_by_chance():
    line = Line(open_base=5.0, open_max=20.0)
    factors = []
    for k in (1, 2, 3, 4, 5, 6):
        line.calls(*[FAULT] * 5)
        assert line.told("ejections_in_a_row") == k
        seconds = line.breaker.open_until - line.time
        factors.append(seconds / min(20.0, 5.0 * k))
        line.time = line.breaker.open_until
    assert all(1.0 <= factor < 1.5 for factor in factors)
    assert len({round(factor, 6) for factor in factors}) == 6
    assert [move.ejections for move in line.moves if move.after == OPEN] == [1, 2, 3, 4, 5, 6]


def test_chance_is_the_targets_own_and_can_be_repeated():
    def end(target: str, seed: int) -> float:
        breaker = Breaker(target, config.Breaker(), seed=seed)
        breaker.trip(0.0, "a test")
        return breaker.open_until

    assert end("a/m", 1) == end("a/m", 1)
    assert len({end("a/m", 1), end("a/m", 2), end("b/m", 1)}) == 3


def test_each_healthy_interval_takes_one_ejection_off():
    line = Line().open()
    for _ in range(2):
        line.time = line.breaker.open_until
        line.breaker.trip(line.time, "again")
    line.time = line.breaker.open_until + 100.0  # no healthy time
    assert line.told("ejections_in_a_row") == 3
    line.calls(*[OK] * 5)
    closed_at = line.time
    for seconds, left in ((9.9, 3), (10.0, 2), (19.9, 2), (20.0, 1), (30.0, 0), (1e6, 0), (-25.0, 3)):
        line.time = closed_at + seconds
        assert line.told("ejections_in_a_row") == left
    line.time = closed_at + 25.0
    line.open()
    assert line.told("ejections_in_a_row") == 2


def test_a_result_from_before_the_opening_counts_no_more():
    line = Line()
    early, begun, late = line.admit(), line.admit(), line.admit()
    begun.begun(0.1, line.time)
    line.open()
    counted = line.counts
    early.settle(FAULT, line.time)
    begun.settle(CUT, line.time)
    assert line.counts == counted
    line.time = line.breaker.open_until
    assert line.look() is None
    late.begun(0.1, line.time)
    late.settle(FAULT, line.time)
    assert (line.breaker.state, line.probes) == (HALF_OPEN, (0, 0))


def test_a_permit_from_before_gives_nothing_back():
    line = Line().half_open()
    old = line.admit()
    line.breaker.trip(line.time, "again")
    line.time = line.breaker.open_until
    line.admit()
    old.settle(UNSENT, line.time)
    assert line.probes == (1, 0)
    line.breaker.force_close(line.time, "fixed")
    line.calls(FAULT, FAULT)
    old.settle(FAULT, line.time)
    assert line.counts == (2, 2, 0, 2)


def test_a_verdict_of_earlier_probes_is_no_verdict():
    line = Line(half_open=2).half_open()
    old = [line.admit(), line.admit()]
    line.breaker.force_close(line.time, "fixed")
    for ticket in old:
        ticket.settle(FAULT, line.time)
    assert line.told("state", "ejections_in_a_row") == (CLOSED, 1)


def test_a_failed_probe_from_outside_opens_it_anew_and_for_longer():
    line = Line().open()
    first = line.breaker.open_until
    line.time = first - 1.0
    line.breaker.trip(line.time, "probe: 500")
    assert line.breaker.open_until >= line.time + 10.0
    last = line.moves[-1]
    assert (last.before, last.after, last.ejections, last.reason) == (OPEN, OPEN, 2, "probe: 500")


def test_it_is_never_open_for_less_than_it_was():
    line = Line(open_base=100.0).open()
    end = line.breaker.open_until
    line.breaker._config = config.Breaker(open_base=0.1)
    line.breaker.trip(1.0, "probe: 500")
    assert line.breaker.open_until == end


# --- half open ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("callers", [20, 100])
def test_m7_half_open_admits_exactly_as_many_as_it_may_of_concurrent_callers(callers):
    @on_virtual_clock
    async def scenario():
        breaker = Breaker("a/m", config.Breaker())
        upstream = Upstream("a", *[fails(ServerFault("no", status=500))] * 5, healthy(opens=1.0))
        world = World([upstream], max_attempts=1, guards=[breaker])
        for n in range(5):
            with pytest.raises(RouterError):
                await world.answer(call_for(f"bad {n}"))
        await asyncio.sleep(breaker.open_until)
        answers = await asyncio.gather(
            *(world.answer(call_for(f"r{n}")) for n in range(callers)), return_exceptions=True
        )
        assert len(upstream.calls) == 5 + 5
        assert sum(isinstance(answer, RouterError) for answer in answers) == callers - 5
        assert breaker.state == CLOSED
        assert world.is_at_rest()

    scenario()


@pytest.mark.parametrize("permits", [1, 2, 5, 50])
def test_m7_granted_and_recorded_are_never_more_than_allowed(permits):
    line = Line(half_open=permits).half_open()
    tickets = [line.admit() for _ in range(permits)]
    assert line.refused() == "half_open_full"
    for ticket in tickets[1:]:
        ticket.begun(0.1, line.time)
        assert line.refused() == "half_open_full"
    tickets[0].begun(0.1, line.time)
    assert line.look() is None
    assert line.breaker.state == CLOSED


def test_looking_takes_no_permit():
    line = Line(half_open=1).half_open()
    assert [line.look() for _ in range(9)] == [None] * 9
    assert line.probes == (0, 0)


def test_a_released_permit_is_for_the_next():
    line = Line(half_open=1).half_open()
    for ending in (IGNORED, UNSENT, failed(QuotaExhausted("no money", status=429))):
        ticket = line.admit()
        assert line.refused() == "half_open_full"
        ticket.settle(ending, line.time)
        assert (line.look(), line.probes) == (None, (0, 0))


@pytest.mark.parametrize(
    ("results", "after", "reason"),
    [
        ([OK, OK, OK, OK, OK], CLOSED, "5 of 5 probes were good"),
        ([OK, FAULT, OK, FAULT, OK], CLOSED, "3 of 5 probes were good"),
        ([OK, FAULT, FAULT, FAULT, OK], OPEN, "3 of 5 probes failed"),
        ([FAULT] * 5, OPEN, "5 of 5 probes failed"),
        ([BUSY, BUSY, BUSY, OK, OK], OPEN, "3 of 5 probes failed"),
        ([failed(Rejected("what?", status=400, body=b"{}"))] * 5, CLOSED, "5 of 5 probes were good"),
    ],
)
def test_the_verdict_is_taken_when_all_results_are_there(results, after, reason):
    line = Line().half_open()
    for result in results:
        assert line.breaker.state in (OPEN, HALF_OPEN)
        line.call(result)
    assert (line.breaker.state, line.moves[-1].reason) == (after, reason)
    failures = sum(result in (FAULT, BUSY) for result in results)
    assert line.moves[-1][-5:-2] == (5, failures, 0)


@pytest.mark.parametrize(("seconds", "after"), [(20.1, OPEN), (20.0, CLOSED)])
def test_slow_probes_open_it_again(seconds, after):
    line = Line().half_open()
    for _ in range(5):
        line.call(seconds=seconds)
    assert line.breaker.state == after


def test_a_long_answer_holds_up_no_verdict():
    line = Line().half_open()
    tickets = [line.admit() for _ in range(5)]
    for ticket in tickets:
        ticket.begun(0.1, line.time)
    assert line.breaker.state == CLOSED
    for ticket in tickets:
        ticket.settle(OK, line.time + 500.0)
    assert line.counts == (0, 0, 0, 0)


def test_a_probe_that_breaks_off_before_the_verdict_has_failed():
    line = Line(failure_rate=0.2).half_open()
    first = line.admit()
    first.begun(0.1, line.time)
    first.settle(CUT, line.time)
    assert line.counts[:3] == (1, 1, 1)
    line.calls(OK, OK, OK, OK)
    assert line.moves[-1].reason == "1 of 5 probes failed"


def test_probes_that_say_nothing_open_it_again():
    line = Line(half_open=2).half_open()
    line.call(OK)
    line.admit()
    asked = line.time
    line.time = asked + 59.9
    assert (line.refused(), line.told("state")) == ("half_open_full", HALF_OPEN)
    line.time = asked + 60.0
    assert line.told("state", "since", "open_until") == (OPEN, line.time, None)  # for how long is not known yet
    assert (line.refused(), line.breaker.state) == ("breaker_open", OPEN)
    last = line.moves[-1]
    assert (last.reason, last.ejections) == ("1 probes have said nothing for 60 s", 2)
    assert last.open_until >= line.time + 10.0


def test_thin_traffic_does_not_keep_a_target_out():
    line = Line().half_open()
    for _ in range(4):
        line.call(OK)
        line.time += 45.0
    assert line.breaker.state == HALF_OPEN
    line.time += 1000.0
    assert line.look() is None
    line.call(OK)
    assert line.breaker.state == CLOSED


# --- forced attempts, companies, operators --------------------------------------------------------------------------


def test_a_forced_attempt_comes_in_and_says_nothing_while_it_is_open():
    line = Line().open()
    counted = line.counts
    assert line.admit(FORCED) is None
    assert (line.counts, line.breaker.state) == (counted, OPEN)


def test_a_forced_attempt_is_a_probe_while_there_are_permits():
    line = Line(half_open=2).half_open()
    line.admit()
    assert line.admit(FORCED) is not None
    assert line.probes == (2, 0)
    assert line.admit(FORCED) is None
    assert line.probes == (2, 0)
    closed = Line()
    closed.call(FAULT, attempt=FORCED)
    assert closed.counts == (1, 1, 0, 1)


def spared() -> tuple[Line, Breaker]:
    """It has failed 30 times, and may not be ejected since the other is."""
    company, other = Ejections(0.5), Breaker("b/m", config.Breaker())
    line = Line()
    company.join(line.breaker)
    company.join(other)
    other.trip(0.0, "a test")
    line.calls(*[FAULT] * 30)
    assert (line.breaker.state, line.look(), line.moves) == (CLOSED, None, [])
    assert line.told("ejections_in_a_row") == 0
    return line, other


def test_while_it_may_not_be_ejected_it_stays_closed_and_opens_as_soon_as_it_may():
    line, other = spared()
    other.force_close(0.0, "fixed")
    line.call(FAULT)
    assert line.moves[0].reason == "31 failures in a row"


def test_one_that_answers_again_before_it_may_be_ejected_is_judged_anew():
    """Else the target that carried the route through an outage would be ejected for that when another comes back."""
    line, other = spared()
    line.time += 1.0
    line.calls(OK)
    other.force_close(0.0, "fixed")
    line.calls(*[OK] * 20, *[FAULT] * 4)
    assert (line.moves, line.told("calls", "failures")) == ([], (24, 4))
    line.call(FAULT)
    assert line.moves[0].reason == "5 failures in a row"


def test_one_that_answers_now_and_then_is_ejected_soon_after_it_may_be():
    line, other = spared()
    line.calls(*[OK, FAULT, FAULT, FAULT] * 20)
    assert line.moves == []
    other.force_close(0.0, "fixed")
    for ending in [OK, FAULT, FAULT, FAULT] * 3:
        if not line.moves:
            line.call(ending)
    assert [move.after for move in line.moves] == ["open"]


def test_an_operator_opens_it_for_a_time():
    line = Line()
    running = line.admit()
    line.breaker.force_open(0.0, "maintenance", until=50.0)
    running.settle(FAULT, 1.0)
    assert line.told("state", "open_until", "reason") == (FORCED_OPEN, 50.0, "maintenance")
    line.time = 49.9
    assert line.refused() == "forced_open"
    line.breaker.trip(line.time, "probe: 500")
    assert line.breaker.state == FORCED_OPEN
    line.time = 50.0
    assert (line.breaker.state_at(50.0), line.look(), line.breaker.state) == (HALF_OPEN, None, HALF_OPEN)
    assert line.moves[-1].before == FORCED_OPEN


def test_an_operator_opens_it_until_further_notice():
    line = Line()
    line.breaker.force_open(0.0, "maintenance")
    line.time = 1e9
    assert (line.refused(), line.breaker.until(1e9)) == ("forced_open", None)
    assert line.told("state", "open_until") == (FORCED_OPEN, None)
    line.breaker.force_close(line.time, "done")
    assert (line.look(), line.told("state", "since", "reason")) == (None, (CLOSED, 1e9, "done"))
    assert [(move.before, move.after) for move in line.moves] == [(CLOSED, FORCED_OPEN), (FORCED_OPEN, CLOSED)]


def test_an_operator_does_not_shorten_what_it_opened_itself():
    line = Line(open_base=100.0).open()
    end = line.breaker.open_until
    line.breaker.force_open(0.0, "maintenance", until=1.0)
    assert line.breaker.open_until == end
    line.breaker.force_open(0.0, "maintenance", until=1000.0)
    line.breaker.force_open(0.0, "shorter", until=500.0)  # their own word they may
    assert line.told("open_until") == pytest.approx(500.0)


def test_an_operator_closes_it_and_what_was_counted_is_forgotten_but_its_ejections():
    line = Line().calls(FAULT, FAULT, OK)
    line.breaker.force_close(0.0, "fresh")
    assert line.counts == (0, 0, 0, 0)
    line.open()
    line.breaker.force_close(0.0, "fixed")
    assert line.told("open_until", "ejections_in_a_row") == (None, 1)
    line.time = 12.0
    line.breaker.force_close(12.0, "once more")  # an interval has passed all the same
    assert line.told("ejections_in_a_row") == 0
    line.open()
    assert line.breaker.open_until < 12.0 + 7.5


def test_one_that_is_not_enabled_only_counts():
    line = Line(enabled=False).calls(*[FAULT] * 100)
    assert (line.look(), line.breaker.state, line.moves) == (None, CLOSED, [])
    assert line.counts == (100, 100, 0, 100)
    line.breaker.trip(0.0, "probe: 500")
    assert line.breaker.state == CLOSED


def test_one_that_is_not_enabled_opens_for_an_operator_and_has_no_probes():
    line = Line(enabled=False)
    line.breaker.force_open(0.0, "maintenance", until=10.0)
    assert line.refused() == "forced_open"
    line.time = 10.0
    assert line.told("state", "since") == (CLOSED, 10.0)
    line.call(FAULT)
    assert (line.breaker.state, line.counts) == (CLOSED, (1, 1, 0, 1))


# --- what it tells --------------------------------------------------------------------------------------------------


def test_what_time_brings_is_shown_before_anybody_looks():
    line = Line().open()
    end = line.breaker.open_until
    line.time = end + 5.0
    assert line.told("state", "since", "open_until") == (HALF_OPEN, end, None)
    assert (line.breaker.state, len(line.moves)) == (OPEN, 1)
    assert line.look() is None
    assert line.told("state", "since") == (HALF_OPEN, end + 5.0)
    assert len(line.moves) == 2


def test_it_describes_itself():
    line = Line()
    assert line.breaker.describe(0.0) == {
        "state": CLOSED,
        "since": 0.0,
        "reason": None,
        "open_until": None,
        "calls": 0,
        "failures": 0,
        "slow": 0,
        "consecutive_failures": 0,
        "ejections_in_a_row": 0,
        "probes": {"running": 0, "results": 0, "of": 5},
        "enabled": True,
    }
    line.time = 7.0
    line.call(seconds=30.0)
    line.open()
    assert line.breaker.describe(8.0) == {
        "state": OPEN,
        "since": 7.0,
        "reason": "5 failures in a row",
        "open_until": line.breaker.open_until,
        "calls": 6,
        "failures": 5,
        "slow": 1,
        "consecutive_failures": 0,
        "ejections_in_a_row": 1,
        "probes": {"running": 0, "results": 0, "of": 5},
        "enabled": True,
    }


def test_each_transition_is_one_line():
    line = Line().calls(OK)
    line.half_open()
    end = line.time
    line.calls(*[FAULT] * 5)
    again = line.breaker.open_until
    line.time = again
    line.calls(*[OK] * 5)
    line.breaker.force_open(line.time, "a test", until=line.time + 1.0)
    first, *rest = [tuple(move) for move in line.moves]
    assert first == (0.0, "a/m", CLOSED, OPEN, "5 failures in a row", 6, 5, 0, 1, end)
    assert rest == [
        (end, "a/m", OPEN, HALF_OPEN, "its time is over", 6, 5, 0, 1, 0.0),
        (end, "a/m", HALF_OPEN, OPEN, "5 of 5 probes failed", 5, 5, 0, 2, again),
        (again, "a/m", OPEN, HALF_OPEN, "its time is over", 5, 5, 0, 2, 0.0),
        (again, "a/m", HALF_OPEN, CLOSED, "5 of 5 probes were good", 5, 0, 0, 2, 0.0),
        (again, "a/m", CLOSED, FORCED_OPEN, "a test", 0, 0, 0, 2, again + 1.0),
    ]


@pytest.mark.parametrize("state", [CLOSED, HALF_OPEN])
def test_a_ticket_keeps_no_request_alive(state):
    line = Line() if state == CLOSED else Line().half_open()
    held = attempt()
    ticket = line.admit(held)
    ticket.begun(0.1, line.time)
    assert keeps_alive(ticket, line.breaker)
    assert not keeps_alive(ticket, held.call)


def test_outcomes_alone_say_what_counts():
    line = Line()
    for outcome in Outcome:
        line.call(Ending(outcome), begins=False)
    assert line.counts == (3, 2, 0, 2)
