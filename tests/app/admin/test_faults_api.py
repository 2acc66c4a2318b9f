"""/admin/faults: begun, seen, renewed, ended; what cannot be done, and who did what."""

from __future__ import annotations

from typing import Any

import pytest

from providers.faults import FAULTS
from tests.app.admin.conftest import Desk, error_of
from tests.e2e.harness import eventually

LEAST: dict[str, Any] = {"kind": "http_5xx", "target": "left", "ttl": 60}


async def begin(desk: Desk, **more: Any) -> Any:
    answer = await desk.admin("POST", "/admin/faults", LEAST | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_what_begins_is_seen_and_acts(desk: Desk) -> None:
    begun = await begin(desk, reason="a drill", statuses=[503])
    assert (begun["id"], begun["kind"], begun["number"]) == ("http_5xx-1", "http_5xx", "F03")
    assert begun["targets"] == ["left/a"]
    assert (begun["share"], begun["per"], begun["seed"], begun["route"]) == (1, "attempt", 0, None)
    assert begun["knobs"] == {"statuses": [503], "retry_after": None}
    assert (begun["guard"], begun["alive_s"], begun["calls"], begun["reason"]) == (None, None, None, "a drill")
    assert 59 < begun["remaining_s"] <= 60
    answer = await desk.chat("tried", X_Experiment="side=old")
    assert answer.headers["x-attempts"].startswith("left/a:503")
    assert answer.headers["x-fault"] == "http_5xx-1"
    listed = await desk.get("/admin/faults")
    assert (listed["enabled"], listed["max_active"], listed["max_ttl"], listed["ended"]) == (True, 0.5, 900, [])
    (one,) = listed["faults"]
    assert (one["id"], one["injected"], one["active"], one["overflowed"]) == ("http_5xx-1", 3, 0, 0)
    assert (one["stopped"], one["why"], one["told"]) == (None, None, None)


async def test_the_record_of_a_request_tells_of_it(desk: Desk) -> None:
    await begin(desk, id="drill-7")
    await desk.chat("m", "r7", X_Provider_Priority="left, right")
    (decisions, _) = desk.parts.listeners
    await eventually(lambda: len(decisions) == 1)
    record = await desk.get("/admin/requests/r7")
    assert record["faults"] == [{"fault": "drill-7", "kind": "http_5xx", "target": "left/a"}]
    told = (await desk.admin("GET", "/admin/requests/r7?format=text")).text
    assert "On purpose: left/a met fault drill-7 (http_5xx)" in told


async def test_all_that_was_asked_is_shown_as_it_is_written(desk: Desk) -> None:
    begun = await begin(
        desk,
        kind="slow_ttft",
        delay={"lognormal": [2, 0.5]},
        share=0.25,
        per="session",
        seed=3,
        route="m",
        dead_man=5,
        max_active=2,
        guard={"availability": 0.9},
    )
    assert begun["knobs"] == {"delay": {"lognormal": [2.0, 0.5]}, "factor": None}
    assert (begun["share"], begun["per"], begun["seed"], begun["route"]) == (0.25, "session", 3, "m")
    assert begun["guard"] == {"availability": 0.9, "control": None, "window": 30.0, "min_calls": 20}
    assert begun["calls"] == {"ok": 0, "failed": 0, "control_ok": 0, "control_failed": 0}
    assert 4 < begun["alive_s"] <= 5


async def test_a_sign_of_life(desk: Desk) -> None:
    await begin(desk, id="held", dead_man=5)
    desk.gateway.chaos.acting["held"].alive_until -= 2  # as if so many seconds had passed without one
    before = (await desk.get("/admin/faults"))["faults"][0]["alive_s"]
    assert before <= 3
    answer = await desk.admin("POST", "/admin/faults/held/renew")
    assert answer.status_code == 200
    assert answer.json()["id"] == "held"
    assert before < answer.json()["alive_s"] <= 5
    assert answer.json()["remaining_s"] < 60


@pytest.mark.parametrize(
    ("method", "path", "stopped"),
    [
        ("DELETE", "/admin/faults/one", ["one"]),
        ("DELETE", "/admin/faults?id=other", ["other"]),
        ("DELETE", "/admin/faults", ["one", "other"]),
        ("POST", "/admin/faults/stop", ["one", "other"]),
    ],
)
async def test_ended_by_hand(desk: Desk, method: str, path: str, stopped: list[str]) -> None:
    await begin(desk, id="one")
    await begin(desk, id="other", target="right")
    answer = await desk.admin(method, path)
    assert (answer.status_code, answer.json()) == (200, {"stopped": stopped})
    listed = await desk.get("/admin/faults")
    assert [one["id"] for one in listed["faults"]] == [name for name in ("one", "other") if name not in stopped]
    assert [(one["id"], one["why"]) for one in listed["ended"]] == [(name, "stopped") for name in reversed(stopped)]
    assert all(one["stopped"] and one["remaining_s"] == 0 for one in listed["ended"])
    assert (await desk.chat("tried", X_Experiment="side=old")).status_code == (200 if "one" in stopped else 502)


@pytest.mark.parametrize("query", ["fault=one", "ID=one", "id=one&all=true"])
async def test_whoever_means_one_and_says_it_wrongly_does_not_stop_all(desk: Desk, query: str) -> None:
    await begin(desk, id="one")
    await begin(desk, id="other", target="right")
    answer = await desk.admin("DELETE", f"/admin/faults?{query}")
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_field")
    assert "is not known here; id is" in error_of(answer)["message"]
    assert len((await desk.get("/admin/faults"))["faults"]) == 2


async def test_stopping_all_when_none_acts_is_no_mistake(desk: Desk) -> None:
    assert (await desk.admin("POST", "/admin/faults/stop")).json() == {"stopped": []}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/admin/faults/nothing"),
        ("DELETE", "/admin/faults?id=nothing"),
        ("POST", "/admin/faults/nothing/renew"),
    ],
)
async def test_what_does_not_act_is_a_404_that_names_those_that_do(desk: Desk, method: str, path: str) -> None:
    await begin(desk, id="one")
    answer = await desk.admin(method, path)
    assert answer.status_code == 404
    assert error_of(answer)["message"] == "no fault 'nothing' acts; these do: one"
    assert error_of(answer)["code"] == "unknown_fault"


