"""A whole gateway on the virtual clock, in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.settings import ProviderSettings, Settings
from app.wiring import build
from providers import Provider
from router.sim import run
from router.sim.arrivals import Arrival
from router.sim.clients import Clients, Population
from router.sim.results import Results

OFF: Mapping[str, Any] = {"enabled": False}
END = 1e9  # seconds: after everything


def simulate(
    settings: Mapping[str, Any],
    arrivals: Iterable[float | Arrival],
    *,
    make: Callable[[ProviderSettings], Provider] | None = None,
    stream: bool = False,
    clients: Clients | None = None,
) -> Results:
    """Calls for model "m" at ``arrivals``, or at these times; ``make`` gives the providers, if not the settings. Raises pydantic's
    ``ValidationError`` for settings that are none.
    """

    async def scenario() -> Results:
        given = Settings.model_validate(settings)
        gateway = build(given, make=make, stopwatch=asyncio.get_running_loop().time)
        results = Results()
        population = Population(clients or Clients(stream=stream), [gateway.dispatcher], results)
        try:
            await population.open_loop(at if isinstance(at, Arrival) else Arrival(at) for at in arrivals)
        finally:
            await gateway.aclose()
        return results

    return run(scenario())


def one_target(name: str, defaults: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Settings with one provider, to which everything goes."""
    return {
        "providers": [{"name": name, "kind": "echo"}],
        "routes": [{"model": "m", "targets": [{"provider": name}]}],
        "defaults": defaults,
        **more,
    }
