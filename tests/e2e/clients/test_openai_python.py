"""The official Python client, with and without async: every endpoint, every kind of error, and its own retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import APIStatusError, AsyncOpenAI, OpenAI

from tests.e2e.clients.upstream import ADVICE, CONTENT, EXPECTED
from tests.e2e.harness import eventually
from tests.e2e.outside import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES = [{"role": "user", "content": "hi"}]


class Sdk:
    """Both clients, driven alike. The one without async runs in threads, since the upstream lives in this loop."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def call(self, method: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
        if isinstance(self.client, AsyncOpenAI):
            return await method(*arguments, **fields)
        return await asyncio.to_thread(method, *arguments, **fields)

    async def chat(self, model: str, **fields: Any) -> Any:
        return await self.call(self.client.chat.completions.create, model=model, messages=MESSAGES, **fields)

    async def each(self, stream: Any) -> AsyncIterator[Any]:
        if isinstance(self.client, AsyncOpenAI):
            async for one in stream:
                yield one
            return
        ones = iter(stream)
        while (one := await asyncio.to_thread(next, ones, None)) is not None:
            yield one

    async def close(self, stream: Any) -> None:
        if isinstance(self.client, AsyncOpenAI):
            await stream.close()
        else:
            await asyncio.to_thread(stream.close)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["async", "sync"])
async def sdk(served: Stage, request: pytest.FixtureRequest) -> AsyncIterator[Sdk]:
    where: dict[str, Any] = {"base_url": f"{served.gateway.url}/v1", "api_key": "unused", "max_retries": 0}
    if request.param == "async":
        async with AsyncOpenAI(**where) as client:
            yield Sdk(client)
    else:
        with OpenAI(**where) as client:
            yield Sdk(client)


async def plain(sdk: Sdk) -> Any:
    whole = await sdk.chat("chat")
    choice = whole.choices[0]
    told = {"text": choice.message.content, "finish": choice.finish_reason, "tokens": whole.usage.total_tokens}
    return told | {"request_id": whole._request_id}


async def streamed(sdk: Sdk, **fields: Any) -> Any:
    text, finish, tokens = "", None, None
    async for chunk in sdk.each(await sdk.chat("chat", stream=True, **fields)):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
    return {"text": text, "finish": finish, "tokens": tokens}


async def choices(sdk: Sdk) -> Any:
    return [choice.message.content for choice in (await sdk.chat("chat", n=2)).choices]


async def tools(sdk: Sdk) -> Any:
    call = {"id": "", "name": "", "arguments": "", "finish": ""}
    async for chunk in sdk.each(await sdk.chat("tools", stream=True, tools=[])):
        choice = chunk.choices[0]
        for piece in choice.delta.tool_calls or []:
            call["id"] += piece.id or ""
            call["name"] += piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""
        call["finish"] = choice.finish_reason or call["finish"]
    return call


async def text(sdk: Sdk) -> Any:
    return (await sdk.call(sdk.client.completions.create, model="text", prompt="hi")).choices[0].text


async def text_streamed(sdk: Sdk) -> Any:
    stream = await sdk.call(sdk.client.completions.create, model="text", prompt="hi", stream=True)
    return "".join([chunk.choices[0].text async for chunk in sdk.each(stream)])


async def embeddings(sdk: Sdk, **fields: Any) -> Any:
    """Without a format the client asks for base64, and unpacks it."""
    return (await sdk.call(sdk.client.embeddings.create, model="embed", input="hi", **fields)).data[0].embedding


async def responses(sdk: Sdk) -> Any:
    made = await sdk.call(sdk.client.responses.create, model="responses", input="hi")
    return {"text": made.output_text, "tokens": made.usage.total_tokens, "request_id": made._request_id}


async def responses_streamed(sdk: Sdk) -> Any:
    stream = await sdk.call(sdk.client.responses.create, model="responses", input="hi", stream=True)
    events = [event async for event in sdk.each(stream)]
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    return {"text": said, "first": events[0].type, "last": events[-1].type, "count": len(events)}


async def models(sdk: Sdk) -> Any:
    listed = await sdk.call(sdk.client.models.list)
    return {"chat", "embed", "responses"} <= {model.id for model in listed.data}


async def model(sdk: Sdk) -> Any:
    return (await sdk.call(sdk.client.models.retrieve, "chat")).id


