"""The clients of a scenario: when they call, and what they can read in the answer of a gateway that could not serve them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from random import Random

from app.api.errors import answer_for
from app.drills.scenario import ClientsSettings, Scenario, TrafficSettings
from providers import ProviderError
from router.dispatch import Dispatcher
from router.errors import RouterError
from router.sim.arrivals import Arrival, poisson, regular, regular_varying, varying, with_tokens
from router.sim.clients import Clients, Population
from router.sim.levels import Levels
from router.sim.results import Results
from router.sim.retries import Jitter, Retries, RetryTokens, Told
from router.sim.trace import played, read_trace
from router.types import Priority


def told(error: RouterError | ProviderError) -> Told:
    """As the API would say it."""
    answer = answer_for(error)
    retry_after, should = answer.headers.get("retry-after"), answer.headers.get("x-should-retry")
    return Told(
        answer.status, float(retry_after) if retry_after else None, None if should is None else should == "true"
    )


def population(
    number: int, traffic: TrafficSettings, dispatchers: Sequence[Dispatcher], results: Results, seed: int
) -> Population:
    """Number ``number`` of a scenario."""
    clients = _clients(f"c{number}", traffic)
    return Population(clients, dispatchers, results, seed=seed + number, tell=told)


async def call(members: Population, traffic: TrafficSettings, scenario: Scenario, folder: Path, rng: Random) -> None:
    """All of the calls; over when the last has ended. Raises ``TraceError``."""
    closed = traffic.arrivals.closed
    if closed is not None:
        prompt, output = traffic.prompt_tokens, traffic.output_tokens
        await members.closed_loop(closed.think, scenario.duration, prompt=prompt, output=output)
    else:
        await members.open_loop(arrivals_of(traffic, scenario.duration, folder, rng))


def arrivals_of(traffic: TrafficSettings, duration: float, folder: Path, rng: Random) -> Iterator[Arrival]:
    """Of what comes by the clock alone, as long as the scenario lasts."""
    given = traffic.arrivals
    if given.trace is not None:
        trace = played(read_trace(folder / given.trace), speed=given.speed, limit=given.limit)
        return takewhile(lambda arrival: arrival.at < duration, trace)
    return with_tokens(_times(traffic, duration, rng), traffic.prompt_tokens, traffic.output_tokens, rng)


def _times(traffic: TrafficSettings, duration: float, rng: Random) -> Iterator[float]:
    given = traffic.arrivals
    if given.poisson is not None:
        return poisson(given.poisson, duration, rng)
    if given.constant is not None:
        return regular(given.constant, duration)
    if given.ramp is not None:
        levels = Levels.ramp(*given.ramp, duration)
    else:
        levels = Levels(given.steps or given.linear or (), linear=given.steps is None)
    return regular_varying(levels, duration) if given.regular else varying(levels, duration, rng)


def _clients(name: str, traffic: TrafficSettings) -> Clients:
    given = traffic.clients
    count = given.count if traffic.arrivals.closed is None else traffic.arrivals.closed.clients
    return Clients(
        name=name,
        model=traffic.model,
        stream=traffic.stream,
        count=count,
        timeout=given.timeout,
        retries=_retries(given),
        sessions=given.sessions,
        priority=Priority[given.priority.upper()],
    )


def _retries(given: ClientsSettings) -> Retries:
    budget = given.budget
    return Retries(
        given.retries,
        given.backoff.base,
        given.backoff.cap,
        Jitter(given.backoff.jitter),
        honours=given.honours,
        budget=None if budget is None else RetryTokens(budget.deposit, budget.most),
        stop_above=given.stop_above,
    )
