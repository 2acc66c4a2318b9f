"""The only place that chooses classes: settings in, a running gateway's parts out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter

from app.settings import DefaultsSettings, RouteSettings, Settings, TargetSettings
from providers import Provider, kinds
from router import Backoff, Dispatcher, Retry, Route, Routes, Target, Timeouts
from router.policies.attempt_cap import AttemptCap
from router.policies.deadline import Deadline
from router.policies.in_flight import InFlight

ANY_MODEL = "*"


@dataclass(slots=True)
class Gateway:
    """What lives as long as the process. ``draining`` is set once, when it is told to stop."""

    settings: Settings
    dispatcher: Dispatcher
    providers: dict[str, Provider]
    started: int
    draining: bool = field(default=False)

    @property
    def routes(self) -> Routes:
        return self.dispatcher.routes

    async def aclose(self) -> None:
        await asyncio.gather(*(provider.aclose() for provider in self.providers.values()))


def build(settings: Settings, started: int = 0) -> Gateway:
    """``started`` is the wall clock in whole seconds; it dates the models."""
    makers = kinds()
    providers = {entry.name: makers[entry.kind].build(entry.name, entry.options) for entry in settings.providers}
    routes = {entry.model: _route(entry, settings.defaults, providers) for entry in settings.routes}
    anything = routes.pop(ANY_MODEL, None)
    dispatcher = Dispatcher(
        Routes(routes, anything),
        rules=[AttemptCap(), Deadline()],
        guards=[InFlight()],
        seed=settings.seed,
        stopwatch=perf_counter,
    )
    return Gateway(settings, dispatcher, providers, started)


def _route(entry: RouteSettings, defaults: DefaultsSettings, providers: dict[str, Provider]) -> Route:
    timeouts = defaults.timeouts.model_dump()
    if entry.timeouts is not None:
        timeouts |= entry.timeouts.model_dump(exclude_none=True)
    retry = defaults.retry.model_dump()
    if entry.retry is not None:
        overrides = entry.retry.model_dump(exclude_none=True)
        retry["backoff"] |= overrides.pop("backoff", {})
        retry |= overrides
    targets = tuple(_target(target, timeouts, providers) for target in entry.targets)
    return Route(
        entry.model,
        targets,
        total=timeouts["total"],
        retry=Retry(retry["max_attempts"], Backoff(**retry["backoff"])),
    )


def _target(entry: TargetSettings, timeouts: dict[str, float], providers: dict[str, Provider]) -> Target:
    own = entry.timeouts.model_dump(exclude_none=True) if entry.timeouts is not None else {}
    return Target(
        providers[entry.provider],
        entry.model,
        weight=entry.weight,
        tier=entry.tier,
        timeouts=Timeouts(**(timeouts | own)),
    )
