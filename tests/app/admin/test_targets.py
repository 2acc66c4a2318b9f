"""/admin/targets: what is shown, what can be done, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from providers import Outcome
from providers.errors import QuotaExhausted
from router.policies.concurrency import Limiter
from router.policies.standing import Standing
from router.policy import Ending
from tests.app.admin.conftest import Desk, error_of
from tests.e2e.harness import eventually

WHY = {"reason": "a test"}


def seconds_from_now(date: str) -> float:
    return (datetime.fromisoformat(date) - datetime.now(UTC)) / timedelta(seconds=1)


async def test_every_target_is_shown_once_with_its_routes(desk: Desk) -> None:
    targets = (await desk.get("/admin/targets"))["targets"]
    assert [one["target"] for one in targets] == [
        "left/a",
        "right/b",
        "cloud/m",
        "broken/failing",
        "broken/dead",
        "right/*",
    ]
    left = targets[0]
    assert (left["state"], left["since"], left["until"], left["in_flight"]) == ("ok", None, None, 0)
    assert left["routes"] == [
        {"route": "m", "weight": 3.0, "tier": 0},
        {"route": "failing", "weight": 1.0, "tier": 1},
        {"route": "tried", "weight": 1.0, "tier": 0},
    ]
    assert {"standing", "breaker", "throttle", "concurrency", "load"} <= set(left["guards"])


async def test_what_it_has_done_is_seen(desk: Desk) -> None:
    for n in range(30):
        await desk.chat("m", f"r{n}", stream=True)
    left = await desk.state("left/a")
    assert left["guards"]["breaker"]["calls"] > 0
    assert left["streams"]["p50_ms"] >= 0
    assert left["streams"]["p50_ms"] <= left["streams"]["p95_ms"]
    assert left["retries_left"] > 0
    assert left["plain"]["p50_ms"] is None


async def test_open_ejects_and_close_takes_it_back(desk: Desk) -> None:
    answer = await desk.admin("POST", "/admin/targets/left/a/open", WHY | {"ttl": 60})
    shown = answer.json()
    assert (answer.status_code, shown["state"]) == (200, "forced_open")
    assert shown["until"]["in_seconds"] == pytest.approx(60, abs=1)
    assert seconds_from_now(shown["until"]["time"]) == pytest.approx(60, abs=1)
    assert seconds_from_now(shown["since"]) == pytest.approx(0, abs=1)
    assert shown["guards"]["breaker"]["open_until"]["in_seconds"] == pytest.approx(60, abs=1)
    for n in range(20):
        assert (await desk.chat("m", f"r{n}")).headers["x-target"] == "right/b"
    closed = (await desk.admin("POST", "/admin/targets/left/a/close", WHY)).json()
    assert (closed["state"], closed["until"]) == ("ok", None)
    assert {(await desk.chat("m", f"r{n}")).headers["x-target"] for n in range(20)} == {"left/a", "right/b"}


async def test_without_a_ttl_it_stays_open(desk: Desk) -> None:
    shown = (await desk.admin("POST", "/admin/targets/left/a/open", WHY)).json()
    assert (shown["state"], shown["until"]) == ("forced_open", None)
    assert shown["guards"]["breaker"]["open_until"] is None


async def test_drain_and_undrain(desk: Desk) -> None:
    shown = (await desk.admin("POST", "/admin/targets/left/a/drain", WHY | {"ttl": 5.5})).json()
    assert (shown["state"], shown["guards"]["standing"]["reason"]) == ("drained", "a test")
    assert shown["until"]["in_seconds"] == pytest.approx(5.5, abs=0.5)
    assert {(await desk.chat("m", f"r{n}")).headers["x-target"] for n in range(10)} == {"right/b"}
    assert (await desk.chat("m", x_provider_priority="left")).status_code == 503  # a pin does not go around it
    assert (await desk.admin("POST", "/admin/targets/left/a/undrain", WHY)).json()["state"] == "ok"
    assert (await desk.chat("m", x_provider_priority="left")).status_code == 200


async def test_drained_stays_drained_when_it_is_closed(desk: Desk) -> None:
    await desk.admin("POST", "/admin/targets/left/a/drain", WHY)
    await desk.admin("POST", "/admin/targets/left/a/open", WHY)
    assert (await desk.admin("POST", "/admin/targets/left/a/close", WHY)).json()["state"] == "drained"


async def test_close_also_restores_what_its_upstream_disabled(desk: Desk) -> None:
    live = desk.gateway.lives["left/a"]
    standing = live.guard(Standing)
    assert standing is not None
    failure = QuotaExhausted("no money left", status=429)
    attempt: Any = None
    ticket = standing.admit(attempt, 0.0)
    ticket.settle(Ending(Outcome.IGNORED, failure), 0.0)
    shown = await desk.state("left/a")
    assert (shown["state"], shown["guards"]["standing"]["cause"]) == ("disabled", "quota")
    assert (await desk.admin("POST", "/admin/targets/left/a/close", WHY)).json()["state"] == "ok"


async def test_a_tripped_breaker_is_ejected_until_a_known_time(desk: Desk) -> None:
    for n in range(12):
        await desk.chat("dead", f"r{n}")
    shown = await desk.state("broken/dead")
    assert shown["state"] == "ejected"
    assert 0 < shown["until"]["in_seconds"] <= 7.5
    assert seconds_from_now(shown["until"]["time"]) == pytest.approx(shown["until"]["in_seconds"], abs=0.5)
    assert seconds_from_now(shown["since"]) == pytest.approx(0, abs=2)


async def test_a_target_that_there_is_not(desk: Desk) -> None:
    answer = await desk.admin("POST", "/admin/targets/left/nothing/open", WHY)
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "unknown_target"
    assert "left/a, right/b, cloud/m" in error_of(answer)["message"]


async def test_an_action_that_there_is_not(desk: Desk) -> None:
    answer = await desk.admin("POST", "/admin/targets/left/a/explode", WHY)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == "action"
    assert "'open', 'close', 'drain' or 'undrain'" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "reason", "is missing"),
        ({"reason": ""}, "reason", "at least 1 character"),
        ({"reason": "   "}, "reason", "say something"),
        ({"reason": "x" * 201}, "reason", "at most 200 characters"),
        ({"reason": "two\nlines"}, "reason", "must be printable"),
        ({"reason": "\u202eright to left"}, "reason", "must be printable"),
        ({"reason": 5}, "reason", "valid string"),
        ({"reason": "x", "ttl": 0}, "ttl", "greater than 0"),
        ({"reason": "x", "ttl": -1}, "ttl", "greater than 0"),
        ({"reason": "x", "ttl": 604_801}, "ttl", "less than or equal to 604800"),
        ({"reason": "x", "ttl": "5"}, "ttl", "valid number"),
        ({"reason": "x", "ttl": True}, "ttl", "valid number"),
        ({"reason": "x", "until": 5}, "until", "is not known here"),
        ([], None, "must be a JSON object"),
        ("x", None, "must be a JSON object"),
        (None, None, "not valid JSON"),
    ],
)
async def test_a_wrong_body_names_the_field(desk: Desk, body: Any, param: str | None, words: str) -> None:
    answer = await desk.admin("POST", "/admin/targets/left/a/open", body)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param
    assert words in error_of(answer)["message"]
    assert (await desk.state("left/a"))["state"] == "ok"
    assert not (await desk.get("/admin/audit"))["entries"]


@pytest.mark.parametrize("action", ["close", "undrain"])
async def test_what_is_at_once_takes_no_ttl(desk: Desk, action: str) -> None:
    answer = await desk.admin("POST", f"/admin/targets/left/a/{action}", WHY | {"ttl": 5})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "ttl")


async def test_what_was_done_is_on_record(desk: Desk, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    await desk.admin("POST", "/admin/targets/left/a/drain", {"reason": "maintenance", "ttl": 60})
    await desk.admin("POST", "/admin/targets/left/a/undrain", {"reason": "done"})
    entries = (await desk.get("/admin/audit"))["entries"]
    assert [(one["action"], one["target"], one["reason"], one["ttl"], one["outcome"]) for one in entries] == [
        ("undrain", "left/a", "done", None, "ok"),
        ("drain", "left/a", "maintenance", 60.0, "drained"),
    ]
    assert all((one["who"], one["client"]) == ("admin", "127.0.0.1") for one in entries)
    assert seconds_from_now(entries[0]["time"]) == pytest.approx(0, abs=5)


async def test_a_busy_target_says_so(desk: Desk) -> None:
    live = desk.gateway.lives["left/a"]
    limiter = live.guard(Limiter)
    assert limiter is not None
    live.limit, limiter.load = 1.5, 1.0
    assert (await desk.state("left/a"))["state"] == "limited"


async def test_the_loops_clock_and_infinity_never_leave(desk: Desk) -> None:
    await desk.admin("POST", "/admin/targets/left/a/open", WHY)
    await eventually(lambda: desk.get("/admin/targets"))
    text = (await desk.admin("GET", "/admin/targets")).text
    assert "Infinity" not in text
    assert "NaN" not in text
