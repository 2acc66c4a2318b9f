"""What is in force: the defaults under the route under the target, as the core's own values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.settings import RouteSettings, Settings, TargetSettings
from app.settings.in_force import (
    experiments_of,
    hedge_of,
    price_of,
    retry_of,
    shedding_of,
    target_policies,
    timeouts_of,
)
from router.config import (
    Backoff,
    Breaker,
    Concurrency,
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

HEAD = "providers: [{name: a, kind: echo}, {name: b, kind: echo}]\n"


def of(loaded: Callable[..., Any], route: str = "", target: str = "", rest: str = "") -> Any:
    """The settings, the route and its first target."""
    text = f"{HEAD}routes:\n- {{model: m, {route} targets: [{{provider: a, {target}}}, {{provider: b}}]}}\n{rest}"
    settings: Settings = loaded(text).settings
    return settings, settings.routes[0], settings.routes[0].targets[0]


def test_nothing_written_is_the_cores_defaults(loaded: Callable[..., Any]) -> None:
    settings, route, target = of(loaded)
    assert retry_of(settings, route) == Retry()
    assert timeouts_of(settings, route) == Timeouts()
    policies = target_policies(settings, route, target)
    assert policies.timeouts == Timeouts()
    assert policies.breaker == Breaker()
    assert policies.concurrency == Concurrency()
    assert policies.throttle == Throttle()
    assert policies.probing == Probing()
    assert shedding_of(settings) == Shedding()
    assert hedge_of(route) is None
    assert experiments_of(route) == ()
    assert price_of(target) is None


def test_a_route_is_over_the_defaults_and_a_target_over_both(loaded: Callable[..., Any]) -> None:
    settings, route, target = of(
        loaded,
        "timeouts: {idle: 7, total: 400}, breaker: {window: 20, max_ejected: 1, slow_rate: null}, probing: {idle: 60},",
        "timeouts: {idle: 8}, breaker: {window: 10, enabled: no}, concurrency: {initial: 5}, throttle: null,",
        """defaults:
  timeouts: {connect: 1, idle: 6}
  breaker: {window: 25, slow_rate: 0.9, consecutive: 9}
  concurrency: {algorithm: gradient, initial: 4, max: 50}
  throttle: {threshold: 0.5}
  probing: {timeout: 1}""",
    )
    assert timeouts_of(settings, route) == Timeouts(connect=1, idle=7, total=400)
    policies = target_policies(settings, route, target)
    assert policies.timeouts == Timeouts(connect=1, idle=8, total=400)
    assert policies.breaker == Breaker(enabled=False, window=10, slow_rate=0.9, consecutive=9, max_ejected=1)
    assert policies.concurrency == Concurrency(algorithm="gradient", initial=5, max=50)
    assert policies.throttle == Throttle(threshold=0.5)
    assert policies.probing == Probing(timeout=1, idle=60)
    other = target_policies(settings, route, route.targets[1])
    assert other.breaker == Breaker(window=20, slow_rate=0.9, consecutive=9, max_ejected=1)
    assert other.concurrency == Concurrency(algorithm="gradient", initial=4, max=50)


def test_retries_are_merged_to_the_innermost(loaded: Callable[..., Any]) -> None:
    settings, route, _ = of(
        loaded,
        "retry: {budget: {ratio: 0.2}, backoff: {cap: 9}, concurrency: {min: 0}},",
        rest="""defaults:
  retry: {max_attempts: 5, backoff: {base: 1, cap: 8}, budget: {ttl: 30, burst: 3}, throttle: {enabled: yes}}""",
    )
    assert retry_of(settings, route) == Retry(
        max_attempts=5,
        backoff=Backoff(base=1, cap=9),
        budget=RetryBudget(ratio=0.2, ttl=30, burst=3),
        concurrency=RetryConcurrency(min=0),
        throttle=RetryThrottle(enabled=True),
    )


@pytest.mark.parametrize(
    ("hedge", "wanted"),
    [
        ("{}", Hedge(after=None, quantile=0.95, max_share=0.05)),
        ("{after: p50, max_share: 0.2}", Hedge(after=None, quantile=0.5, max_share=0.2)),
        ("{after: p99.9}", Hedge(after=None, quantile=0.999, max_share=0.05)),
        ("{after: 1.5}", Hedge(after=1.5, max_share=0.05)),
    ],
)
def test_a_hedge(loaded: Callable[..., Any], hedge: str, wanted: Hedge) -> None:
    _, route, _ = of(loaded, f"hedge: {hedge},")
    made = hedge_of(route)
    assert made is not None
    assert (made.after, made.max_share) == (wanted.after, wanted.max_share)
    assert made.quantile == pytest.approx(wanted.quantile)


def test_shedding(loaded: Callable[..., Any]) -> None:
    settings, *_ = of(loaded, rest="shedding: {max_tokens_in_flight: 500, queue: {timeout: 1}}")
    assert shedding_of(settings) == Shedding(max_tokens_in_flight=500, queue=Queue(timeout=1))


def test_experiments(loaded: Callable[..., Any]) -> None:
    arms = "[{name: x, providers: [a], share: 0.5}, {name: y, providers: [b, a], share: 0.5}]"
    _, route, _ = of(loaded, f"experiments: [{{name: e, salt: s, unit: request, failover: true, arms: {arms}}}],")
    assert experiments_of(route) == (
        Experiment("e", (Arm("x", ("a",), 0.5), Arm("y", ("b", "a"), 0.5)), salt="s", unit="request", failover=True),
    )


def test_whatever_experiment_is_allowed_the_core_takes(loaded: Callable[..., Any]) -> None:
    """Shares in steps of 0.0001 are no exact floats; the sum and the steps must be judged alike."""
    for tenth_of_permille in (1, 3, 7, 1111, 3333, 6667, 9999, 0, 10_000):
        share, rest = tenth_of_permille / 10_000, (10_000 - tenth_of_permille) / 10_000
        arms = f"[{{name: x, providers: [a], share: {share}}}, {{name: y, providers: [b], share: {rest}}}]"
        _, route, _ = of(loaded, f"experiments: [{{name: e, arms: {arms}}}],")
        assert experiments_of(route)[0].arms[0].buckets == tenth_of_permille


@pytest.mark.parametrize(("price", "wanted"), [("{input: 3, output: 15}", 11), ("{input: 0, output: 0}", 0)])
def test_a_price_is_of_a_million_tokens_with_output_counted_twice(
    loaded: Callable[..., Any], price: str, wanted: float
) -> None:
    *_, target = of(loaded, target=f"price: {price},")
    assert price_of(target) == wanted


def test_made_in_code() -> None:
    target = TargetSettings(provider="a")
    route = RouteSettings(model="m", targets=[target])
    raw: Any = {"providers": [{"name": "a", "kind": "echo"}], "routes": [route]}
    assert retry_of(Settings.model_validate(raw), route) == Retry()


@pytest.mark.parametrize(
    ("kind", "algorithm"), [("openai", "aimd"), ("vllm", "gradient"), ("llamacpp", "gradient"), ("echo", "aimd")]
)
@pytest.mark.parametrize("said", ["", "concurrency: {algorithm: aimd}", "concurrency: {algorithm: gradient}"])
def test_the_limit_is_learnt_as_suits_the_kind_unless_it_is_said(
    loaded: Callable[..., Any], kind: str, algorithm: str, said: str
) -> None:
    """What queues shows it by the time to first token; what refuses, by refusing."""
    settings = loaded(
        f"providers: [{{name: a, kind: {kind}}}]\nroutes: [{{model: m, targets: [{{provider: a, {said}}}]}}]"
    ).settings
    route = settings.routes[0]
    wanted = said.removesuffix("}").rpartition(" ")[2] or algorithm
    assert target_policies(settings, route, route.targets[0]).concurrency.algorithm == wanted
