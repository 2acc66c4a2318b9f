"""W20: the Responses API. Pairs of ``event:`` and ``data:``, in sequence, with a terminal event and no [DONE]."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.faulty import DONE, event
from tests.e2e.harness import eventually
from tests.e2e.outside import Stage, ask, refused, replies, says
from tests.e2e.wire_http import Wire, error_in, events, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/v1/responses"


def stream_of(*kinds: tuple[str, dict[str, Any]]) -> list[bytes]:
    return [
        f"event: {kind}\n".encode() + event({"type": kind, "sequence_number": number, **more})
        for number, (kind, more) in enumerate(kinds)
    ]


CREATED = ("response.created", {"response": {"id": "resp_1", "object": "response", "status": "in_progress"}})
PROGRESS = ("response.in_progress", {"response": {"id": "resp_1"}})
ITEM = ("response.output_item.added", {"output_index": 0, "item": {"type": "message", "content": []}})
SAID = ("response.output_text.delta", {"delta": "hello", "item_id": "i", "content_index": 0, "output_index": 0})
TEXT = ("response.output_text.done", {"text": "hello"})
OUTPUT = [{"type": "message", "content": [{"type": "output_text", "text": "hello", "annotations": []}]}]


def ended(status: str) -> tuple[str, dict[str, Any]]:
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    return f"response.{status}", {"response": {"id": "resp_1", "status": status, "output": OUTPUT, "usage": usage}}


FAILED = (
    "response.failed",
    {"response": {"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "SECRET"}}},
)
ERROR = ("error", {"code": "server_error", "message": "SECRET", "param": None})


@pytest.mark.parametrize("status", ["completed", "incomplete"])
@pytest.mark.parametrize("cut", [1, 37, 10_000])
async def test_w20_events_pass_in_order_and_nothing_is_added(stage: Stage, status: str, cut: int) -> None:
    whole = b"".join(stream_of(CREATED, PROGRESS, ITEM, SAID, SAID, TEXT, ended(status)))
    model = stage.play(says(*(whole[at : at + cut] for at in range(0, len(whole), cut))))
    answer = await stage.ask({"model": model, "input": "hi", "stream": True}, path=PATH)
    assert (answer.body, answer.whole) == (whole, True)
    for number, (name, data) in enumerate(events(answer.body)):
        assert (name, number) == (json.loads(data)["type"], json.loads(data)["sequence_number"])


@pytest.mark.parametrize("end", ["nothing", "a [DONE]", "failed", "error"])
async def test_w20_without_a_good_terminal_event_it_is_cut_and_looks_cut(stage: Stage, end: str) -> None:
    tail = {"nothing": [], "a [DONE]": [DONE], "failed": stream_of(FAILED), "error": stream_of(ERROR)}[end]
    sent = stream_of(CREATED, SAID)
    answer = await stage.ask({"model": stage.play(says(*sent, *tail)), "input": "hi", "stream": True}, path=PATH)
    assert answer.body.startswith(b"".join(sent))
    error_in(json.loads(answer.data[-1]))
    assert not answer.whole
    assert "[DONE]" not in answer.data
    assert "SECRET" not in answer.body.decode()


@pytest.mark.parametrize("failure", [FAILED, ERROR], ids=["failed", "error"])
async def test_w20_what_fails_before_any_content_is_no_answer(
    stage: Stage, failure: tuple[str, dict[str, Any]]
) -> None:
    """Peers answered 200 with nothing in it (LiteLLM #36768, Bifrost #5395)."""
    script = says(*stream_of(CREATED, PROGRESS, ITEM, failure))
    answer = await stage.ask({"model": stage.play(script), "input": "hi", "stream": True}, path=PATH)
    await refused(stage.gateway, answer, 502, "upstream_error")
    stage.put_on("two", script)
    answer = await stage.ask({"model": "two", "input": "hi", "stream": True}, path=PATH)
    assert stage.spare.exchanges[-1].head.startswith(b"POST /v1/responses ")


async def test_w20_a_plain_answer_passes_as_it_is_and_a_failed_one_does_not(stage: Stage) -> None:
    body = json.dumps(ended("completed")[1]["response"] | {"object": "response", "previous_response_id": None}).encode()
    answer = await stage.ask({"model": stage.play(replies(body)), "input": "hi"}, path=PATH)
    assert (answer.status, answer.body) == (200, body)
    failed = json.dumps(FAILED[1]["response"] | {"output": []}).encode()
    answer = await stage.ask({"model": stage.play(replies(failed)), "input": "hi"}, path=PATH)
    await refused(stage.gateway, answer, 502, "upstream_error")


async def test_w20_its_usage_is_counted(stage: Stage) -> None:
    model = stage.play(says(*stream_of(CREATED, SAID, ended("completed"))))
    answer = await stage.ask({"model": model, "input": "hi", "stream": True}, "X-Request-ID: w20-usage", path=PATH)
    assert answer.whole
    line = await stage.gateway.log_line("w20-usage")
    assert (line["tokens_in"], line["tokens_out"]) == (3, 5)


async def test_w20_w06_lifecycle_events_alone_do_not_commit(stage: Stage) -> None:
    """The client sees the first byte only with content behind it, so that anything else can still be mended."""
    go_on = asyncio.Event()

    async def script(x: Any) -> None:
        await x.begin()
        await x.say(*stream_of(CREATED, PROGRESS, ITEM))
        await go_on.wait()
        await x.say(*stream_of(SAID, ended("completed")))
        await x.end()

    model = stage.play(script)
    async with Wire(stage.gateway.url) as wire:
        await wire.send(post({"model": model, "input": "hi", "stream": True}, path=PATH))
        head = asyncio.create_task(wire.begun())
        await eventually(lambda: stage.calls(model))
        assert (await stage.ask(ask(stage.play(replies(b'{"output":[{}]}'))) | {"input": "x"}, path=PATH)).status == 200
        assert not head.done()
        go_on.set()
        assert (await head).status == 200
