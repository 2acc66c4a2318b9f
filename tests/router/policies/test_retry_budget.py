from __future__ import annotations

from collections import Counter
from math import ceil, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from providers import Outcome
from router.config import Retry, RetryBudget
from router.errors import Refused
from router.policies.attempt_cap import AttemptCap
from router.policies.deadline import Deadline
from router.policies.dont_retry import DontRetry
from router.policies.retry_budget import Purse, RetryBudgets, TokenBudget
from router.policies.retry_concurrency import RetryConcurrencies
from router.policy import IGNORED, OK, UNSENT, Ending, Ticket, admit_all, settle_all
from router.types import Attempt, Live, Route, Target

BURST = 10
FINAGLE = RetryBudget(ratio=0.2, min_per_second=10.0, ttl=10.0, burst=0)
OURS = RetryBudget(ratio=0.1, min_per_second=0.0, ttl=10.0, burst=0)
BURSTING = RetryBudget(ratio=0.1, min_per_second=0.0, ttl=10.0, burst=BURST)
TTL = 10.0
SLICE = 1.0


def granted(budget: TokenBudget, now: float, asked: int = 1000) -> int:
    return sum(budget.try_withdraw(now) for _ in range(asked))


# --- Finagle's bucket -------------------------------------------------------------------------------------------------


def test_m1_finagle_s_defaults_without_traffic_grant_a_hundred_retries_a_ttl():
    """Property (iii) of K1 as well."""
    budget = TokenBudget(FINAGLE)
    assert budget.balance(0.0) == 100
    assert [budget.try_withdraw(0.1 * n) for n in range(100)] == [True] * 100  # up to 9.9 s
    assert [budget.try_withdraw(9.95) for _ in range(50)] == [False] * 50
    assert budget.balance(9.95) == 0
    assert granted(budget, 9.9 + TTL) == 100
    assert granted(budget, 9.9 + TTL + 5.0) == 0


def test_m2_a_tenth_of_ten_requests_a_second_is_one_retry_a_second():
    budget = TokenBudget(OURS)
    retries = 0
    for n in range(600):
        budget.deposit(n / 10)
        retries += budget.try_withdraw(n / 10 + 0.01)
    assert retries / 60 == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("ratio", "deposits", "retries"),
    [(0.1, 9, 0), (0.1, 10, 1), (0.2, 4, 0), (0.2, 5, 1), (1, 7, 7), (0.7, 10_000, 6_997)],
)
def test_a_retry_costs_as_many_deposits_as_the_ratio_says(ratio, deposits, retries):
    budget = TokenBudget(RetryBudget(ratio=ratio))
    for _ in range(deposits):
        budget.deposit(0.0)
    assert granted(budget, 0.0, asked=10_000) == retries


@pytest.mark.parametrize(("ratio", "free", "retries"), [(0.0, 0.0, 0), (0.0, 1.0, 10), (0.1, 1.0, 20), (0.1, 0.05, 10)])
def test_deposits_and_free_retries_add_up(ratio, free, retries):
    budget = TokenBudget(RetryBudget(ratio=ratio, min_per_second=free))
    for _ in range(100):
        budget.deposit(0.0)
    assert granted(budget, 0.0, asked=10_000) == retries


@pytest.mark.parametrize(("at", "left"), [(9.99, 10), (10.0, 0), (1e6, 0)])
def test_what_was_deposited_expires(at, left):
    budget = TokenBudget(OURS)
    for _ in range(100):
        budget.deposit(0.5)
    assert budget.balance(at) == left
    assert granted(budget, at) == left


def test_a_retry_that_was_never_sent_is_as_if_it_had_never_been_asked_for():
    budget = TokenBudget(OURS)
    for _ in range(10):
        budget.deposit(1.0)
    assert budget.try_withdraw(2.0)
    assert budget.balance(9.0) == 0
    budget.refund(2.0, 9.0)
    assert budget.balance(9.0) == 1
    assert [budget.balance(11.0 + n) for n in range(9)] == [0] * 9


@pytest.mark.parametrize("pause", [10.0, 10.5, 11.0, 1000.0])
def test_what_has_expired_is_not_given_back(pause):
    """A client leaves while its retry waits for a long Retry-After."""
    budget = TokenBudget(OURS)
    for _ in range(10):
        budget.deposit(0.0)
    assert budget.try_withdraw(0.0)
    for _ in range(10):
        budget.deposit(pause)
    budget.refund(0.0, pause)
    assert budget.balance(pause) == 1


# --- the burst --------------------------------------------------------------------------------------------------------


def test_a_fresh_gateway_can_fail_over_from_its_first_request_on():
    budget = TokenBudget(OURS, BURST)
    for n in range(BURST):
        budget.deposit(n / 10)
        assert budget.try_withdraw(n / 10 + 0.05)


