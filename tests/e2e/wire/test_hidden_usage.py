"""W4: usage that the gateway asks for, so as to meter, is not the client's to see; what the client asked for is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.faulty import DONE, ROLE, USAGE, Exchange, delta, event
from tests.e2e.outside import Stage, open_stage, says

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What the client says, and whether it is to see usage.
OPTIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing": ({}, False),
    "no options": ({"stream_options": {}}, False),
    "null": ({"stream_options": None}, False),
    "other options": ({"stream_options": {"include_obfuscation": False}}, False),
    "no usage": ({"stream_options": {"include_usage": False}}, False),
    "usage": ({"stream_options": {"include_usage": True}}, True),
    "usage and more": ({"stream_options": {"include_usage": True, "include_obfuscation": True}}, True),
}


async def as_openai_does(x: Exchange) -> None:
    options = x.fields.get("stream_options") or {}
    usage = [event({"choices": [], "usage": USAGE})] if options.get("include_usage") else []
    await says(ROLE, delta({"content": "hi"}), delta({}, "stop"), *usage, DONE)(x)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def metering(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path_factory.mktemp("metering"), {}, telemetry={"stream_usage": True}) as one:
        yield one


@pytest.mark.parametrize("said", OPTIONS)
async def test_w04_usage_is_metered_and_shown_to_those_who_asked(metering: Stage, said: str) -> None:
    options, shown = OPTIONS[said]
    metering.put_on(f"usage {said}", as_openai_does)
    body = {"model": f"usage {said}", "stream": True, "messages": [{"role": "user", "content": "hi"}], **options}
    request_id = f"w04.{said.replace(' ', '-')}"
    answer = await metering.ask(body, f"X-Request-ID: {request_id}")
    assert answer.whole
    *chunks, end = answer.data
    assert end == "[DONE]"
    usages = [chunk["usage"] for chunk in map(json.loads, chunks) if chunk.get("usage")]
    assert usages == ([USAGE] if shown else [])
    if not shown:
        assert all(json.loads(chunk)["choices"] for chunk in chunks), "an event without choices, which nobody asked for"
    line = await metering.gateway.log_line(request_id)
    assert (line["tokens_in"], line["tokens_out"]) == (USAGE["prompt_tokens"], USAGE["completion_tokens"])
    (call,) = metering.calls(f"usage {said}")
    sent = call.fields["stream_options"]
    assert sent == (options.get("stream_options") or {}) | {"include_usage": True}
    assert {name: value for name, value in call.fields.items() if name != "stream_options"} == {
        name: value for name, value in body.items() if name != "stream_options"
    }
