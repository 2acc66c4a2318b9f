"""Both official clients against a real model: asked alike, at no temperature, they must hear the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from tests.e2e.clients.node_client import Node
from tests.e2e.harness import Gateway, Llama
from tests.e2e.outside import provider, running

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.model]

QUESTION: Any = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge(llama: Llama, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    config = {
        "providers": [provider("llama", llama.url)],
        "routes": [{"model": "real", "targets": [{"provider": "llama"}]}],
    }
    async with running(config, tmp_path_factory.mktemp("real-clients")) as one:
        yield one


async def asked_by_python(edge: Gateway) -> dict[str, Any]:
    async with AsyncOpenAI(base_url=f"{edge.url}/v1", api_key="unused", max_retries=0) as client:
        text, finish, tokens = "", None, None
        options: Any = {"include_usage": True}
        async for chunk in await client.chat.completions.create(
            model="real", messages=QUESTION, temperature=0, max_tokens=16, stream=True, stream_options=options
        ):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            tokens = chunk.usage.total_tokens if chunk.usage else tokens
        answered, last = "", ""
        async for event in await client.responses.create(
            model="real", input=QUESTION[0]["content"], temperature=0, max_output_tokens=16, stream=True
        ):
            last = event.type
            answered += event.delta if event.type == "response.output_text.delta" else ""
    stream = {"text": text, "finish": finish, "tokens": tokens}
    return {"stream": stream, "responses": {"text": answered, "last": last}}


async def test_both_clients_hear_the_same_from_a_real_model(edge: Gateway, node: Node) -> None:
    python = await asked_by_python(edge)
    told = await node.play(edge, {"REAL": "1"})
    city = told.pop("schema")
    assert told == python
    assert "Paris" in python["stream"]["text"]
    assert python["stream"]["tokens"] > 0
    assert python["responses"]["last"] == "response.completed"
    assert "Paris" in python["responses"]["text"]
    assert isinstance(city["city"], str), json.dumps(city)
    assert isinstance(city["inhabitants"], int)
