"""W5, W6, W15 and W16: what breaks, what is tried again, and what ends when the client goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.faulty import DONE, ROLE, Exchange, Fault, completion, delta, event, status
from tests.e2e.harness import eventually
from tests.e2e.outside import Stage, ask, refused
from tests.e2e.wire_http import Wire, error_in, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAID = delta({"content": "hello"})


def typed(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\n".encode() + event({"type": kind, **more})


BEGINNINGS = {
    "chat/completions": [ROLE, SAID],
    "completions": [event({"object": "text_completion", "choices": [{"index": 0, "text": "hello"}]})],
    "responses": [
        typed("response.created", response={"id": "resp_1"}, sequence_number=0),
        typed("response.output_text.delta", delta="hello", sequence_number=1),
    ],
}


async def fin(x: Exchange) -> None:
    await x.close()


async def reset(x: Exchange) -> None:
    await x.reset()


async def clean_end(x: Exchange) -> None:
    await x.end()


async def end_marker_without_finish(x: Exchange) -> None:
    await x.say(DONE)
    await x.end()


async def silence(x: Exchange) -> None:
    await x.hang()


async def only_heartbeats(x: Exchange) -> None:
    for _ in range(20):
        await x.say(b": ping\n\n")
    await x.hang()


async def error_then_end_marker(x: Exchange) -> None:
    await x.say(
        event({"error": {"message": "SECRET", "type": "InternalServerError", "param": None, "code": 500}}), DONE
    )
    await x.end()


DEATHS = [fin, reset, clean_end, end_marker_without_finish, silence, only_heartbeats, error_then_end_marker]


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.__name__)
@pytest.mark.parametrize("endpoint", BEGINNINGS)
async def test_w05_a_stream_that_dies_never_looks_complete(stage: Stage, endpoint: str, death: Fault) -> None:
    seen = asyncio.Event()

    async def script(x: Exchange) -> None:
        await x.begin()
        await x.say(*BEGINNINGS[endpoint])
        await seen.wait()
        await death(x)

    stage.put_on("short", script)
    body = ask("short", stream=True, prompt="hi", input="hi")
    async with Wire(stage.gateway.url) as wire:
        await wire.send(post(body, path=f"/v1/{endpoint}"))
        answer = await wire.begun()
        await wire.more(answer, b"hello")
        seen.set()
        async for part in wire.parts(answer):
            answer.body += part
    assert answer.status == 200
    error_in(json.loads(answer.data[-1]))
    assert sum('"error"' in data for data in answer.data) == 1
    assert "[DONE]" not in answer.data
    assert "SECRET" not in answer.body.decode()
    assert not answer.whole, "it ended as if all were well"
    await eventually(stage.quiet)


FAILS_FIRST: dict[str, Callable[[], Fault]] = {
    "status": lambda: status(500),
    "no answer": lambda: fin,
    "no http": lambda: _not_http,
    "role, then gone": lambda: _role_then(fin),
    "role, then an error": lambda: _role_then(error_then_end_marker),
}


async def _not_http(x: Exchange) -> None:
    await x.write(b"220 mail.example ESMTP\r\n")
    await x.close()


def _role_then(death: Fault) -> Fault:
    async def script(x: Exchange) -> None:
        await x.begin()
        await x.say(ROLE, b": ping\n\n")
        await death(x)

    return script


@pytest.mark.parametrize("failure", FAILS_FIRST)
async def test_w06_before_the_first_byte_another_target_answers_alone(stage: Stage, failure: str) -> None:
    stage.put_on("two", FAILS_FIRST[failure]())
    before = len(stage.spare.exchanges)
    answer = await stage.ask(ask("two", stream=True))
    assert (answer.status, answer.whole) == (200, True)
    assert len(stage.spare.exchanges) == before + 1
    assert answer.body == b"".join(stage.spare.exchanges[-1].pieces), "something of the first target is in it"
    assert answer.header("x-provider") == "spare"


async def test_w06_after_the_first_byte_no_second_answer_is_spliced_in(stage: Stage) -> None:
    async def script(x: Exchange) -> None:
        await x.begin()
        await x.say(ROLE, SAID)
        await x.reset()

    stage.put_on("two", script)
    before = len(stage.spare.exchanges), len(stage.calls("two"))
    answer = await stage.ask(ask("two", stream=True))
    assert answer.header("x-provider") == "up"
    assert (len(stage.spare.exchanges), len(stage.calls("two"))) == (before[0], before[1] + 1)
    assert not answer.whole


# How often an upstream is asked that always gives this status, and what the client gets.
CALLS = {
    400: (1, 400), 413: (1, 413), 422: (1, 422), 401: (1, 502), 403: (1, 502), 404: (1, 502), 301: (1, 502),
    408: (3, 502), 409: (3, 502), 429: (3, 429), 500: (3, 502), 501: (3, 502), 503: (3, 502), 504: (3, 502), 529: (3, 502),
}  # fmt: skip


@pytest.mark.parametrize("code", CALLS)
async def test_w15_only_what_may_pass_is_tried_again(stage: Stage, code: int) -> None:
    model = stage.play(status(code, retry_after_ms="1"))
    answer = await stage.ask(ask(model), "X-Stainless-Retry-Count: 1")
    calls, shown = CALLS[code]
    assert len(stage.calls(model)) == calls
    assert answer.status == shown
    if calls > 1 and shown != 429:
        assert answer.header("x-should-retry") == "false", "two layers that retry multiply"


RESTS: dict[str, dict[str, Any]] = {
    "milliseconds before seconds": {"Retry_After_Ms": "300", "Retry_After": "30"},
    "part of a second": {"Retry_After": "0.3"},
    "a date": {"Retry_After": formatdate(1_800_000_001, usegmt=True), "Date": formatdate(1_800_000_000, usegmt=True)},
}


@pytest.mark.parametrize(("code", "rest"), [(429, rest) for rest in RESTS] + [(503, "part of a second")])
async def test_w15_a_target_is_left_alone_as_long_as_it_asked(stage: Stage, code: int, rest: str) -> None:
    """All times are the upstream's."""
    failure = status(code, **RESTS[rest])

    async def once(x: Exchange) -> None:
        await (failure(x) if len(stage.calls(model)) == 1 else x.reply(200, completion("hello")))

    model = stage.play(once)
    answer = await stage.ask(ask(model))
    assert answer.status == 200
    ((first, second),) = pairwise(one.at for one in stage.calls(model))
    at_least = 0.99 if rest == "a date" else 0.29
    assert at_least <= second - first < 5


