"""A real model on a real llama.cpp, asked through the gateway by the official client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
import pytest_asyncio
from openai import APIError, AsyncOpenAI, OpenAI

from tests.e2e.conftest import StartGateway
from tests.e2e.harness import Gateway, Llama, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.model]

# Greedy, so that the answer is the same in every run.
QUESTION: Any = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
LOOPS = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(llama: Llama, gateway: StartGateway) -> Gateway:
    """The model first, a mock behind it."""
    config = {
        "providers": [
            {"name": "local", "kind": "llamacpp", "base_url": llama.url},
            {"name": "spare", "kind": "mock", "ttft": 0.01, "token_interval": 0.002},
        ],
        "routes": [
            {
                "model": "assistant",
                "targets": [
                    {"provider": "local", "model": "smollm2", "weight": 100},
                    {"provider": "spare", "model": "mock", "tier": 1},
                ],
            }
        ],
        "defaults": {"timeouts": {"first_token": 30, "attempt": 60}, "retry": {"backoff": {"base": 0.01}}},
    }
    return await gateway(config)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(edge: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{edge.url}/v1", api_key="unused", max_retries=0) as one:
        yield one


async def test_the_official_client_streams_from_a_real_model(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="assistant",
        messages=QUESTION,
        temperature=0,
        stream=True,
        max_tokens=16,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in said
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")


async def test_the_official_client_gets_a_plain_answer_from_a_real_model(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="assistant", messages=QUESTION, temperature=0, max_tokens=16
    )
    completion = raw.parse()
    assert "Paris" in (completion.choices[0].message.content or "")
    assert completion.usage is not None
    assert raw.headers["x-provider"] == "local"
    assert raw.headers["x-attempts"] == "local/smollm2:200"
    assert completion._request_id == raw.headers["x-request-id"]


async def test_the_official_client_can_be_used_without_async(edge: Gateway) -> None:
    def ask() -> str:
        with OpenAI(base_url=f"{edge.url}/v1", api_key="unused") as client:
            completion = client.chat.completions.create(
                model="assistant", messages=QUESTION, temperature=0, max_tokens=16
            )
            return completion.choices[0].message.content or ""

    assert "Paris" in await asyncio.to_thread(ask)


class Load:
    """Eight clients that ask again and again, streamed and plain, and count who answered and what went wrong."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self.served: Counter[str] = Counter()
        self.cut = 0
        self.errors: list[str] = []
        self._client = client
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loops = [asyncio.create_task(self._loop(stream=number % 2 == 0)) for number in range(LOOPS)]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._over.set()
        await asyncio.gather(*self._loops)

    async def _loop(self, *, stream: bool) -> None:
        while not self._over.is_set():
            try:
                await (self._stream() if stream else self._plain())
            except APIError as error:
                self.errors.append(repr(error))

    async def _plain(self) -> None:
        raw = await self._client.chat.completions.with_raw_response.create(
            model="assistant", messages=QUESTION, temperature=0, max_tokens=12
        )
        assert raw.parse().choices[0].message.content
        self.served[raw.headers["x-provider"]] += 1

    async def _stream(self) -> None:
        raw = await self._client.chat.completions.with_raw_response.create(
            model="assistant", messages=QUESTION, temperature=0, max_tokens=12, stream=True
        )
        content = False
        finished = None
        try:
            async for chunk in raw.parse():
                for choice in chunk.choices:
                    content |= bool(choice.delta.content)
                    finished = choice.finish_reason or finished
        except APIError:
            if not content:
                raise
            self.cut += 1
            return
        assert finished, "an answer that was cut looked complete"
        self.served[raw.headers["x-provider"]] += 1


async def test_a_model_killed_under_load_costs_no_client_an_error_and_gets_its_traffic_back(
    client: AsyncOpenAI, edge: Gateway, llama: Llama
) -> None:
    async with Load(client) as load:
        await eventually(lambda: load.served["local"] >= LOOPS, within=40)
        # On a machine that is busy with other things a call may have had a reason to go elsewhere; it is printed.
        print([line["attempts"] for line in edge.log_lines() if (line.get("target") or "").startswith("spare")])
        assert load.served["spare"] < LOOPS // 2
        llama.kill()
        try:
            await eventually(lambda: load.served["spare"] >= 5 * LOOPS, within=40)
        finally:
            await llama.start()
        before = load.served["local"]
        await eventually(lambda: load.served["local"] >= before + LOOPS, within=40)
    print(f"served {dict(load.served)}, cut after the commit point {load.cut}, errors {len(load.errors)}")
    assert load.errors == []
    assert load.cut <= LOOPS // 2  # only what was in mid-stream when it died
