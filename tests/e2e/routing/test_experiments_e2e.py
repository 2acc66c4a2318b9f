"""Experiments as a client meets them: pinned by a header, else dealt by a hash, alike in every gateway."""

from __future__ import annotations

import asyncio
from collections import Counter
from math import sqrt
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartGateway
from tests.e2e.faulty import Exchange, ok
from tests.e2e.harness import Gateway, chat
from tests.e2e.routing.conftest import OpenClient, StartUpstream
from tests.e2e.routing.town import Client, Upstream, configuration, counted, many, targets
from tests.e2e.wire_http import Response

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSIONS = [f"user-{number}" for number in range(30)]
CALLS = 2_000
CERTAINTY = 3.29  # standard deviations: 99.9 %
PATIENT = {"breaker": {"consecutive": 100, "min_calls": 1000}}
HASTY_BREAKER = {"breaker": {"consecutive": 3, "open_base": 60}}


def arms(control: str, treatment: str, share: float) -> list[dict[str, object]]:
    return [
        {"name": "control", "providers": [control], "share": round(1 - share, 4)},
        {"name": "treatment", "providers": [treatment], "share": share},
    ]


class Scene(NamedTuple):
    gateway: Gateway
    client: Client
    other: Client
    a: Upstream
    b: Upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(upstream: StartUpstream, gateway: StartGateway, client: OpenClient) -> Scene:
    a, b = await upstream("a"), await upstream("b")
    alone = {"name": "alone", "arms": arms("a", "b", 0.5)}
    tripped = {"name": "tripped", "arms": arms("a", "b", 0.5)}
    helped = {"name": "helped", "arms": arms("a", "b", 0.5), "failover": True}
    by_session = {"name": "tenth", "arms": arms("echo", "mock", 0.1)}
    by_request = {"name": "dealt", "arms": arms("echo", "mock", 0.3), "unit": "request"}
    hidden = {"name": "hidden", "arms": arms("a", "b", 0.0)}
    inside = [{"provider": "echo"}, {"provider": "mock"}]
    routes = [
        {"model": "alone", "targets": targets("alone", "a", "b"), "experiments": [alone], **PATIENT},
        {"model": "tripped", "targets": targets("tripped", "a", "b"), "experiments": [tripped], **HASTY_BREAKER},
        {"model": "helped", "targets": targets("helped", "a", "b"), "experiments": [helped]},
        {"model": "hidden", "targets": targets("hidden", "a", "b"), "experiments": [hidden, alone]},
        {"model": "none", "targets": targets("none", "a", "b")},
        {"model": "tenth", "targets": inside, "experiments": [by_session]},
        {"model": "dealt", "targets": inside, "experiments": [by_request]},
    ]
    config = configuration([a, b], routes)
    config["providers"] += [
        {"name": "echo", "kind": "echo"},
        {"name": "mock", "kind": "mock", "ttft": 0, "token_interval": 0},
    ]
    one, two = await asyncio.gather(gateway(config), gateway(config))
    return Scene(one, await client(one), await client(two), a, b)


# --- the header -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_the_header_wins_over_the_hash_and_comes_back(scene: Scene, stream: bool) -> None:
    for arm, name in (("control", "a"), ("treatment", "b")):
        for session in SESSIONS[:6]:
            asked = {"X_Experiment": f"alone={arm}", "X_Session_ID": session}
            told = await scene.client.chat("alone", stream=stream, **asked)
            assert (told.status, told.provider, told.reason) == (200, name, "pin")
            assert told.headers["x-experiment"] == f"alone={arm}"
            assert told.text == f"hello from {name}"


async def test_it_is_not_for_the_upstream(scene: Scene) -> None:
    await scene.client.chat("alone", X_Experiment="alone=control", X_Session_ID="user-0")
    names = {name for name, _ in scene.a.asked("alone")[-1].headers}
    assert not {"x-experiment", "x-session-id"} & names


@pytest.mark.parametrize("value", ["alone=other", "other=control", "alone", "", "alone=control, alone=treatment", "="])
async def test_an_arm_that_is_none_is_refused_with_those_that_are(scene: Scene, value: str) -> None:
    answer = (await many(scene.gateway, [(chat("hidden", stream=False), [f"X-Experiment: {value}"])]))[0]
    error = answer.error
    assert (answer.status, error["code"], answer.header("x-experiment")) == (400, "invalid_header", "")
    listed = "hidden=control, hidden=treatment, alone=control, alone=treatment"
    assert error["message"].endswith(f"is not the arm of an experiment; these are: {listed}")


async def test_where_there_is_no_experiment_the_header_is_refused(scene: Scene) -> None:
    told = await scene.client.chat("none", X_Experiment="alone=control")
    assert (told.status, told.text) == (400, "X-Experiment: this model has no experiment; leave the header out")


async def test_the_header_and_a_pin_exclude_each_other(scene: Scene) -> None:
    told = await scene.client.chat("alone", X_Experiment="alone=control", X_Provider_Priority="b")
    assert (told.status, told.text) == (400, "X-Provider-Priority and X-Experiment exclude each other")
    assert "x-experiment" not in told.headers
    pinned = await scene.client.chat("alone", X_Provider_Priority="b", X_Session_ID=SESSIONS[0])
    assert (pinned.provider, pinned.reason, pinned.headers.get("x-experiment")) == ("b", "pin", None)


