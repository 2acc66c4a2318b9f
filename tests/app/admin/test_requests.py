"""Decision records over the API: what a request went through, told from its record alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.app.admin.conftest import Desk, error_of
from tests.e2e.harness import eventually


async def record(desk: Desk, request_id: str) -> Any:
    """When it has been handed on."""

    async def found() -> Any:
        answer = await desk.admin("GET", f"/admin/requests/{request_id}")
        return answer.json() if answer.status_code == 200 else None

    return await eventually(found)


async def test_a_failover_is_explained_from_its_record(desk: Desk) -> None:
    await desk.chat("failing", "one")
    told = await record(desk, "one")
    first, second = told["steps"]
    assert (first["target"], first["label"], first["sent"], first["refusal"]) == ("broken/failing", "500", True, None)
    assert [(one["target"], one["state"], one["why"]) for one in first["targets"]] == [
        ("broken/failing", "picked", None),
        ("left/a", "excluded", "tier 1: after tier 0"),
    ]
    assert (second["target"], second["label"]) == ("left/a", "200")
    assert [(one["target"], one["state"], one["why"]) for one in second["targets"]] == [
        ("broken/failing", "excluded", "tried: 500"),
        ("left/a", "picked", None),
    ]
    result = told["result"]
    assert (result["status"], result["target"], result["route_reason"]) == (200, "left/a", "failover")
    assert (result["outcome"], result["end"], result["error"], result["verdict"]) == ("ok", "complete", None, None)
    assert result["tokens_out"] == 5
    assert result["duration_ms"] >= result["first_byte_ms"] >= second["at_ms"] >= first["at_ms"] >= 0


async def test_what_was_asked_for_is_in_it(desk: Desk) -> None:
    await desk.chat("m", "two", stream=True, x_provider_priority="right, *", x_priority="critical", x_session_id="s-1")
    told = await record(desk, "two")
    assert (told["model"], told["route"], told["strategy"], told["stream"]) == ("m", "m", "weighted", True)
    assert (told["pin"], told["sticky"], told["priority"], told["session"]) == ("right, *", False, "critical", True)
    assert told["estimated_tokens"] > 0
    assert told["queued_ms"] == 0
    (step,) = told["steps"]
    assert {one["target"]: one["why"] for one in step["targets"]} == {
        "left/a": "pinned after others",
        "right/b": None,
        "cloud/m": "not pinned",
    }


async def test_scores_of_those_that_it_was_picked_from(desk: Desk) -> None:
    await desk.chat("m", "three")
    (step,) = (await record(desk, "three"))["steps"]
    assert [(one["target"], one["score"], one["why"]) for one in step["targets"]] == [
        ("left/a", 3, None),
        ("right/b", 1, None),
        ("cloud/m", None, "weight 0: reached by a pin only"),
    ]
    assert {one["state"] for one in step["targets"][:2]} == {"picked", "candidate"}


async def test_who_would_have_been_picked_had_it_been_able(desk: Desk) -> None:
    await desk.admin("POST", "/admin/targets/left/a/drain", {"reason": "a test"})
    for n in range(20):
        await desk.chat("m", f"r{n}")
    told = [await record(desk, f"r{n}") for n in range(20)]
    assert {one["steps"][0]["instead_of"] for one in told} == {"left/a", None}
    assert all(one["steps"][0]["targets"][0]["why"] == "drained" for one in told)
    instead = next(one for one in told if one["steps"][0]["instead_of"])
    assert instead["result"]["route_reason"] == "failover"
    assert "left/a would have been, had all been able" in await text(desk, instead["request_id"])


async def test_nobody_left(desk: Desk) -> None:
    for target in ("left/a", "right/b"):
        await desk.admin("POST", f"/admin/targets/{target}/drain", {"reason": "a test"})
    assert (await desk.chat("m", "four")).status_code == 503
    told = await record(desk, "four")
    assert told["steps"] == []
    assert [one["why"] for one in told["nobody"]] == ["drained", "drained", "weight 0: reached by a pin only"]
    assert (told["result"]["verdict"], told["result"]["outcome"]) == ("no_healthy_target", "error")
    assert "no target left" in await text(desk, "four")


async def test_every_attempt_failed(desk: Desk) -> None:
    await desk.chat("dead", "five")
    told = await record(desk, "five")
    assert [(step["label"], step["sent"], step["refusal"]) for step in told["steps"]] == [
        ("500", True, None),
        ("500", True, None),
        ("500", True, None),
        (None, False, "max_attempts"),
    ]
    assert told["result"]["verdict"] == "exhausted"
    assert "not sent: max_attempts" in await text(desk, "five")


async def text(desk: Desk, request_id: str) -> str:
    answer = await desk.admin("GET", f"/admin/requests/{request_id}?format=text")
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


async def test_as_text_it_reads_like_a_story(desk: Desk) -> None:
    await desk.chat("failing", "six", stream=True)
    await record(desk, "six")
    lines = (await text(desk, "six")).splitlines()
    assert lines[0].startswith("six  20")
    assert lines[1].startswith("failing by route failing (weighted), priority default, about ")
    assert lines[3].startswith("1. broken/failing: 500 in ")
    assert lines[4:6] == ["   why: the only one that could take it", "   not left/a: tier 1: after tier 0"]
    assert lines[7].startswith("2. left/a: 200 in ")
    assert lines[9] == "   not broken/failing: tried: 500"
    assert lines[11].startswith("Result: 200 from left/a (failover) in ")


async def test_the_list_has_the_latest_first_and_can_be_narrowed(desk: Desk) -> None:
    for n in range(3):
        await desk.chat("m", f"m{n}")
    await desk.chat("dead", "lost")
    await desk.chat("failing", "found")
    await record(desk, "found")

    async def ids(query: str = "") -> list[str]:
        return [one["request_id"] for one in (await desk.get(f"/admin/requests{query}"))["requests"]]

    assert await ids() == ["found", "lost", "m2", "m1", "m0"]
    assert await ids("?limit=2") == ["found", "lost"]
    assert await ids("?model=m&limit=2") == ["m2", "m1"]
    assert await ids("?outcome=error") == ["lost"]
    assert await ids("?outcome=cancelled") == []
    assert await ids("?target=left/a&model=failing") == ["found"]
    listed = await desk.get("/admin/requests?limit=1")
    assert (listed["kept"], listed["most"]) == (5, 1000)
    assert listed["requests"][0]["attempts"] == ["broken/failing:500", "left/a:200"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "outcome=fine"])
async def test_a_query_that_means_nothing(desk: Desk, query: str) -> None:
    answer = await desk.admin("GET", f"/admin/requests?{query}")
    assert answer.status_code == 400
    assert error_of(answer)["param"] == query.partition("=")[0]


async def test_a_request_that_nobody_knows(desk: Desk) -> None:
    answer = await desk.admin("GET", "/admin/requests/nobody")
    assert (answer.status_code, error_of(answer)["code"]) == (404, "unknown_request")
    assert "telemetry.decisions" in error_of(answer)["message"]


async def test_nothing_of_the_conversation_or_the_headers_is_kept(desk: Desk) -> None:
    headers = {"authorization": "Bearer sk-canary-client", "x_session_id": "canary-session", "x_other": "canary-other"}
    await desk.chat("failing", "seven", **headers)
    await record(desk, "seven")
    told = (await desk.admin("GET", "/admin/requests/seven")).text + await text(desk, "seven")
    assert "canary" not in told
    assert "secret words" not in told


async def test_a_record_never_gets_ahead_of_a_request_that_runs(desk: Desk) -> None:
    """Records are of what is over."""
    await asyncio.gather(*(desk.chat("m", f"r{n}") for n in range(10)))
    await record(desk, "r9")
    assert (await desk.get("/admin/requests"))["kept"] == 10
