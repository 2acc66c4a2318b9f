"""POST /admin/explain: what it foretells is what then happens, now and under another configuration."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from router.policies.breaker import Breaker
from tests.app.admin.conftest import CONFIG, Desk, error_of

WHY = {"reason": "a test"}


async def foretold(desk: Desk, model: str, **more: Any) -> Any:
    answer = await desk.admin("POST", "/admin/explain", {"model": model, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_next_two_hundred_requests_go_where_it_says(desk: Desk) -> None:
    seen: Counter[str] = Counter()
    for n in range(200):
        told = await foretold(desk, "m", headers={"X-Request-ID": f"request-{n}"})
        assert (await desk.chat("m", f"request-{n}")).headers["x-target"] == told["target"]
        seen[told["target"]] += 1
    assert seen["left/a"] + seen["right/b"] == 200
    assert 0.65 < seen["left/a"] / 200 < 0.85


async def test_the_arm_of_an_experiment_is_foretold_too(desk: Desk) -> None:
    arms = set()
    for n in range(30):
        told = await foretold(desk, "tried", headers={"X-Request-ID": f"request-{n}"})
        answer = await desk.chat("tried", f"request-{n}")
        assert answer.headers["x-experiment"] == told["experiment"]
        assert answer.headers["x-target"] == told["target"]
        arms.add(told["experiment"])
    assert arms == {"side=old", "side=new"}


async def test_the_chain_is_the_one_that_failing_attempts_take(desk: Desk) -> None:
    told = await foretold(desk, "dead", headers={"X-Request-ID": "one"})
    answer = await desk.chat("dead", "one")
    assert answer.headers["x-attempts"] == ",".join(f"{link['target']}:500" for link in told["chain"])
    assert told["end"]["reason"] == "max_attempts"


async def test_it_is_about_now(desk: Desk) -> None:
    await desk.admin("POST", "/admin/targets/left/a/drain", WHY)
    told = await foretold(desk, "m")
    assert told["target"] == "right/b"
    assert told["chain"][0]["targets"][0] == {
        "target": "left/a",
        "tier": 0,
        "weight": 3.0,
        "state": "excluded",
        "why": "drained",
        "score": None,
    }
    assert told["chain"][0]["targets"][1]["share"] == 1


async def test_shares_and_facts(desk: Desk) -> None:
    told = await foretold(desk, "m")
    assert [one.get("share") for one in told["chain"][0]["targets"]] == [0.75, 0.25, None]
    assert told["drawn"] is True
    assert told["gate"] == {"verdict": "admitted", "why": None}
    assert (told["pin"], told["priority"], told["stream"]) == (None, "default", False)
    pinned = await foretold(
        desk,
        "m",
        stream=True,
        headers={"x-provider-priority": "right, *", "X-Priority": "batch", "x-request-id": "one"},
    )
    assert (pinned["pin"], pinned["priority"], pinned["stream"], pinned["drawn"]) == ("right, *", "batch", True, False)
    assert (pinned["target"], pinned["chain"][0]["reason"], pinned["request_id"]) == ("right/b", "pin", "one")


async def test_the_prompt_counts(desk: Desk) -> None:
    short = await foretold(desk, "m", messages=[{"role": "user", "content": "hi"}])
    long = await foretold(desk, "m", body={"messages": [{"role": "user", "content": "word " * 2000}], "max_tokens": 10})
    assert long["estimated_tokens"] > short["estimated_tokens"]


async def test_nobody_is_called_and_nothing_is_taken(desk: Desk) -> None:
    for _ in range(20):
        await foretold(desk, "m", config=CONFIG)
        await foretold(desk, "failing")
    for live in desk.gateway.lives.values():
        assert (live.in_flight, live.tokens, live.failures) == (0, 0, 0)
        breaker = live.guard(Breaker)
        assert breaker is not None
        assert breaker.describe(0.0)["calls"] == 0
    assert desk.gateway.gate.tokens_in_flight == 0
    assert (await desk.get("/admin/requests"))["kept"] == 0


async def test_under_another_configuration_the_state_stays_that_of_now(desk: Desk) -> None:
    await desk.admin("POST", "/admin/targets/right/b/drain", WHY)
    turned = CONFIG.replace("model: a, weight: 3", "model: a, weight: 0")
    told = await foretold(desk, "m", config=turned)
    assert told["target"] is None
    assert [one["why"] for one in told["nobody"]] == [
        "weight 0: reached by a pin only",
        "drained",
        told["nobody"][2]["why"],
    ]
    assert told["end"]["reason"] == "no_healthy_target"
    changed = CONFIG.replace("weight: 3", "weight: 1").replace(
        "{provider: right, model: b}", "{provider: right, model: c}"
    )
    told = await foretold(desk, "m", config=changed)
    assert [one["target"] for one in told["chain"][0]["targets"]] == ["left/a", "right/c", "cloud/m"]
    assert [one.get("share") for one in told["chain"][0]["targets"]] == [0.5, 0.5, None]


async def test_a_target_of_other_policies_begins_anew(desk: Desk) -> None:
    await desk.admin("POST", "/admin/targets/left/a/drain", WHY)
    own = CONFIG.replace("defaults: {", "defaults: {breaker: {min_calls: 99}, ")
    assert (await foretold(desk, "m", config=CONFIG))["target"] == "right/b"
    told = await foretold(desk, "m", config=own)
    assert told["chain"][0]["targets"][0]["state"] != "excluded"


@pytest.mark.parametrize(
    ("question", "status", "code", "param", "words"),
    [
        ({}, 400, "invalid_field", "model", "is missing"),
        ({"model": ""}, 400, "invalid_field", "model", "at least 1 character"),
        ({"model": 5}, 400, "invalid_field", "model", "valid string"),
        ({"model": "m", "who": 1}, 400, "invalid_field", "who", "is not known here"),
        ({"model": "m", "headers": {"a b": "c"}}, 400, "invalid_field", "headers", "must be a header's name"),
        ({"model": "m", "headers": {"a": "b\nc"}}, 400, "invalid_field", "headers", "printable ASCII"),
        ({"model": "m", "headers": {"a": "ü"}}, 400, "invalid_field", "headers", "printable ASCII"),
        ({"model": "m", "headers": {"a": 5}}, 400, "invalid_field", "headers.a", "valid string"),
        ({"model": "m", "messages": []}, 400, "invalid_type", "messages", "at least one message"),
        ({"model": "m", "body": {"stream": 5}}, 400, "invalid_type", "stream", "true or false"),
        (
            {"model": "m", "headers": {"X-Provider-Priority": "nobody"}},
            400,
            "unknown_provider",
            None,
            "these do: cloud, left, right",
        ),
        ({"model": "m", "headers": {"X-Priority": "high"}}, 400, "invalid_header", None, "X-Priority must be one of"),
        ({"model": "tried", "headers": {"X-Experiment": "side=no"}}, 400, "invalid_header", None, "side=old, side=new"),
        ({"model": "m", "config": "routes: 5"}, 400, "invalid_config", "config", "this configuration cannot be used"),
        ({"model": "x", "config": "providers: [{name: e, kind: echo}]\nroutes: [{model: m, targets: [{provider: e}]}]"}, 404,
         "model_not_found", "model", "models: m"),
    ],
)  # fmt: skip
async def test_a_question_that_makes_no_sense(
    desk: Desk, question: Any, status: int, code: str, param: str | None, words: str
) -> None:
    answer = await desk.admin("POST", "/admin/explain", question)
    assert answer.status_code == status
    assert (error_of(answer)["code"], error_of(answer)["param"]) == (code, param)
    assert words in error_of(answer)["message"]
