"""A second attempt beside one that says nothing: the first content wins, the other is cancelled upstream at once.

Only before the commit point, at most one, at another target, and as the rules allow: a hedge is paid from the same budgets
as a retry (resilience.md K6, "The Tail at Scale").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from router.config import Hedge
from router.journey import Journey
from router.reply import Reply
from router.types import Attempt

Running = asyncio.Task[Reply | None]
Run = Callable[[Journey, Attempt], Coroutine[Any, Any, Reply | None]]


async def hedged(journey: Journey, attempt: Attempt, run: Run) -> Reply | None:
    """What ``run`` gives for ``attempt``, or for its hedge if that is sooner. None if another attempt may help."""
    delay = patience(attempt, journey.route.hedge)
    if delay is None:
        return await run(journey, attempt)
    decision = journey.decision
    waited, before = decision.waited, len(decision.steps)
    try:
        return await _both(journey, attempt, run, delay)
    finally:
        steps = decision.steps[before:]
        if len(steps) > 1:  # both waited at once, and that is waited once
            began = min(step.began - step.paused for step in steps)
            decision.waited = waited + max(step.began + step.seconds for step in steps) - began


async def _both(journey: Journey, attempt: Attempt, run: Run, delay: float) -> Reply | None:
    loop = journey.loop
    tasks = [loop.create_task(run(journey, attempt))]
    try:
        await asyncio.wait(tasks, timeout=max(0.0, attempt.starts - loop.time()) + delay)
        hedge = None if tasks[0].done() else journey.next_hedge(attempt)
        if hedge is not None:
            tasks.append(loop.create_task(run(journey, hedge)))
        won = await _first(tasks)
    except BaseException:
        await _end(tasks)
        raise
    winner = None if won is None else won.result()
    journey.won = winner is not None
    try:
        await _end([task for task in tasks if task is not won])
    except BaseException:
        if winner is not None:
            await winner.aclose()
        raise
    journey.won = False
    if winner is None:
        return None
    _learn_from(journey, attempt)
    return _told(journey, winner)


def _learn_from(journey: Journey, attempt: Attempt) -> None:
    """The first, if it lost, would have taken longer still. Left out, the slow ones would be missing from what is known, and
    hedges would come sooner and sooner.
    """
    for step in journey.decision.steps:
        if step.number == attempt.number and step.label == "hedge_loser":
            stream, live = attempt.call.request.stream, attempt.target.live
            live.latency.observe(stream, attempt.prompt, step.seconds, journey.loop.time())


async def _first(tasks: list[Running]) -> Running | None:
    """The first that has a reply; None if all are over without one. Raises what one of them raises."""
    while True:
        for task in tasks:
            if task.done() and task.result() is not None:
                return task
        pending = [task for task in tasks if not task.done()]
        if not pending:
            return None
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)


async def _end(tasks: list[Running]) -> None:
    """Cancel what still runs and close what nobody will read. A cancellation meanwhile waits until that is done."""
    cancelled: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        reply = None if task.cancelled() or task.exception() is not None else task.result()
        if reply is not None:
            await reply.aclose()
    if cancelled is not None:
        raise cancelled


def _told(journey: Journey, winner: Reply) -> Reply:
    """The one that answered stands last; there was only one."""
    decision = journey.decision
    decision.reason = winner.route_reason
    lost = [tried for tried in decision.tried if tried.target is not winner.answered]
    won = [tried for tried in decision.tried if tried.target is winner.answered]
    for step in decision.steps:
        if step.target is not winner.answered and step.label == "200":
            step.label = "hedge_loser"
    decision.tried[:] = [tried._replace(label="hedge_loser") if tried.label == "200" else tried for tried in lost] + won
    return winner


def patience(attempt: Attempt, hedge: Hedge | None) -> float | None:
    """Seconds until a hedge may start; None if nothing is known of how long this target takes."""
    if hedge is None:
        return None
    if hedge.after is not None:
        return hedge.after
    return attempt.target.live.latency.quantile(hedge.quantile, attempt.call.request.stream, attempt.prompt)
