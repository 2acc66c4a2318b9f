"""The scenarios that ship: each holds with what protects by default, and the collapses stay where nothing does."""

from __future__ import annotations

import pytest

from app.drills.load import Plan, plan
from app.drills.run import run
from app.drills.shipped import shipped
from app.drills.verdict import Verdict, verdicts

# Without protections nobody is served any more when the trigger is over.
COLLAPSES = ("brownout", "hotos21-collapse", "impatient-clients", "retry-storm")
# What else does not hold then: measure by measure.
WORSE = {
    "brooker22-retries": ["amplification", "goodput"],
    "correlated-outage": ["amplification", "opened"],
    "hedging": ["hedges", "amplification", "ttft p99.9"],
    "lone-server": ["goodput", "shed", "latency p95"],
    "overload": ["goodput critical", "goodput", "shed", "latency critical p95", "amplification"],
}


def judged(made: Plan) -> dict[str, Verdict]:
    return {f"{each.name} {each.wanted} {each.span}": each for each in verdicts(made, run(made))}


@pytest.mark.parametrize("name", shipped())
def test_all_that_a_scenario_expects_holds(name: str) -> None:
    made = plan(shipped()[name])
    assert made.scenario.source
    for verdict in judged(made).values():
        print(f"seed {made.seed}: {verdict.name} {verdict.wanted}: {verdict.told}")
        assert verdict.held, f"{verdict.name} {verdict.wanted}: {verdict.told}"


@pytest.mark.parametrize("name", COLLAPSES)
def test_without_protections_a_collapse_stays(name: str) -> None:
    found = {each.name: each for each in judged(plan(shipped()[name], protected=False)).values()}
    assert found["goodput"].held  # before the trigger all was well
    assert found["recovers"].told == "never"
    assert found["load"].measured > 1.9 if "load" in found else found["amplification"].measured > 1.9


@pytest.mark.parametrize("name", WORSE)
def test_without_protections_less_holds(name: str) -> None:
    found = judged(plan(shipped()[name], protected=False)).values()
    assert [each.name for each in found if not each.held] == WORSE[name]