def test_sustained_failure_gets_the_ratio_and_one_burst():
    """200 requests a second for 60 s, all of them fail, and each asks for two retries."""
    budget = TokenBudget(OURS, BURST)
    retries = 0
    for n in range(12_000):
        budget.deposit(n / 200)
        retries += granted(budget, n / 200, asked=2)
    assert 1_200 <= retries <= 1_200 + BURST


@pytest.mark.parametrize(("quiet", "left"), [(9.9, 0), (10.0, BURST), (30.0, BURST)])
def test_the_burst_is_back_after_a_ttl_in_which_nobody_needed_it(quiet, left):
    budget = TokenBudget(OURS, BURST)
    assert granted(budget, 0.0) == BURST
    assert not budget.try_withdraw(5.0)  # a denial is need as well
    assert budget.balance(5.0 + quiet) == left
    assert granted(budget, 5.0 + quiet) == left


def test_the_burst_does_not_come_back_while_it_is_asked_for():
    budget = TokenBudget(OURS, BURST)
    assert [granted(budget, 9.9 * n) for n in range(20)] == [BURST] + [0] * 19


def test_the_burst_is_a_floor_and_comes_on_top_of_nothing():
    poor, rich = TokenBudget(OURS, BURST), TokenBudget(OURS, BURST)
    for _ in range(50):
        poor.deposit(0.0)
    for _ in range(2_000):
        rich.deposit(0.0)
    assert (poor.balance(0.0), rich.balance(0.0)) == (BURST, 200)
    assert granted(poor, 0.0, asked=5) == 5
    assert poor.balance(0.0) == BURST - 5
    assert (granted(poor, 0.0), granted(rich, 0.0)) == (BURST - 5, 200)


def test_where_there_was_traffic_before_the_failure_retries_are_the_ratio_to_the_letter():
    """200 requests a second; all fail for 60 s, and each asks for two retries."""
    budget = TokenBudget(OURS, BURST)
    for n in range(2_000):
        budget.deposit(n / 200)
    retries = 0
    for n in range(2_000, 14_000):
        budget.deposit(n / 200)
        retries += granted(budget, n / 200, asked=2)
    assert retries <= 1_200 + 200  # what the ttl before has saved


# --- K1's properties --------------------------------------------------------------------------------------------------

# Seconds to the next step, and what it is: a first attempt, a retry, or a retry that is never sent.
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5, 12.0, 40.0]), st.sampled_from("ddddddwwu")), max_size=120
)


def played(budget: TokenBudget, steps: list[tuple[float, str]]) -> tuple[list[float], list[float]]:
    """When there was a deposit, and when a retry was sent."""
    now = 0.0
    deposits: list[float] = []
    sent: list[float] = []
    for gap, what in steps:
        now += gap
        if what == "d":
            budget.deposit(now)
            deposits.append(now)
        elif budget.try_withdraw(now):
            if what == "u":
                budget.refund(now, now)
            else:
                sent.append(now)
    return deposits, sent


def within(times: list[float], after: float, until: float) -> int:
    return sum(after < time <= until for time in times)


@examples(500)
@given(STEPS, st.integers(1, 100))
def test_property_i_retries_are_at_most_the_ratio_of_the_originals(steps, percent):
    """Since the start, and in the slices of any ttl that ends with a retry: floor(r * N), without a bit of grain."""
    deposits, sent = played(TokenBudget(RetryBudget(ratio=percent / 100)), steps)
    for now in sent:
        assert 100 * within(sent, -1, now) <= percent * within(deposits, -1, now)
        oldest = int(now / SLICE) * SLICE - TTL + SLICE - 1e-9
        assert 100 * within(sent, oldest, now) <= percent * within(deposits, oldest, now)


@examples(500)
@given(STEPS, st.integers(0, 100), st.integers(0, 12))
def test_property_i_with_a_burst(steps, percent, burst):
    """In any ttl: the ratio of the originals in it and in the ttl before, and one burst."""
    deposits, sent = played(TokenBudget(RetryBudget(ratio=percent / 100), burst), steps)
    for now in sent:
        assert within(sent, now - TTL, now) <= percent * within(deposits, now - 2 * TTL, now) / 100 + burst + 1e-9


@examples(200)
@given(
    st.lists(st.tuples(st.floats(0, 9.9), st.integers(0, 5)), max_size=80),
    st.integers(0, 100),
    st.integers(0, 12),
)
def test_property_i_with_a_burst_while_the_need_lasts(steps, percent, burst):
    """However long: each step is less than a ttl after the last and asks until it is denied."""
    budget = TokenBudget(RetryBudget(ratio=percent / 100), burst)
    now, originals, retries = 0.0, 0, 0
    for gap, deposits in steps:
        now += gap
        for _ in range(deposits):
            budget.deposit(now)
        originals += deposits
        retries += granted(budget, now)
        assert retries <= percent * originals / 100 + burst + 1e-9


