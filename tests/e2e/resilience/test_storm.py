"""All targets of a route fail at once: bench.storm for a few seconds, with the times of the settings scaled to that."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.storm import RATIO, Storm, run

RATE = 100.0
BEFORE, FAILING, AFTER = 2, 4, 9
TTL, BURST = 2.0, 3
RECOVERED_WITHIN = 8
TIMES = {"timeouts": {"first_token": 0.6, "idle": 5, "total": 10}}
SCALED = {
    **TIMES,
    "retry": {"budget": {"ttl": TTL, "burst": BURST}},
    "breaker": {"window": 3, "slow_first_token": 0.5, "open_base": 0.5, "open_max": 2},
    "throttle": {"window": 3},
}
# Open for long enough that a crowd gathers, which has been told to come back when it is over.
LONG_OPEN = {**SCALED, "breaker": {"window": 3, "slow_first_token": 0.5, "open_base": 2.5, "open_max": 2.5}}


class Case(NamedTuple):
    trigger: str
    targets: int = 2
    protected: bool = True
    settings: Mapping[str, Any] = SCALED


CASES = {
    "errors": Case("errors"),
    "timeouts": Case("timeouts"),
    "errors, one target": Case("errors", targets=1, settings=LONG_OPEN),
    "errors, unprotected": Case("errors", protected=False, settings=TIMES),
    "timeouts, unprotected": Case("timeouts", protected=False, settings=TIMES),
}
PROTECTED = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.protected])
Storms = Mapping[str, Storm]


@pytest.fixture(scope="module")
def storms(tmp_path_factory: pytest.TempPathFactory) -> Storms:
    """All at the same time: most of it they wait."""
    # Not in the threads: two would make the same one.
    folders: dict[str, Path] = {name: tmp_path_factory.mktemp("storm") for name in CASES}

    def one(name: str) -> Storm:
        trigger, targets, protected, settings = CASES[name]
        storm = run(
            RATE,
            FAILING,
            trigger,
            protected=protected,
            folder=folders[name],
            before=BEFORE,
            after=AFTER,
            targets=targets,
            changes=dict(settings),
        )
        return asyncio.run(storm)[0]

    with ThreadPoolExecutor() as threads:
        told = dict(zip(CASES, threads.map(one, CASES), strict=True))
    for name, storm in told.items():
        goodput = " ".join(f"{second.goodput:.0%}" for second in storm.seconds)
        print(f"{name}: amplification {storm.amplification:.3f}, recovered {storm.recovered}, goodput {goodput}")
    return told


@pytest.mark.parametrize("name", CASES)
def test_all_is_well_and_then_all_fails(storms: Storms, name: str) -> None:
    seconds = storms[name].seconds
    assert all(second.goodput > 0.9 for second in seconds if second.start < -1)
    assert sum(second.answers for second in seconds if 1 <= second.start < FAILING) == 0


@PROTECTED
def test_retries_stay_within_their_budget_while_all_fail(storms: Storms, name: str) -> None:
    storm = storms[name]
    requests = sum(second.requests for second in storm.during)
    posts = sum(second.posts for second in storm.during)
    # What was saved before the failure may be spent in it.
    saved = RATIO * RATE * TTL * 1.2 + BURST * CASES[name].targets
    assert posts <= (1 + RATIO) * requests + saved


@PROTECTED
def test_when_it_is_over_they_are_served_again(storms: Storms, name: str) -> None:
    recovered = storms[name].recovered
    assert recovered is not None
    assert recovered <= RECOVERED_WITHIN


def test_without_protections_every_call_is_sent_three_times(storms: Storms) -> None:
    assert storms["errors, unprotected"].amplification > 2


def test_without_protections_it_stays_down_when_the_failure_is_over(storms: Storms) -> None:
    """The targets are well, and do nothing but work that nobody waits for any more."""
    storm = storms["timeouts, unprotected"]
    after = [second for second in storm.seconds if second.start >= FAILING]
    served, calls = sum(second.served for second in after), sum(second.calls for second in after)
    assert served < 0.2 * calls
    assert storm.recovered is None
