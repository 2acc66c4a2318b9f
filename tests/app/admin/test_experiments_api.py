"""Arm by arm: what each has done so far."""

from __future__ import annotations

from typing import Any

from app.admin.experiments import Arms
from app.api.exchange import Exchange
from router import Decision, Route
from tests.app.admin.conftest import Desk
from tests.e2e.harness import eventually


async def arms_of(desk: Desk) -> dict[str, Any]:
    (experiment,) = (await desk.get("/admin/experiments"))["experiments"]
    assert (experiment["route"], experiment["experiment"], experiment["unit"]) == ("tried", "side", "session")
    return {arm["arm"]: arm for arm in experiment["arms"]}


async def test_before_anybody_came(desk: Desk) -> None:
    arms = await arms_of(desk)
    assert arms["old"] == {
        "arm": "old",
        "share": 0.5,
        "providers": ["left"],
        "requests": 0,
        "errors": 0,
        "cancelled": 0,
        "first_token_p50_ms": None,
        "first_token_p95_ms": None,
    }


async def test_requests_errors_and_times_by_arm(desk: Desk) -> None:
    for n in range(10):
        await desk.chat("tried", f"r{n}", stream=True, x_experiment="side=old")
    await desk.admin("POST", "/admin/targets/right/b/drain", {"reason": "a test"})
    for n in range(3):
        assert (await desk.chat("tried", f"s{n}", x_experiment="side=new")).status_code == 503

    async def counted() -> bool:
        return sum(arm["requests"] for arm in (await arms_of(desk)).values()) == 13

    await eventually(counted)
    arms = await arms_of(desk)
    assert (arms["old"]["requests"], arms["old"]["errors"]) == (10, 0)
    assert 0 < arms["old"]["first_token_p50_ms"] <= arms["old"]["first_token_p95_ms"]
    assert (arms["new"]["requests"], arms["new"]["errors"], arms["new"]["first_token_p50_ms"]) == (3, 3, None)


def exchange(route: Route | None, experiment: str | None, status: int, end: str = "complete") -> Exchange:
    one = Exchange({"headers": [], "method": "POST", "path": "/v1/x"})
    one.status, one.end, one.experiment = status, end, experiment
    one.decision = Decision()
    one.decision.route = route
    return one


def test_the_clients_own_faults_are_no_errors_of_the_arm() -> None:
    route = Route("m", ())
    arms = Arms()
    arms([exchange(route, "e=a", status) for status in (200, 400, 429, 502)])
    arms([exchange(route, "e=a", 499, "client_closed"), exchange(route, "e=a", 200, "cut")])
    arms([exchange(route, None, 200), exchange(None, "e=a", 200)])
    tally = arms.find("m", "e", "a")
    assert (tally.requests, tally.errors, tally.cancelled) == (6, 3, 1)
    assert arms.find("m", "e", "b").requests == 0
