"""What the demo's pages show, read from the gateway's metrics: every number here is also on /metrics."""

from __future__ import annotations

from dataclasses import dataclass

from app.demo.traffic import Traffic, percentile
from app.demo.world import World
from router import Target


@dataclass(frozen=True, slots=True)
class TargetFigures:
    """``failing``: failures in a row, up to now. Rates per second; ``p50`` and ``p95`` seconds to the first content."""

    name: str
    answered: int
    failed: int
    in_flight: int
    failing: int
    answered_rate: float
    failed_rate: float
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """``client_errors``: what went wrong before the eyes of a client and was not its own fault."""

    elapsed: float
    requests: int
    streams: int
    client_errors: int
    absorbed: int
    failures: dict[tuple[str, str], int]
    targets: list[TargetFigures]


def figures(world: World, traffic: Traffic, now: float) -> Figures:
    """As of ``now`` on the stopwatch."""
    metrics = world.metrics
    attempts = {
        (provider_of(target), outcome): cell.value
        for (target, outcome), cell in metrics.attempts.cells.items()
        if cell.value
    }
    failures = {key: count for key, count in attempts.items() if key[1] != "200"}
    client_errors = sum(
        cell.value for (_, _, _, source), cell in metrics.requests.cells.items() if source in ("gateway", "provider")
    )
    rates, first_tokens = traffic.rates(now), traffic.first_tokens(now)

    def of(target: Target) -> TargetFigures:
        name, seconds = provider_of(target.id), first_tokens.get(target.id, [])
        return TargetFigures(
            name,
            attempts.get((name, "200"), 0),
            sum(count for (failed, _), count in failures.items() if failed == name),
            target.live.in_flight,
            target.live.failures,
            rates.get((target.id, True), 0.0),
            rates.get((target.id, False), 0.0),
            percentile(seconds, 0.5),
            percentile(seconds, 0.95),
        )

    return Figures(
        traffic.elapsed(now),
        sum(cell.value for cell in metrics.requests.cells.values()),
        sum(cell.count for cell in metrics.first_token.cells.values()),
        client_errors,
        max(0, sum(failures.values()) - client_errors),
        failures,
        [of(target) for route in world.gateway.routes.named.values() for target in route.targets],
    )


def provider_of(target: str) -> str:
    """In the demo every provider has one target, which its name tells apart."""
    return target.partition("/")[0]
