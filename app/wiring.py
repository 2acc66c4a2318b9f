"""The only place that chooses classes: settings in, a running gateway's parts out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

from app.settings import ANY_MODEL, ProviderSettings, RouteSettings, Settings, TargetSettings
from app.settings.in_force import (
    TargetPolicies,
    chaos_of,
    experiments_of,
    hedge_of,
    price_of,
    retry_of,
    shedding_of,
    target_policies,
    timeouts_of,
)
from providers import Provider, kinds
from providers.base import Probed
from router import Dispatcher, Live, Retry, Route, Routes, Target, Timeouts
from router.chaos import Chaos, faulty
from router.config import RetryBudget
from router.events import BreakerMoved, Events, Unanswered
from router.gate import Gate
from router.mirrors import Mirrors
from router.policies.attempt_cap import AttemptCap
from router.policies.breaker import CLOSED, HALF_OPEN, Breaker
from router.policies.concurrency import Limiter
from router.policies.deadline import Deadline
from router.policies.dont_retry import DontRetry
from router.policies.ejections import Ejections
from router.policies.hedge_share import HedgeShare
from router.policies.load import Load
from router.policies.retry_budget import Purse, RetryBudgets
from router.policies.retry_concurrency import RetryConcurrencies
from router.policies.retry_throttle import RetryThrottles
from router.policies.standing import Standing
from router.policies.throttle import Throttle
from router.policy import Policy
from router.probing import Probe, Prober
from router.types import Mirror


@dataclass(slots=True)
class Gateway:
    """What lives as long as the process. ``lives`` are the targets' live states by provider/model, under ``policies``;
    ``providers`` are as they are, and the routes reach them through ``chaos``. ``draining`` is set once, when it is told to stop.
    """

    settings: Settings
    dispatcher: Dispatcher
    providers: Mapping[str, Provider]
    lives: Mapping[str, Live]
    policies: Mapping[str, TargetPolicies]
    events: Events
    gate: Gate
    budgets: RetryBudgets
    mirrors: Mirrors
    prober: Prober
    chaos: Chaos
    started: int
    draining: bool = field(default=False)

    @property
    def routes(self) -> Routes:
        return self.dispatcher.routes

    async def aclose(self) -> None:
        self.chaos.close()
        await asyncio.gather(self.prober.aclose(), self.mirrors.aclose())
        await asyncio.gather(*(provider.aclose() for provider in self.providers.values()))


def build(
    settings: Settings,
    started: int = 0,
    previous: Gateway | None = None,
    *,
    make: Callable[[ProviderSettings], Provider] | None = None,
    stopwatch: Callable[[], float] = perf_counter,
    instance: int = 0,
) -> Gateway:
    """``started`` is the wall clock in whole seconds; it dates the models. Targets that ``previous`` has too, under the same
    policies, share its live state. On a virtual clock ``make`` gives the providers, and ``stopwatch`` is the clock.
    ``instance`` tells gateways under one configuration apart: their breakers open at once, and must not ask again at once.
    """
    make = make or _make
    events = Events()
    providers = {entry.name: make(entry) for entry in settings.providers}
    lives: dict[str, Live] = {}
    chaos = Chaos(chaos_of(settings), events, lambda: sum(live.in_flight for live in lives.values()))
    reached = {one.name: faulty(one, chaos, lives) for one in providers.values()} if chaos.config.enabled else providers
    targets = _Targets(settings, reached, lives, events, previous, instance)
    routes = targets.routes()
    gate = Gate(shedding_of(settings), events)
    budgets, dont_retry = RetryBudgets(), DontRetry()
    rules: list[Policy] = [Deadline(), dont_retry, *_wanted_rules(routes.values())]
    dispatcher = Dispatcher(
        Routes({model: route for model, route in routes.items() if model != ANY_MODEL}, routes.get(ANY_MODEL)),
        gate=gate,
        # What costs nothing comes first, so that no budget is spent on an attempt that is refused all the same.
        rules=rules,
        retry_rules=[AttemptCap(), *rules, RetryConcurrencies(), budgets],
        events=events,
        storming=dont_retry.active,
        seed=settings.seed,
        stopwatch=stopwatch,
    )
    _let_limits_learn(events, targets.lives, targets.policies)
    return Gateway(
        settings,
        dispatcher,
        providers,
        targets.lives,
        targets.policies,
        events,
        gate,
        budgets,
        Mirrors(settings.seed),
        Prober(targets.probes, events),
        chaos,
        started,
    )


def _make(entry: ProviderSettings) -> Provider:
    provider: Provider = kinds()[entry.kind].build(entry.name, entry.options)
    return provider


def _wanted_rules(routes: Collection[Route]) -> list[Policy]:
    """Every attempt asks every rule, so what no route wants is left out."""
    rules: list[Policy] = []
    if any(route.hedge is not None for route in routes):
        rules.append(HedgeShare())
    if any(route.retry.throttle.enabled for route in routes):
        rules.append(RetryThrottles())
    return rules


def _let_limits_learn(events: Events, lives: Mapping[str, Live], policies: Mapping[str, TargetPolicies]) -> None:
    """What one guard finds out of a target, for the limit of what it may do at once."""

    def moved(event: BreakerMoved) -> None:
        """A target that was ejected gets its traffic back by slow start, as in Envoy: all of it at once would eject it again."""
        limiter = lives[event.target].guard(Limiter)
        if limiter is not None and event.before == HALF_OPEN and event.after == CLOSED:
            limiter.restart(policies[event.target].breaker.half_open)

    def unanswered(event: Unanswered) -> None:
        limiter = lives[event.target].guard(Limiter)
        if limiter is not None:
            limiter.unanswered(event)

    events.listen(moved, BreakerMoved)
    events.listen(unanswered, Unanswered)


class _Targets:
    """Makes routes and their targets; one live state, with its guards, for each provider and model."""

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, Provider],
        lives: dict[str, Live],
        events: Events,
        previous: Gateway | None,
        instance: int,
    ) -> None:
        self.lives = lives
        self.policies: dict[str, TargetPolicies] = {}
        self.probes: list[Probe] = []
        self._settings = settings
        self._providers = providers
        self._events = events
        self._previous = previous
        self._seed = settings.seed + instance

    def routes(self) -> dict[str, Route]:
        return {entry.model: self._route(entry) for entry in self._settings.routes}

    def _route(self, entry: RouteSettings) -> Route:
        retry, timeouts = retry_of(self._settings, entry), timeouts_of(self._settings, entry)
        policies = [target_policies(self._settings, entry, target) for target in entry.targets]
        targets = [self._target(entry, target, own, retry) for target, own in zip(entry.targets, policies, strict=True)]
        self._join(targets, policies[0].breaker.max_ejected)
        mirror = None
        if entry.mirror is not None:
            mirrored = Target(
                self._providers[entry.mirror.provider], entry.upstream_model(entry.mirror), timeouts=timeouts
            )
            mirror = Mirror(mirrored, entry.mirror.share)
        return Route(
            entry.model,
            tuple(targets),
            total=timeouts.total,
            retry=retry,
            strategy=entry.strategy,
            hedge=hedge_of(entry),
            mirror=mirror,
            experiments=experiments_of(entry),
        )

    def _join(self, targets: list[Target], max_ejected: float) -> None:
        """The breakers of a route mind each other; those of a gateway that runs mind their own."""
        company = Ejections(max_ejected)
        for target in targets:
            breaker = target.live.guard(Breaker)
            if breaker is not None and not self._is_shared(target):
                company.join(breaker)

    def _is_shared(self, target: Target) -> bool:
        return self._previous is not None and self._previous.lives.get(target.id) is target.live

    def _target(self, route: RouteSettings, entry: TargetSettings, policies: TargetPolicies, retry: Retry) -> Target:
        provider = self._providers[entry.provider]
        target = Target(
            provider,
            route.upstream_model(entry),
            weight=entry.weight,
            tier=entry.tier,
            price=price_of(entry),
            timeouts=policies.timeouts,
        )
        live = self.lives.get(target.id) or self._begun(target, policies, retry.budget)
        return replace(target, live=live)

    def _begun(self, target: Target, policies: TargetPolicies, budget: RetryBudget) -> Live:
        policies = replace(policies, timeouts=Timeouts())  # those are the route's
        previous = self._previous
        if previous is not None and previous.policies.get(target.id) == policies:
            live = previous.lives[target.id]
        else:
            live = self._alive(target, policies, budget)
            breaker = live.guard(Breaker)
            if isinstance(target.provider, Probed) and breaker is not None:
                self.probes.append(Probe(target.id, target.provider, breaker, live, policies.probing))
        self.lives[target.id] = live
        self.policies[target.id] = policies
        return live

    def _alive(self, target: Target, policies: TargetPolicies, budget: RetryBudget) -> Live:
        """The order is the one in which they are asked; what has the shortest answer comes first."""
        live = Live()
        emit = self._events.emit
        live.guarded_by(
            Standing(target.id, emit=emit, names_model=target.model is not None, listens=policies.breaker.enabled),
            Breaker(target.id, policies.breaker, seed=self._seed, emit=emit),
            Throttle(policies.throttle, target.id),
            Limiter(live, policies.concurrency),
            counters=(Purse(budget), Load(live, target.id, emit)),
        )
        return live
