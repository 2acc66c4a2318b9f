"""A plan, run on the virtual clock: the fleet, the gateways, the clients and the faults, all of them the real thing but the servers.

Everything that is drawn comes from the seed, so a plan and a seed make one run, to the last bit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from app.drills.faults import inject, rules_of
from app.drills.fleet import server_of
from app.drills.load import Plan
from app.drills.seen import Seen
from app.drills.traffic import call, population
from app.wiring import Gateway, build
from router.chaos import Rule
from router.events import Events
from router.sim import run as run_virtual

Progress = Callable[[float, int], None]
STEPS = 200  # of a progress bar


def run(
    plan: Plan,
    *,
    progress: Progress | None = None,
    listen: Callable[[int, Events], None] | None = None,
) -> Seen:
    """``progress`` is told the time and the calls so far, ``listen`` every gateway's number and events before it begins. Raises
    ``TraceError``.
    """
    return run_virtual(_run(plan, progress, listen))


async def _run(plan: Plan, progress: Progress | None, listen: Callable[[int, Events], None] | None) -> Seen:
    scenario = plan.scenario
    servers = {member.name: server_of(member, plan.seed) for member in scenario.fleet}
    loop = asyncio.get_running_loop()
    gateways = [
        build(plan.settings, make=lambda entry: servers[entry.name], stopwatch=loop.time, instance=number)
        for number in range(scenario.gateways)
    ]
    seen = Seen()
    for number, gateway in enumerate(gateways):
        seen.listen(gateway.events)
        if listen is not None:
            listen(number, gateway.events)
    watching = None if progress is None else asyncio.create_task(_watch(scenario.duration, seen, progress))
    try:
        await _play(plan, gateways, seen)
    finally:
        if watching is not None:
            watching.cancel()
        for gateway in gateways:
            await gateway.aclose()
    return seen


async def _play(plan: Plan, gateways: Sequence[Gateway], seen: Seen) -> None:
    scenario = plan.scenario
    dispatchers = [gateway.dispatcher for gateway in gateways]
    rules = [(scenario.faults[n].at, rule) for n, rule in rules_of(scenario, plan.settings) if isinstance(rule, Rule)]
    try:
        async with asyncio.TaskGroup() as group:
            for at, rule in rules:
                group.create_task(inject(at, rule, gateways))
            for number, traffic in enumerate(scenario.traffic):
                rng = Random(f"{plan.seed}/traffic/{number}")
                members = population(number, traffic, dispatchers, seen.of(traffic.name), plan.seed)
                group.create_task(call(members, traffic, scenario, plan.folder, rng))
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None


async def _watch(duration: float, seen: Seen, progress: Progress) -> None:
    while True:
        await asyncio.sleep(duration / STEPS)
        progress(min(duration, asyncio.get_running_loop().time()), len(seen.results))
