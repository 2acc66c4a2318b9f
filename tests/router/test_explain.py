"""What explain foretells is what the dispatcher then does; and asking changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from props import examples
from worlds import Books, Script, Upstream, World, call_for, fails, healthy, now, on_virtual_clock

from providers.errors import ServerFault
from router import Call, Decision, Live, Priority, Route, RouterError, Routes, Target
from router.config import Backoff, DontRetry, Retry, RetryBudget
from router.config import Breaker as BreakerConfig
from router.errors import UnknownPin
from router.explain import Explanation, Outlook, at_the_gate, explain
from router.policies.breaker import Breaker
from router.policies.load import Load
from router.policies.retry_budget import Purse, RetryBudgets
from router.policy import Guard

AT_REST = {
    "enabled": True,
    "tokens_in_flight": 0,
    "max_tokens_in_flight": 1_000_000,
    "waiting": {"batch": 0, "sheddable": 0, "default": 0, "critical": 0},
}
BROKEN = fails(ServerFault("broken", status=500))


class Foresight:
    """Asks about calls of a world: with budgets that pay for everything, unless told otherwise."""

    def __init__(self, world: World, balance: int | None = None, *, storming: bool = False) -> None:
        self._world = world
        self._outlook = Outlook(AT_REST, lambda _model, _now: storming, lambda _live, _now: balance)

    @property
    def route(self) -> Route:
        return self._world.dispatcher.routes.find("m")

    def of(self, call: Call, at: float = 0.0) -> Explanation:
        return explain(call, self.route, self._outlook, seed=self._world.seed, now=at)

    def chain(self, call: Call) -> list[str]:
        return [link.target.id for link in self.of(call).chain]


def set_route(world: World, **changes: Any) -> None:
    world.dispatcher.routes = Routes({"m": replace(world.dispatcher.routes.find("m"), **changes)})


def guard(target: Target, guard: Guard) -> None:
    """It is asked first."""
    live = target.live
    live.guards, live.looks = (guard, *live.guards), (guard.refusal, *live.looks)


def refusing(reason: str) -> Any:
    """A guard that never lets anyone in."""
    books = Books()
    books.refusal = lambda _call, _now: reason  # type: ignore[method-assign]
    return books


@on_virtual_clock
async def test_the_first_choice_is_the_one_that_is_made() -> None:
    world = World([Upstream(name, healthy()) for name in "abc"], weights=[5, 3, 1])
    foresight = Foresight(world)
    seen: Counter[str] = Counter()
    for n in range(200):
        call = call_for(f"request-{n}")
        foretold = foresight.chain(call)[0]
        decision = Decision()
        async with await world.dispatcher.open(call, decision) as reply:
            assert reply.target == foretold
        seen[foretold] += 1
    assert len(seen) == 3


@given(
    weights=st.lists(st.sampled_from([0.5, 1, 2, 200]), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
    attempts=st.integers(1, 6),
    request_id=st.text("abc123", min_size=1, max_size=8),
    pin=st.sampled_from([None, "u0", "u0, *"]),
)
@examples(60)
def test_the_chain_is_the_one_that_failing_attempts_take(
    weights: list[float], seed: int, attempts: int, request_id: str, pin: str | None
) -> None:
    @on_virtual_clock
    async def scenario() -> None:
        upstreams = [Upstream(f"u{place}", BROKEN) for place in range(len(weights))]
        world = World(upstreams, max_attempts=attempts, weights=weights, seed=seed)
        call = call_for(request_id, pin=pin)
        explanation = Foresight(world).of(call)
        began, decision = now(), Decision()
        with pytest.raises(RouterError):
            await world.dispatcher.open(call, decision)
        assert [link.target.id for link in explanation.chain] == [tried.name for tried in decision.tried]
        starts = [step.began - began for step in decision.steps if step.sent]
        assert [link.starts for link in explanation.chain] == pytest.approx(starts)
        assert explanation.end == "max_attempts"

    scenario()


@given(
    seconds=st.lists(st.sampled_from([None, 0.01, 0.5, 2.0, 5.0]), min_size=1, max_size=4),
    fastest=st.sampled_from([0.01, 5.0]),
    seed=st.integers(0, 2**32),
    attempts=st.integers(1, 6),
    timeout=st.sampled_from([0.05, 0.3, 1.0, 3.0, 10.0]),
    backoff=st.sampled_from([0.0, 0.1, 1.0, 5.0]),
)
@example(seconds=[0.5], fastest=0.01, seed=0, attempts=1, timeout=0.3, backoff=0.0)  # the cap is asked first
@examples(60)
def test_the_chain_passes_over_and_ends_as_the_dispatcher_does_for_lack_of_time(
    seconds: list[float | None], fastest: float, seed: int, attempts: int, timeout: float, backoff: float
) -> None:
    @on_virtual_clock
    async def scenario() -> None:
        world = World([Upstream(f"u{place}", BROKEN) for place in range(len(seconds))], seed=seed)
        set_route(world, retry=Retry(attempts, Backoff(base=backoff, cap=5.0)))
        for target, usual in zip(world.targets, seconds, strict=True):
            for seconds_each in (fastest, *[usual] * 20) if usual is not None else ():
                target.live.latency.observe(stream=True, tokens=1, seconds=seconds_each, now=0.0)
        call = call_for(timeout=timeout)
        explanation = Foresight(world).of(call)
        decision = Decision()
        with pytest.raises(RouterError):
            await world.dispatcher.open(call, decision)
        assert [link.target.id for link in explanation.chain] == [tried.name for tried in decision.tried]
        nobody_left = decision.last is not None
        assert bool(explanation.nobody) == nobody_left
        assert nobody_left or explanation.end == decision.steps[-1].refusal

    scenario()


@on_virtual_clock
async def test_asking_takes_nothing_and_calls_nobody() -> None:
    world = World([Upstream("a", healthy()), Upstream("b", healthy())])
    Foresight(world).of(call_for())
    assert world.calls == [0, 0]
    assert not world.books.settled
    assert world.in_flight == [0, 0]


@on_virtual_clock
async def test_every_target_is_shown_with_why_not() -> None:
    upstreams = [Upstream(name, healthy()) for name in ("heavy", "light", "pinned-only", "later")]
    world = World(upstreams, weights=[3, 1, 0, 1])
    set_route(world, targets=(*world.targets[:3], replace(world.targets[3], tier=1)))
    (first, *_) = Foresight(world).of(call_for()).chain
    assert [(one.state, one.why, one.share) for one in first.seen] == [
        (first.seen[0].state, None, 0.75),
        (first.seen[1].state, None, 0.25),
        ("excluded", "weight 0: reached by a pin only", None),
        ("excluded", "tier 1: after tier 0", None),
    ]
    assert {first.seen[0].state, first.seen[1].state} == {"picked", "candidate"}
    (pinned, *_) = Foresight(world).of(call_for(pin="pinned-only")).chain
    assert [(one.state, one.why) for one in pinned.seen] == [
        ("excluded", "not pinned"),
        ("excluded", "not pinned"),
        ("picked", None),
        ("excluded", "not pinned"),
    ]
    (open_pin, *_) = Foresight(world).of(call_for(pin="pinned-only, *")).chain
    assert [one.why for one in open_pin.seen] == [
        "pinned after others", "pinned after others", None, "pinned after others"
    ]  # fmt: skip


@on_virtual_clock
async def test_what_a_guard_refuses_is_left_out_and_said() -> None:
    world = World([Upstream("a", healthy()), Upstream("b", healthy())], weights=[1, 1])
    guard(world.targets[0], refusing("drained"))
    explanation = Foresight(world).of(call_for())
    assert [link.target.id for link in explanation.chain] == ["b/m"] * 3
    assert explanation.chain[0].seen[0].why == "drained"


@on_virtual_clock
async def test_nobody_left_says_how_each_looked() -> None:
    world = World([Upstream("a", healthy())], guards=[refusing("disabled")])
    explanation = Foresight(world).of(call_for())
    assert not explanation.chain
    assert explanation.end == "no_healthy_target"
    assert "disabled" in explanation.message
    assert [(one.state, one.why) for one in explanation.nobody] == [("excluded", "disabled")]


@on_virtual_clock
async def test_imagined_pauses_open_no_breaker_before_its_time() -> None:
    world = World([Upstream("a", BROKEN), Upstream("b", BROKEN)], weights=[1, 1])
    breaker = Breaker("a/m", BreakerConfig())
    guard(world.targets[0], breaker)
    breaker.force_open(0.0, "a test", until=5.0)
    set_route(world, retry=Retry(max_attempts=9, backoff=Backoff(base=100.0, cap=100.0)))
    explanation = Foresight(world).of(call_for())
    assert explanation.chain[-1].starts > 5.0
    assert {link.target.id for link in explanation.chain} == {"b/m"}
    assert breaker.state == "forced_open"


@pytest.mark.parametrize(
    ("balance", "storming", "attempts", "end"),
    [
        (None, False, 3, "max_attempts"),
        (0, False, 1, "rate_budget"),
        (9, False, 3, "max_attempts"),
        (9, True, 1, "dont_retry"),
    ],
)
def test_the_chain_ends_where_a_rule_would_end_it(balance: int | None, storming: bool, attempts: int, end: str) -> None:
    @on_virtual_clock
    async def scenario() -> None:
        world = World([Upstream("a", BROKEN), Upstream("b", BROKEN)])
        world.targets[1].live.failed_at = now()  # else it would be free to fail over to it
        explanation = Foresight(world, balance, storming=storming).of(call_for())
        assert (len(explanation.chain), explanation.end) == (attempts, end)

    scenario()


@on_virtual_clock
async def test_a_budget_pays_once_for_each_failure() -> None:
    world = World([Upstream("a", BROKEN)], max_attempts=9)
    explanation = Foresight(world, balance=2).of(call_for())
    assert (len(explanation.chain), explanation.end) == (3, "rate_budget")


@on_virtual_clock
async def test_who_has_failed_in_this_chain_is_no_well_target_to_fail_over_to() -> None:
    """The first failover is free, since b is well; the way back to a is paid for by b, as every one after it."""
    world = World([Upstream("a", BROKEN), Upstream("b", BROKEN)], max_attempts=9)
    assert [link.target.id for link in Foresight(world, balance=0).of(call_for()).chain] == ["a/m", "b/m"]
    live = [Live(), Live()]
    for one in live:
        purse = Purse(RetryBudget(ratio=0.0, burst=1))
        one.guarded_by(counters=[purse, Load(one)])
    set_route(world, targets=tuple(replace(target, live=one) for target, one in zip(world.targets, live, strict=True)))
    world.dispatcher._retry_rules = [*world.dispatcher._retry_rules, RetryBudgets()]
    foresight = Foresight(world)
    foresight._outlook = foresight._outlook._replace(balance=RetryBudgets.balance_of)
    explanation, decision = foresight.of(call_for()), Decision()
    with pytest.raises(RouterError):
        await world.dispatcher.open(call_for(), decision)
    assert [link.target.id for link in explanation.chain] == [tried.name for tried in decision.tried]
    assert explanation.end == decision.steps[-1].refusal == "rate_budget"


@on_virtual_clock
async def test_a_storm_is_no_matter_to_a_route_that_does_not_mind() -> None:
    world = World([Upstream("a", BROKEN)])
    set_route(world, retry=Retry(dont_retry=DontRetry(enabled=False)))
    assert Foresight(world, storming=True).of(call_for()).end == "max_attempts"


@on_virtual_clock
async def test_no_time_left_for_a_retry() -> None:
    world = World([Upstream("a", BROKEN)])
    set_route(world, retry=Retry(max_attempts=9, backoff=Backoff(base=100.0, cap=100.0)))
    explanation = Foresight(world).of(call_for("r7", timeout=0.5))
    assert (len(explanation.chain), explanation.end) == (1, "no_target_left")


@on_virtual_clock
async def test_who_could_not_answer_in_time_is_passed_over() -> None:
    world = World([Upstream("slow", healthy(opens=5.0)), Upstream("fast", healthy(opens=0.1))])
    for n in range(30):
        await world.answer(call_for(f"r{n}", pin="slow"))
        await world.answer(call_for(f"s{n}", pin="fast"))
    call = call_for("one", timeout=2.0)
    explanation = Foresight(world).of(call, at=now())
    assert explanation.chain[0].target.id == "fast/m"
    assert explanation.chain[0].seen[0].why == "deadline"
    decision = Decision()
    async with await world.dispatcher.open(call, decision) as reply:
        assert reply.target == "fast/m"
    assert decision.steps[0].refusal == "deadline"


@on_virtual_clock
async def test_a_pin_that_nobody_answers_to_is_the_calls_own_error() -> None:
    world = World([Upstream("a", Script())])
    with pytest.raises(UnknownPin):
        Foresight(world).of(call_for(pin="nobody"))


@pytest.mark.parametrize(
    ("state", "priority", "tokens", "has_room", "told"),
    [
        ({}, Priority.BATCH, 10, True, ("admitted", None)),
        ({"enabled": False, "tokens_in_flight": 2_000_000}, Priority.BATCH, 10, True, ("admitted", None)),
        ({"tokens_in_flight": 990_000}, Priority.BATCH, 10, True, ("shed", "progressive")),
        ({"tokens_in_flight": 990_000}, Priority.CRITICAL, 10, True, ("admitted", None)),
        (
            {"tokens_in_flight": 990_000},
            Priority.CRITICAL,
            20_000,
            True,
            ("queued", "990,000 of 1,000,000 tokens are in flight"),
        ),
        ({"waiting": AT_REST["waiting"] | {"default": 2}}, Priority.CRITICAL, 1, True, ("admitted", None)),  # type: ignore[operator]
        (
            {"waiting": AT_REST["waiting"] | {"default": 2}},  # type: ignore[operator]
            Priority.DEFAULT,
            1,
            True,
            ("queued", "2 of this priority or a higher one wait"),
        ),
        ({}, Priority.DEFAULT, 1, False, ("queued", "every target that could take it is at its limit")),
    ],
)
def test_the_gates_view(
    state: dict[str, Any], priority: Priority, tokens: int, has_room: bool, told: tuple[str, str | None]
) -> None:
    assert at_the_gate(AT_REST | state, priority, tokens, has_room=has_room) == told