async def test_an_arm_without_a_share_is_reached_by_the_header_alone(scene: Scene) -> None:
    before = len(scene.b.asked("hidden"))
    told = [await scene.client.chat("hidden", X_Session_ID=session) for session in SESSIONS]
    assert {each.headers["x-experiment"] for each in told} == {"hidden=control"}
    assert len(scene.b.asked("hidden")) == before
    told = [await scene.client.chat("hidden", X_Experiment=arm) for arm in ("hidden=treatment", "alone=treatment")]
    assert [each.headers["x-experiment"] for each in told] == ["hidden=treatment", "alone=treatment"]
    assert [each.provider for each in told] == ["b", "b"]


# --- the hash ---------------------------------------------------------------------------------------------------------


async def test_a_session_has_one_arm_in_every_gateway(scene: Scene) -> None:
    first = {}
    for session in SESSIONS:
        told = await scene.client.chat("alone", X_Session_ID=session)
        assert (told.reason, told.provider) == (
            "sticky",
            "a" if told.headers["x-experiment"] == "alone=control" else "b",
        )
        first[session] = told.headers["x-experiment"]
    assert set(first.values()) == {"alone=control", "alone=treatment"}
    for client in (scene.client, scene.other):
        for session in reversed(SESSIONS):
            told = await client.chat("alone", stream=True, words=session, X_Session_ID=session)
            assert told.headers["x-experiment"] == first[session]


def dealt(answers: list[Response]) -> Counter[str]:
    assert {answer.status for answer in answers} == {200}
    providers = {"control": "echo", "treatment": "mock"}
    for answer in answers:
        assert answer.header("x-provider") == providers[answer.header("x-experiment").partition("=")[2]]
    return Counter(answer.header("x-experiment") for answer in answers)


def assert_share(treated: int, share: float) -> None:
    assert abs(treated - share * CALLS) <= CERTAINTY * sqrt(CALLS * share * (1 - share))


async def test_shares_hold_over_sessions(scene: Scene) -> None:
    asked = [(chat("tenth", stream=False, max_tokens=1), [f"X-Session-ID: s{number}"]) for number in range(CALLS)]
    counts = dealt(await many(scene.gateway, asked))
    assert_share(counts["tenth=treatment"], 0.1)
    requests = await counted(scene.gateway, "breakwater_requests_total")
    assert requests["tenth", "mock/tenth", "ok", ""] == counts["tenth=treatment"]


async def test_shares_hold_over_requests_whatever_their_session(scene: Scene) -> None:
    header = "X-Session-ID: always-the-same"
    asked = [
        (chat("dealt", stream=False, max_tokens=1), [header, f"X-Request-ID: q-{number}"]) for number in range(CALLS)
    ]
    assert_share(dealt(await many(scene.gateway, asked))["dealt=treatment"], 0.3)


# --- failures ---------------------------------------------------------------------------------------------------------


async def fails(x: Exchange) -> None:
    await x.reply(500, b'{"error": "broken"}')


async def of_arm(client: Client, model: str, arm: str) -> str:
    """A session that is in this arm."""
    for session in SESSIONS:
        told = await client.chat(model, X_Session_ID=session)
        if told.headers["x-experiment"] == f"{model}={arm}":
            return session
    raise AssertionError(f"nobody is in {arm}")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_an_arm_that_fails_gives_its_own_error_and_says_which_it_is(scene: Scene, stream: bool) -> None:
    session = await of_arm(scene.client, "alone", "treatment")
    elsewhere = len(scene.a.asked("alone"))
    scene.b.play("alone", fails)
    for headers in ({"X_Session_ID": session}, {"X_Experiment": "alone=treatment"}):
        told = await scene.client.chat("alone", stream=stream, **headers)
        assert (told.status, told.headers["x-experiment"]) == (502, "alone=treatment")
        assert set(told.attempts) == {"b/alone:500"}
        assert told.headers["x-should-retry"] == "false"
    scene.b.play("alone", ok)
    assert len(scene.a.asked("alone")) == elsewhere


async def test_with_failover_the_others_help_those_that_were_dealt_and_nobody_that_was_pinned(scene: Scene) -> None:
    session = await of_arm(scene.client, "helped", "treatment")
    scene.b.play("helped", fails)
    told = await scene.client.chat("helped", X_Session_ID=session)
    assert (told.status, told.provider, told.reason) == (200, "a", "failover")
    assert told.headers["x-experiment"] == "helped=treatment"
    assert told.attempts == ["b/helped:500", "a/helped:200"]
    pinned = await scene.client.chat("helped", X_Experiment="helped=treatment")
    assert (pinned.status, set(pinned.attempts)) == (502, {"b/helped:500"})
    scene.b.play("helped", ok)


async def test_an_arm_that_is_ejected_fails_by_itself_too(scene: Scene) -> None:
    scene.b.play("tripped", fails)
    first = await scene.client.chat("tripped", X_Experiment="tripped=treatment")
    assert first.attempts == ["b/tripped:500"] * 3
    for stream in (False, True):
        told = await scene.client.chat("tripped", stream=stream, X_Experiment="tripped=treatment")
        assert (told.status, told.headers["x-experiment"], told.attempts) == (503, "tripped=treatment", [])
        assert 1 <= int(told.headers["retry-after"]) <= 60
    assert (len(scene.b.asked("tripped")), scene.a.asked("tripped")) == (3, [])
