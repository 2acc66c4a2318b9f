"""Weights changed while it runs: what moves, what stays, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from app.api.exchange import Exchange
from app.observability.metrics import Metrics
from router import Decision, Route
from router.events import WeightsChanged
from router.types import Tried
from tests.app.admin.conftest import Desk, error_of

PATH = "/admin/routes/m/weights"


async def served(desk: Desk, count: int = 100) -> Counter[str]:
    return Counter([(await desk.chat("m", f"r{n}")).headers["x-target"] for n in range(count)])


async def test_traffic_moves_at_once(desk: Desk) -> None:
    assert (await served(desk))["left/a"] > 60
    answer = await desk.admin("PATCH", PATH, {"left/a": 0, "right": 5})
    assert answer.json() == {"route": "m", "weights": {"left/a": 0.0, "right/b": 5.0, "cloud/m": 0.0}}
    assert await served(desk) == {"right/b": 100}
    (shown,) = [one for one in (await desk.state("left/a"))["routes"] if one["route"] == "m"]
    assert shown["weight"] == 0


async def test_other_routes_keep_theirs(desk: Desk) -> None:
    before = desk.gateway.routes
    await desk.admin("PATCH", PATH, {"left": 1})
    after = desk.gateway.routes
    assert after.named["m"] is not before.named["m"]
    assert after.named["failing"] is before.named["failing"]
    assert after.anything is before.anything
    assert [target.weight for target in after.named["failing"].targets] == [1, 1]


async def test_what_is_alive_is_shared_and_what_is_not_named_stays(desk: Desk) -> None:
    before = desk.gateway.routes.named["m"].targets
    await desk.admin("PATCH", PATH, {"left/a": 7})
    after = desk.gateway.routes.named["m"].targets
    assert [one.live for one in after] == [one.live for one in before]
    assert after[1:] == before[1:]
    assert desk.gateway.routes.named["m"].picked == after[:2]


async def test_a_targets_own_name_goes_before_its_providers(desk: Desk) -> None:
    answer = await desk.admin("PATCH", PATH, {"left": 1, "left/a": 2})
    assert answer.json()["weights"]["left/a"] == 2


async def test_the_route_of_any_other_model(desk: Desk) -> None:
    assert (await desk.admin("PATCH", "/admin/routes/*/weights", {"right": 9})).json()["weights"] == {"right/*": 9.0}
    assert (await desk.admin("PATCH", "/admin/routes/%2A/weights", {"right": 8})).json()["weights"] == {"right/*": 8.0}
    assert desk.gateway.routes.anything is not None
    assert desk.gateway.routes.anything.targets[0].weight == 8


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({"nobody": 1}, 404, "nobody", "it has: cloud, cloud/m, left, left/a, right, right/b"),
        ({"left/b": 1}, 404, "left/b", "has no target"),
        ({"left": -1}, 400, "left", "must be a number from 0"),
        ({"left": "5"}, 400, "left", "must be a number"),
        ({"left": True}, 400, "left", "must be a number"),
        ({"left": None}, 400, "left", "must be a number"),
        ({"left": 1e12}, 400, "left", "must be a number"),
        ({"left": 0, "right": 0}, 400, None, "nothing would be left to pick"),
        ({}, 400, None, "at least one"),
        ([1], 400, None, "must be a JSON object"),
    ],
)
async def test_what_is_no_weight_is_refused_and_changes_nothing(
    desk: Desk, body: Any, status: int, param: str | None, words: str
) -> None:
    before = desk.gateway.routes
    answer = await desk.admin("PATCH", PATH, body)
    assert answer.status_code == status
    assert error_of(answer)["param"] == param
    assert words in error_of(answer)["message"]
    assert desk.gateway.routes is before


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_no_number_at_all(desk: Desk, number: str) -> None:
    answer = await desk.admin("PATCH", PATH, content=f'{{"left": {number}}}')
    assert answer.status_code == 400


async def test_a_route_that_there_is_not(desk: Desk) -> None:
    answer = await desk.admin("PATCH", "/admin/routes/nothing/weights", {"left": 1})
    assert (answer.status_code, error_of(answer)["code"]) == (404, "unknown_route")
    assert "m, failing, dead, tried, *" in error_of(answer)["message"]


async def test_it_is_told_and_on_record(desk: Desk) -> None:
    told: list[WeightsChanged] = []
    desk.gateway.events.listen(told.append, WeightsChanged)
    await desk.admin("PATCH", PATH, {"left": 4})
    (event,) = told
    assert (event.route, dict(event.weights)) == ("m", {"left/a": 4.0, "right/b": 1.0, "cloud/m": 0.0})
    (entry,) = (await desk.get("/admin/audit"))["entries"]
    assert (entry["action"], entry["target"], entry["outcome"]) == ("weights", "m", "left/a 4, right/b 1, cloud/m 0")


async def test_the_metrics_lose_no_count_and_keep_no_old_route(desk: Desk) -> None:
    metrics = Metrics(desk.gateway)
    for round_ in range(20):
        metrics([exchange_with(desk.gateway.routes.named["m"])])
        await desk.admin("PATCH", PATH, {"left": round_ + 1})
    (count,) = [cell.value for labels, cell in metrics.requests.cells.items() if labels[:3] == ("m", "left/a", "ok")]
    assert count == 20
    assert len(metrics._cells) == len(metrics._attempts) == 1


def exchange_with(route: Route) -> Exchange:
    one = Exchange({"headers": [], "method": "POST", "path": "/v1/chat/completions"})
    one.status, one.model = 200, "m"
    one.decision = Decision()
    one.decision.tried = [Tried(route.targets[0], "left/a", "200", 0.1)]
    return one