async def files(sdk: Sdk) -> Any:
    api = sdk.client.files
    made = await sdk.call(api.create, file=("a.bin", CONTENT), purpose="batch")
    listed = [one.id for one in (await sdk.call(api.list, limit=2)).data]
    got = (await sdk.call(api.content, made.id)).content
    deleted = (await sdk.call(api.delete, made.id)).deleted
    return {"id": made.id, "listed": listed, "content": got == CONTENT, "deleted": deleted}


async def failing(awaited: Awaitable[Any]) -> Any:
    try:
        await awaited
    except openai.APITimeoutError:
        return {"kind": "timeout"}
    except APIStatusError as error:
        told = {name: getattr(error, name) for name in ("code", "param", "type", "request_id")}
        return told | {"kind": type(error).__name__, "status": error.status_code}
    return {"kind": "no error"}


async def cut(sdk: Sdk) -> Any:
    said = ""
    try:
        async for chunk in sdk.each(await sdk.chat("cut", stream=True)):
            said += chunk.choices[0].delta.content or ""
    except openai.APIError:
        return {"text": said, "failed": True}
    return {"text": said, "failed": False}


async def abort(sdk: Sdk) -> Any:
    stream = await sdk.chat("talks", stream=True)
    async for chunk in sdk.each(stream):
        if said := chunk.choices[0].delta.content:
            await sdk.close(stream)
            return said
    return None


SCENARIOS: dict[str, Callable[[Sdk], Awaitable[Any]]] = {
    "plain": plain,
    "stream": streamed,
    "stream with usage": lambda sdk: streamed(sdk, stream_options={"include_usage": True}),
    "choices": choices,
    "tools": tools,
    "text": text,
    "text, streamed": text_streamed,
    "embeddings": embeddings,
    "embeddings as floats": lambda sdk: embeddings(sdk, encoding_format="float"),
    "responses": responses,
    "responses, streamed": responses_streamed,
    "models": models,
    "model": model,
    "files": files,
    "too long": lambda sdk: failing(sdk.chat("too-long")),
    "unknown model": lambda sdk: failing(sdk.chat("nobody")),
    "unknown model, retrieved": lambda sdk: failing(sdk.call(sdk.client.models.retrieve, "nobody")),
    "wrong field": lambda sdk: failing(sdk.chat("chat", temperature="hot")),
    "unknown path": lambda sdk: failing(sdk.call(sdk.client.get, "/nope", cast_to=object)),
    "revoked": lambda sdk: failing(sdk.chat("revoked")),
    "broken, streamed": lambda sdk: failing(sdk.chat("broken", stream=True)),
    "no JSON": lambda sdk: failing(sdk.chat("no-json")),
    "cut": cut,
    "timeout": lambda sdk: failing(sdk.chat("hangs", timeout=0.3)),
    "abort": abort,
}
assert SCENARIOS.keys() == EXPECTED.keys()
LEAVES = {"timeout": "hangs", "abort": "talks"}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_python_client_gets_what_it_would_get_from_openai(served: Stage, sdk: Sdk, name: str) -> None:
    result = await SCENARIOS[name](sdk)
    if isinstance(result, dict) and "request_id" in result:
        line = await served.gateway.log_line(result.pop("request_id"))
        assert line["status"] == result.get("status", 200)
    assert result == EXPECTED[name]
    if name in LEAVES:
        call = served.calls(LEAVES[name])[-1]
        await eventually(lambda: call.abandoned_at, within=1)


@pytest.mark.parametrize("advice", ADVICE)
async def test_the_python_client_retries_as_it_is_told(served: Stage, sdk: Sdk, advice: str) -> None:
    make, calls = ADVICE[advice]
    served.put_on(advice, make())
    before = len(served.calls(advice))
    loop = asyncio.get_running_loop()
    began = loop.time()
    patient = Sdk(sdk.client.with_options(max_retries=1))
    if calls > 1:
        assert (await patient.chat(advice)).choices[0].message.content == "hello"
    else:
        with pytest.raises(APIStatusError):
            await patient.chat(advice)
    assert len(served.calls(advice)) - before == calls
    if advice == "throttled":
        assert 0.9 < loop.time() - began < 5
    elif advice == "retry-after-ms":
        assert loop.time() - began < 5, "it waited thirty seconds, not twenty milliseconds"


async def test_the_gateways_own_headers_can_be_read(served: Stage, sdk: Sdk) -> None:
    raw = await sdk.call(sdk.client.chat.completions.with_raw_response.create, model="spared", messages=MESSAGES)
    assert raw.headers["x-provider"] == "spare"
    assert raw.headers["x-attempts"] == "spare/spared:200"
    assert raw.headers["x-request-id"] == raw.parse()._request_id
    assert json.loads(raw.text)["choices"]
