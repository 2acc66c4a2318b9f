"""What is in force: the defaults, under what a route says, under what a target says, as the core's own values.

For sound settings only; nothing here can fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.settings.model import RouteSettings, Settings, TargetSettings
from app.settings.section import Section
from providers import kinds
from router.config import (
    Backoff,
    Breaker,
    Chaos,
    Concurrency,
    DontRetry,
    Hedge,
    Probing,
    Queue,
    Retry,
    RetryBudget,
    RetryConcurrency,
    RetryThrottle,
    Shedding,
    Throttle,
    Timeouts,
)
from router.experiments import Arm, Experiment


@dataclass(frozen=True, slots=True)
class TargetPolicies:
    """All but ``timeouts`` is alike for every target of one provider and model: the checks see to that."""

    timeouts: Timeouts
    breaker: Breaker
    concurrency: Concurrency
    throttle: Throttle
    probing: Probing


def timeouts_of(settings: Settings, route: RouteSettings, target: TargetSettings | None = None) -> Timeouts:
    """``total`` is the route's."""
    return Timeouts(**_merged("timeouts", settings.defaults, route, target))


def retry_of(settings: Settings, route: RouteSettings) -> Retry:
    values = _merged("retry", settings.defaults, route)
    return Retry(
        values["max_attempts"],
        Backoff(**values["backoff"]),
        RetryBudget(**values["budget"]),
        RetryConcurrency(**values["concurrency"]),
        RetryThrottle(**values["throttle"]),
        DontRetry(**values["dont_retry"]),
    )


def target_policies(settings: Settings, route: RouteSettings, target: TargetSettings) -> TargetPolicies:
    levels = (settings.defaults, route, target)
    return TargetPolicies(
        timeouts_of(settings, route, target),
        Breaker(**_merged("breaker", *levels)),
        _concurrency(settings, target.provider, _merged("concurrency", *levels)),
        Throttle(**_merged("throttle", *levels)),
        Probing(**_merged("probing", *levels)),
    )


def _concurrency(settings: Settings, provider: str, values: dict[str, Any]) -> Concurrency:
    """Whoever queues what is too much shows it by the time to first token, and whoever refuses it by refusing."""
    if values["algorithm"] == "auto":
        known = kinds()
        queues = any(known[given.kind].queues for given in settings.providers if given.name == provider)
        values["algorithm"] = "gradient" if queues else "aimd"
    return Concurrency(**values)


def hedge_of(route: RouteSettings) -> Hedge | None:
    if route.hedge is None:
        return None
    after, share = route.hedge.after, route.hedge.max_share
    if isinstance(after, str):
        return Hedge(quantile=float(after.removeprefix("p")) / 100, max_share=share)
    return Hedge(after=after, max_share=share)


def experiments_of(route: RouteSettings) -> tuple[Experiment, ...]:
    return tuple(
        Experiment(
            each.name,
            tuple(Arm(arm.name, tuple(arm.providers), arm.share) for arm in each.arms),
            salt=each.salt,
            unit=each.unit,
            failover=each.failover,
        )
        for each in route.experiments
    )


def shedding_of(settings: Settings) -> Shedding:
    values = settings.shedding.model_dump()
    return Shedding(**{**values, "queue": Queue(**values["queue"])})


def chaos_of(settings: Settings) -> Chaos:
    given = settings.chaos
    return Chaos(given.enabled, given.max_active, given.max_ttl)


def price_of(target: TargetSettings) -> float | None:
    """USD for a million tokens, of which two in three are output."""
    return None if target.price is None else (target.price.input + 2 * target.price.output) / 3


def _merged(name: str, *levels: Section | None) -> dict[str, Any]:
    """The section of each level, the later over the earlier. An override's None says nothing."""
    values: dict[str, Any] = {}
    for level in levels:
        section: Section | None = getattr(level, name, None)
        if section is not None:
            values = _over(values, section.model_dump(exclude_none=True))
    return values


def _over(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    values = dict(outer)
    for key, value in inner.items():
        values[key] = _over(outer.get(key, {}), value) if isinstance(value, dict) else value
    return values