@examples(200)
@given(STEPS, st.integers(0, 100), st.integers(0, 5), st.integers(0, 12), st.floats(0.001, 100))
def test_property_ii_an_idle_bucket_returns_to_its_reserve_after_ttl(steps, percent, free, burst, more):
    budget = TokenBudget(RetryBudget(ratio=percent / 100, min_per_second=float(free)), burst)
    played(budget, steps)
    now = sum(gap for gap, _ in steps) + TTL + more
    assert budget.balance(now) == max(free * TTL, burst)
    assert granted(budget, now) == max(free * TTL, burst)


@examples(200)
@given(st.lists(st.floats(0, 9.9), min_size=1, max_size=150))
def test_property_iii_finagle_s_defaults_grant_exactly_a_hundred_in_a_ttl_without_traffic(times):
    budget = TokenBudget(FINAGLE)
    grants = [budget.try_withdraw(now) for now in sorted(times)]
    assert grants == [n < 100 for n in range(len(times))]


# --- the rule ---------------------------------------------------------------------------------------------------------


def route_of(count: int = 2, budget: RetryBudget = OURS, model: str = "m", max_attempts: int = 3) -> Route:
    targets = tuple(Target(Upstream(f"t{n}"), "m", live=with_purse(budget)) for n in range(count))
    return Route(model, targets, retry=Retry(max_attempts, budget=budget))


def with_purse(budget: RetryBudget) -> Live:
    """Of a target that fails all the time: what fails over to it is paid for."""
    live = Live(failed_at=inf)
    live.guarded_by(counters=(Purse(budget),))
    return live


def sent(attempt: Attempt, now: float) -> list[Ticket]:
    """Admitted by the rule, and counted where it goes."""
    return admit_all([RetryBudgets(), *attempt.target.live.guards], attempt, now)


def first(route: Route, *, retries: int = 0) -> Attempt:
    return Attempt(call_for()._replace(retries=retries), route, route.targets[0], 1, 0.0, 600.0)


def follow(route: Route, *, hedge: bool = False, after: int = 0) -> Attempt:
    return Attempt(call_for(), route, route.targets[1], 2, 0.0, 600.0, after=route.targets[after], hedge=hedge)


def test_first_attempts_pay_and_retries_are_paid_at_the_target_that_failed():
    route = route_of()
    failed, other = (target.live for target in route.targets)
    for _ in range(20):
        settle_all(sent(first(route), 0.0), OK, 1.0)
    assert RetryBudgets.balance_of(failed, 1.0) == 2
    settle_all(sent(follow(route), 1.0), OK, 2.0)
    settle_all(sent(follow(route, hedge=True), 1.0), IGNORED, 2.0)
    assert RetryBudgets.balance_of(failed, 2.0) == 0
    assert RetryBudgets.balance_of(other, 2.0) == 0  # what runs there as a retry pays nothing in
    assert RetryBudgets.balance_of(Live(), 2.0) is None


@pytest.mark.parametrize("hedge", [False, True])
def test_an_empty_budget_ends_the_call_but_not_for_the_sake_of_a_hedge(hedge):
    with pytest.raises(Refused) as refusal:
        sent(follow(route_of(), hedge=hedge), 0.0)
    assert (refusal.value.reason, refusal.value.final) == ("rate_budget", not hedge)


def test_a_client_s_own_retry_pays_nothing():
    route = route_of()
    for _ in range(100):
        assert sent(first(route, retries=1), 0.0) == []
    with pytest.raises(Refused):
        sent(follow(route), 0.0)


def test_a_retry_that_was_never_sent_is_paid_back():
    route = route_of()
    for _ in range(10):
        sent(first(route), 0.0)
    for _ in range(50):
        settle_all(sent(follow(route), 1.0), UNSENT, 2.0)
    assert RetryBudgets.balance_of(route.targets[0].live, 2.0) == 1


def test_routes_that_name_one_target_share_its_budget():
    live = with_purse(OURS)
    routes = [
        Route(model, (Target(Upstream("a"), "m", live=live), Target(Upstream("b"), "m", live=with_purse(OURS))))
        for model in ("one", "two")
    ]
    for _ in range(5):
        sent(first(routes[0]), 0.0)
        sent(first(routes[1]), 0.0)
    assert RetryBudgets.balance_of(live, 0.0) == 1
    sent(follow(routes[1]), 0.0)
    with pytest.raises(Refused):
        sent(follow(routes[0]), 0.0)