@pytest.mark.parametrize(
    ("more", "param", "message"),
    [
        ({"kind": "http_6xx"}, "kind", "kind: unknown kind of fault; the kinds are: auth_revoked, "),
        ({"kind": ["http_5xx"]}, "kind", "kind: must be"),
        ({"target": "lefd"}, "target", "target: there is no target 'lefd'; did you mean \"left\"?"),
        ({"ttl": 901}, "ttl", "ttl: must be at most 900 s (`chaos.max_ttl`)"),
        ({"ttl": None}, "ttl", "ttl: must be a number"),
        ({"share": 1.5}, "share", "share: must be less than or equal to 1"),
        ({"statuses": [404]}, "statuses", "statuses: must be one or more numbers from 500 to 599"),
        ({"probability": 1}, "probability", "probability: unknown key; known here: "),
        ({"id": "taken"}, "id", "id: a fault 'taken' acts already; stop it first, or choose another id"),
        ({"target": "right"}, "target", "target: could never act: 'taken' (http_5xx, share 1) hits every attempt"),
    ],
)
async def test_what_could_not_act_is_refused(desk: Desk, more: dict[str, Any], param: str, message: str) -> None:
    await begin(desk, id="taken", target="right")
    answer = await desk.admin("POST", "/admin/faults", LEAST | more)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (400, "fault_refused", param)
    assert error["message"].startswith(message)
    assert len((await desk.get("/admin/faults"))["faults"]) == 1


async def test_without_a_time_there_is_no_fault(desk: Desk) -> None:
    answer = await desk.admin("POST", "/admin/faults", {"kind": "http_5xx", "target": "left"})
    assert error_of(answer)["message"] == "ttl: is missing"


@pytest.mark.parametrize("body", [[], "text", 7])
async def test_a_body_that_is_no_object(desk: Desk, body: Any) -> None:
    assert (await desk.admin("POST", "/admin/faults", body)).status_code == 400


async def test_the_catalogue(desk: Desk) -> None:
    kinds = await desk.get("/admin/faults/kinds")
    assert list(kinds) == list(FAULTS)
    assert kinds["truncate"] == {
        "number": "F08",
        "does": "ends the answer before it is complete",
        "streams": False,
        "share": 1.0,
        "per": "attempt",
        "knobs": {"after": 3, "form": "cut"},
    }


async def test_names_that_nobody_chose_are_free_ones(desk: Desk) -> None:
    await begin(desk, id="http_5xx-1", share=0.5)
    assert (await begin(desk, share=0.5))["id"] == "http_5xx-2"
    assert (await begin(desk, kind="F08", share=0.5))["id"] == "truncate-3"


async def test_who_did_what_is_in_the_audit(desk: Desk) -> None:
    await begin(desk, id="one", reason="drill 7")
    await desk.admin("DELETE", "/admin/faults/one")
    entries = (await desk.get("/admin/audit"))["entries"]
    assert [(one["action"], one["target"], one["outcome"]) for one in entries] == [
        ("stop fault", "one", "stopped"),
        ("fault", "left/a", "http_5xx one"),
    ]
    assert (entries[1]["reason"], entries[1]["ttl"]) == ("drill 7", 60)


async def test_strangers_see_and_do_nothing(desk: Desk) -> None:
    for method, path in (("GET", "/admin/faults"), ("POST", "/admin/faults"), ("POST", "/admin/faults/stop")):
        assert (await desk.stranger(method, path)).status_code == 401
