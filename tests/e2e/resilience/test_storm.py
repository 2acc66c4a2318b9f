"""All targets of a route fail at once: bench.storm for a few seconds, with the times of the settings scaled to that."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.storm import RATIO, Storm, run

RATE = 100.0
BEFORE, FAILING, AFTER = 2, 4, 7
TTL, BURST, TARGETS = 2.0, 3, 2
RECOVERED_WITHIN = 6
SCALED = {
    "timeouts": {"first_token": 0.6, "idle": 5, "total": 10},
    "retry": {"budget": {"ttl": TTL, "burst": BURST}},
    "breaker": {"window": 3, "slow_first_token": 0.5, "open_base": 0.5, "open_max": 2},
    "throttle": {"window": 3},
}


@pytest.fixture(scope="module")
def storms(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, bool], Storm]:
    """By trigger, with protections on and off: at the same time, for most of theirs they wait."""
    cases = [("errors", True), ("timeouts", True), ("errors", False), ("timeouts", False)]
    # Not in the threads: two would make the same one.
    folders: Mapping[tuple[str, bool], Path] = {case: tmp_path_factory.mktemp("storm") for case in cases}

    def one(case: tuple[str, bool]) -> Storm:
        trigger, protected = case
        changes: dict[str, Any] = SCALED if protected else {"timeouts": SCALED["timeouts"]}
        folder = folders[case]
        times = {"before": BEFORE, "after": AFTER}
        storm = run(
            RATE, FAILING, trigger, protected=protected, folder=folder, targets=TARGETS, changes=changes, **times
        )
        return asyncio.run(storm)[0]

    with ThreadPoolExecutor() as threads:
        told = dict(zip(cases, threads.map(one, cases), strict=True))
    for case, storm in told.items():
        goodput = " ".join(f"{second.goodput:.0%}" for second in storm.seconds)
        print(*case, f"amplification {storm.amplification:.3f}, recovered {storm.recovered}, goodput {goodput}")
    return told


def assert_well_before(storm: Storm) -> None:
    assert [second.goodput > 0.95 for second in storm.seconds if second.start < -1] == [True] * (BEFORE - 1)
    # Whoever comes towards the end may be served by a try that comes after it.
    assert sum(second.served for second in storm.during[2 : FAILING // 2]) == 0, "all fail"


@pytest.mark.parametrize("trigger", ["errors", "timeouts"])
def test_retries_stay_within_their_budget_while_all_fail(
    storms: Mapping[tuple[str, bool], Storm], trigger: str
) -> None:
    storm = storms[trigger, True]
    assert_well_before(storm)
    requests = sum(second.requests for second in storm.during)
    posts = sum(second.posts for second in storm.during)
    # What was saved before the failure may be spent in it.
    saved = RATIO * RATE * TTL * 1.2 + BURST * TARGETS
    assert posts <= (1 + RATIO) * requests + saved


@pytest.mark.parametrize("trigger", ["errors", "timeouts"])
def test_when_it_is_over_they_are_served_again(storms: Mapping[tuple[str, bool], Storm], trigger: str) -> None:
    recovered = storms[trigger, True].recovered
    assert recovered is not None
    assert recovered <= RECOVERED_WITHIN


def test_without_protections_every_call_is_sent_three_times(storms: Mapping[tuple[str, bool], Storm]) -> None:
    storm = storms["errors", False]
    assert_well_before(storm)
    assert storm.amplification > 2


def test_without_protections_it_stays_down_when_the_failure_is_over(
    storms: Mapping[tuple[str, bool], Storm],
) -> None:
    """The targets are well, and do nothing but work that nobody waits for any more."""
    storm = storms["timeouts", False]
    after = [second for second in storm.seconds if second.start >= FAILING]
    assert sum(second.served for second in after) < 0.2 * sum(second.calls for second in after)
    assert storm.recovered is None
