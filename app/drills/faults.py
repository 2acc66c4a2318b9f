"""The faults of a scenario, as the gateway's chaos takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from app.drills.scenario import Scenario
from app.settings import Settings
from app.settings.faults import rule_of
from app.wiring import Gateway
from router.chaos import FaultRefused, Rule


def rules_of(
    scenario: Scenario, settings: Settings, sound: Collection[int] | None = None
) -> Iterator[tuple[int, Rule | FaultRefused]]:
    """Each by its position, those that are ``sound``; what is refused with why. They draw by the scenario's seed unless they
    name their own.
    """
    known = [route.id_of(target) for route in settings.routes for target in route.targets]
    models = [route.model for route in settings.routes]
    for n, fault in enumerate(scenario.faults):
        if sound is not None and n not in sound:
            continue
        seed = fault.seed if "seed" in fault.model_fields_set else settings.seed
        # Some remember what they have done: each run begins with one of its own, which all gateways share, as they do the servers.
        asked = fault.model_copy(update={"seed": seed, "ttl": fault.ends - fault.at, "knobs": replace(fault.knobs)})
        try:
            rule = rule_of(asked, fault.id or f"{fault.kind}@{n}", known, models)
        except FaultRefused as refused:
            yield n, refused
            continue
        if rule.ttl > settings.chaos.max_ttl:
            yield n, FaultRefused(f"must be at most {settings.chaos.max_ttl:g} s (`chaos.max_ttl`)", "ttl")
        elif not settings.chaos.enabled:
            yield n, FaultRefused("chaos is off in `config` (`chaos.enabled: false`)", "kind")
        else:
            yield n, rule


async def inject(at: float, rule: Rule, gateways: Sequence[Gateway]) -> None:
    """At its time, in every gateway."""
    await asyncio.sleep(at - asyncio.get_running_loop().time())
    for gateway in gateways:
        gateway.chaos.add(rule)