PHASES = ["in the body", "before the answer", "before any content", "in mid-stream", "in a plain answer"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("endpoint", BEGINNINGS)
async def test_w16_a_client_that_goes_takes_its_upstream_along(stage: Stage, endpoint: str, phase: str) -> None:
    async def script(x: Exchange) -> None:
        if phase != "before the answer":
            await x.begin()
            await x.say(*BEGINNINGS[endpoint][: 0 if phase == "before any content" else None])
        await x.hang()

    model = stage.play(script)
    request_id = f"w16.{model}"
    body = json.dumps(ask(model, stream=phase != "in a plain answer", prompt="hi", input="hi")).encode()
    lines = (f"X-Request-ID: {request_id}", "Content-Type: application/json", f"Content-Length: {len(body)}")
    async with Wire(stage.gateway.url) as wire:
        await wire.send(head(f"POST /v1/{endpoint}", *lines) + (body[:-1] if phase == "in the body" else body))
        if phase == "in mid-stream":
            await wire.more(await wire.begun(), b"hello")
        elif phase != "in the body":
            await eventually(lambda: stage.calls(model), within=5)
    if phase != "in the body":
        (call,) = stage.calls(model)
        await eventually(lambda: call.abandoned_at, within=1)
    line = await stage.gateway.log_line(request_id)
    assert (line["status"], line["end"]) == (499, "client_closed")
    assert len(stage.calls(model)) == (phase != "in the body")
    await eventually(stage.quiet)


async def test_w16_who_leaves_is_nobodys_failure(stage: Stage) -> None:
    async def script(x: Exchange) -> None:
        await x.hang()

    async def failures() -> dict[str, int]:
        async with Wire(stage.gateway.url) as wire:
            await wire.send(head("GET /ready"))
            targets = (await wire.response()).json["targets"]
        return {one["target"]: one["failures"] for one in targets if one["model"] == "two"}

    stage.put_on("two", script)
    so_far = await failures()
    async with Wire(stage.gateway.url) as wire:
        before = len(stage.calls("two"))
        await wire.send(post(ask("two")))
        await eventually(lambda: len(stage.calls("two")) > before)
    await eventually(stage.quiet)
    assert await failures() == so_far


async def test_w15_the_tries_of_one_call_are_bounded_whatever_it_meets(stage: Stage) -> None:
    failures = [status(500), fin, status(429), _role_then(fin), status(503), reset]

    async def script(x: Exchange) -> None:
        await failures[len(stage.calls(model)) % len(failures)](x)

    model = stage.play(script)
    for stream in (True, False):
        before = len(stage.calls(model))
        error = await refused(stage.gateway, await stage.ask(ask(model, stream=stream)), 502, "upstream_error")
        assert len(stage.calls(model)) - before == 3
        assert error["param"] is None
