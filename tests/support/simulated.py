"""A whole gateway on the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from app.settings import ProviderSettings, Settings
from app.wiring import build
from providers import Provider
from router.sim import VirtualLoop
from router.sim.clients import Called, come

OFF = {"enabled": False}


def simulate(
    settings: Mapping[str, Any],
    arrivals: Iterable[float],
    *,
    make: Callable[[ProviderSettings], Provider] | None = None,
    stream: bool = False,
) -> Sequence[Called]:
    """Calls for model "m" at ``arrivals``; ``make`` gives the providers, if not the settings."""

    async def scenario() -> Sequence[Called]:
        given = Settings.model_validate(settings)
        gateway = build(given, make=make, stopwatch=asyncio.get_running_loop().time)
        try:
            return await come(gateway.dispatcher, "m", arrivals, stream=stream)
        finally:
            await gateway.aclose()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario())
