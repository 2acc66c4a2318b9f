"""W2, W8 and W18 against a real llama.cpp: it closes idle connections after 5 s, and each after 100 requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import starmap

import pytest
import pytest_asyncio

from tests.e2e.harness import Gateway, Llama, eventually
from tests.e2e.outside import ask, running
from tests.e2e.wire_http import CHAT, Response, Wire, post

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.model]

# Around its 5 s, and around the gateway's own patience; each with a pool of its own, so that they wait at the same time.
PAUSES = [3.9, 4.0, 4.9, 4.99, 5.0, 5.01, 5.1]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge(llama: Llama, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """Each model has its provider, and with it its own connections to the one server."""
    names = ["busy", *(f"p{number}" for number in range(len(PAUSES)))]
    config = {
        "providers": [{"name": name, "kind": "llamacpp", "base_url": llama.url} for name in names],
        "routes": [{"model": name, "targets": [{"provider": name}]} for name in names],
    }
    async with running(config, tmp_path_factory.mktemp("real")) as one:
        yield one


async def one_token(wire: Wire, model: str, *, stream: bool = False) -> Response:
    await wire.send(post(ask(model, stream=stream, max_tokens=1, temperature=0)))
    answer = await wire.response()
    assert (answer.status, answer.whole) == (200, True), answer
    return answer


async def test_w18_a_real_servers_closings_cost_no_client_an_error(edge: Gateway) -> None:
    loop = asyncio.get_running_loop()

    async def pausing(number: int, pause: float) -> None:
        async with Wire(edge.url) as wire:
            await one_token(wire, f"p{number}")
            until = loop.time() + pause
            await eventually(lambda: loop.time() >= until, within=pause + 1)
            await one_token(wire, f"p{number}", stream=True)

    async def busy() -> None:
        async with Wire(edge.url) as wire:
            for number in range(110):
                await one_token(wire, "busy", stream=number % 2 == 0)

    await asyncio.gather(busy(), *starmap(pausing, enumerate(PAUSES)))


async def test_w02_a_real_stream_is_the_same_as_direct(edge: Gateway, llama: Llama) -> None:
    """But for what differs in every answer: its id and its times."""

    def said(answer: Response) -> list[dict[str, object]]:
        chunks = [json.loads(data) for data in answer.data if data != "[DONE]"]
        return [
            {name: value for name, value in one.items() if name not in ("id", "created", "timings")} for one in chunks
        ]

    body = ask("busy", stream=True, max_tokens=24, temperature=0, n=2, stream_options={"include_usage": True})
    answers = []
    for url in (edge.url, llama.url):
        async with Wire(url) as wire:
            await wire.send(post(body, path=CHAT))
            answers.append(await wire.response())
    through, direct = answers
    assert said(through) == said(direct)
    assert through.data[-1] == direct.data[-1] == "[DONE]"
    assert len(said(through)) > 20


async def test_w17_the_models_own_words_on_a_prompt_that_is_too_long(edge: Gateway) -> None:
    async with Wire(edge.url) as wire:
        await wire.send(post({"model": "busy", "messages": [{"role": "user", "content": "word " * 20_000}]}))
        answer = await wire.response()
    assert answer.status == 400
    error = answer.json["error"]
    assert error["type"] == "exceed_context_size_error"
    assert error["n_prompt_tokens"] > error["n_ctx"]