def test_each_target_has_its_own_burst():
    route = route_of(budget=BURSTING)
    for after in (0, 1):
        for _ in range(BURST):
            sent(follow(route, after=after), 0.0)
        with pytest.raises(Refused):
            sent(follow(route, after=after), 0.0)


@pytest.mark.parametrize(("failed_at", "now", "free"), [(-inf, 0.0, True), (5.0, 14.9, False), (5.0, 15.0, True)])
def test_who_fails_over_to_a_target_that_has_not_failed_for_a_ttl_pays_nothing(failed_at, now, free):
    """Once 5 of 8 that were in flight at a model that died were lost, beside a backup that was well."""
    route = route_of()
    route.targets[1].live.failed_at = failed_at
    if free:
        for _ in range(100):
            sent(follow(route), now)
    else:
        with pytest.raises(Refused):
            sent(follow(route), now)
    with pytest.raises(Refused):
        sent(follow(route, hedge=True), now)
    with pytest.raises(Refused):
        sent(follow(route, after=1), now)


def test_it_can_be_switched_off():
    route = route_of(budget=RetryBudget(enabled=False))
    assert [sent(follow(route), 0.0) for _ in range(100)] == [[]] * 100
    assert sent(first(route), 0.0) == []
    assert RetryBudgets.balance_of(route.targets[0].live, 0.0) is None


def test_it_never_refuses_by_itself_and_shows_what_is_left():
    purse = Purse(BURSTING)
    assert (purse.refusal(call_for(), 0.0), purse.until(0.0)) == (None, None)
    assert purse.describe(0.0) == {"enabled": True, "remaining": BURST}


# --- all rules together, in the order of K1 ---------------------------------------------------------------------------


class Ledger:
    """Calls through all the rules, and what was sent of them: originals by their target, retries and hedges by the one
    that they follow. Nothing expires.
    """

    def __init__(self, percent: int) -> None:
        self.route = route_of(3, RetryBudget(ratio=percent / 100, ttl=1e6, burst=0), max_attempts=4)
        self.originals: Counter[Live] = Counter()
        self.retries: Counter[Live] = Counter()
        self.concurrency, self.budgets = RetryConcurrencies(), RetryBudgets()
        self.rules = [AttemptCap(), Deadline(), DontRetry(), self.concurrency, self.budgets]
        self.open: list[tuple[list, Ending]] = []

    def call(self, fates: list[str], now: float) -> None:
        number, after, hedge = 1, None, False
        for fate in fates:
            target = self.route.targets[number % 3]
            attempt = Attempt(call_for(), self.route, target, number, 0.0, now + 600.0, after=after, hedge=hedge)
            try:
                tickets = admit_all(self.rules, attempt, now)
            except Refused as refusal:
                if refusal.final:
                    return
                continue
            if fate == "guard":  # one of the target's refuses
                settle_all(tickets, UNSENT, now)
                continue
            tickets += admit_all(target.live.guards, attempt, now)
            number += 1
            self.note(attempt)
            self.answer(tickets, fate, now)
            if fate in {"ok", "left"}:
                return
            after, hedge = target, fate == "slow"

    def note(self, attempt: Attempt) -> None:
        if attempt.after is None:
            self.originals[attempt.target.live] += 1
        else:
            self.retries[attempt.after.live] += 1

    def answer(self, tickets: list, fate: str, now: float) -> None:
        if fate == "fault":
            settle_all(tickets, Ending(Outcome.FAULT), now)
            return
        for ticket in tickets if fate == "ok" else []:
            ticket.begun(0.1, now)
        self.open.append((tickets, OK if fate == "ok" else IGNORED))


@examples(200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.02, 0.5, 3.0, 15.0]),
            st.lists(st.sampled_from(["ok", "fault", "fault", "left", "guard", "slow"]), min_size=1, max_size=6),
        ),
        max_size=60,
    ),
    st.integers(1, 100),
)
def test_property_iv_what_is_sent_is_originals_and_granted_retries_and_hedges(calls, percent):
    """Each budget knows exactly what was sent, whatever was refused or never left; at the end every slot is free."""
    ledger = Ledger(percent)
    now = 0.0
    for gap, fates in calls:
        now += gap
        ledger.call(fates, now)
    for live in {*ledger.originals, *ledger.retries}:
        paid_for = ledger.originals[live] * 1000 // ceil(1000 / (percent / 100))
        assert ledger.retries[live] <= paid_for
        assert ledger.budgets.balance_of(live, now) == paid_for - ledger.retries[live]
    for tickets, ending in ledger.open:
        settle_all(tickets, ending, now + 60.0)
    assert ledger.concurrency.running("m") == 0
