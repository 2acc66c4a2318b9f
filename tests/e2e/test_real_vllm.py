"""A real vLLM behind a real gateway: what it really sends, and refuses, arrives as it should."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from openai import APIStatusError, AsyncOpenAI

from scripts.vllm_serve import ALIAS
from tests.e2e.conftest import StartGateway
from tests.e2e.harness import Answer, Gateway, chat, eventually
from tests.e2e.vllm import ENDLESS, Vllm, pause_until, vllm_at_hand

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("quiet"),
    pytest.mark.timeout(400),
]

QUESTION = "What is the capital of France? Answer in one word."
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
# Greedy, so that the answer is the same in every run.
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 16}
LONG: dict[str, Any] = {"temperature": 0, "max_tokens": 60, "ignore_eos": True}
CROWD = 12  # more than run and wait at once
OPERATIONAL = ("502", "503")


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    with vllm_at_hand(tmp_path_factory.mktemp("vllm")) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(vllm: Vllm, gateway: StartGateway) -> Gateway:
    """It alone, under its own name; with a spare; and twice with a key that is wrong."""
    spare = {"provider": "spare", "model": "mock", "tier": 1}
    ours, stranger = ({"provider": name, "model": ALIAS} for name in ("vllm", "stranger"))
    config = {
        "providers": [
            {"name": "vllm", "kind": "vllm", "base_url": f"{vllm.url}/v1", "api_key": vllm.key or ""},
            {"name": "stranger", "kind": "vllm", "base_url": f"{vllm.url}/v1", "api_key": "sk-of-somebody-else"},
            {"name": "spare", "kind": "mock", "ttft": 0.01, "token_interval": 0.001},
        ],
        "routes": [
            {"model": ALIAS, "targets": [ours]},
            {"model": "assistant", "targets": [ours, spare]},
            {"model": "impatient", "targets": [{**ours, "timeouts": {"idle": 2.5}}, spare]},
            {"model": "locked", "targets": [stranger, spare]},
            {"model": "locked-alone", "targets": [stranger]},
        ],
        "defaults": {
            "timeouts": {"first_token": 120, "idle": 60, "attempt": 120},
            "retry": {"backoff": {"base": 0.01}},
        },
    }
    return await gateway(config)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(edge: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{edge.url}/v1", api_key="unused", max_retries=0, timeout=120) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=120, limits=httpx2.Limits(max_connections=2 * CROWD)) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def quiet(vllm: Vllm) -> None:
    """No test begins with another one's requests."""
    await eventually(vllm.idle, within=60)


class Both:
    """The same request to vLLM and through the gateway, by the same id, since vLLM names its answers after it."""

    def __init__(self, http: httpx2.AsyncClient, vllm: Vllm, edge: Gateway) -> None:
        self._http = http
        self._roads = {vllm.url: vllm.headers, edge.url: {}}
        self._numbers = itertools.count()

    async def post(self, path: str, body: Mapping[str, Any]) -> list[httpx2.Response]:
        headers = {"X-Request-ID": f"both.{next(self._numbers)}"}
        return [
            await self._http.post(f"{url}{path}", json=body, headers={**own, **headers})
            for url, own in self._roads.items()
        ]


@pytest.fixture
def both(http: httpx2.AsyncClient, vllm: Vllm, edge: Gateway) -> Both:
    return Both(http, vllm, edge)


def timeless(body: bytes) -> bytes:
    """Without what differs between any two answers: the time, and the ids that are not ours."""
    body = re.sub(rb'"(created|created_at)":\d+', rb'"\1":0', body)
    return re.sub(rb'"(resp|msg)_[0-9a-f]+"', rb'"\1"', body)


async def test_the_official_client_gets_a_plain_answer(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="assistant", messages=MESSAGES, **GREEDY)
    completion = raw.parse()
    assert "Paris" in (completion.choices[0].message.content or "")
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0
    assert raw.headers["x-attempts"] == f"vllm/{ALIAS}:200"


async def test_the_official_client_streams_with_usage(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="assistant", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    chunks = [chunk async for chunk in stream]
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"


UNKNOWN_TO_OPENAI: dict[str, dict[str, Any]] = {
    "nothing_special": {},
    "ids_of_tokens": {"return_token_ids": True},
    "log_probabilities": {"logprobs": True, "top_logprobs": 2},
    "a_stop_that_is_named": {"stop": ["Paris"], "include_stop_str_in_output": True},
    "sampling": {"temperature": 1.9, "top_k": 1, "min_p": 0.0, "repetition_penalty": 1.0},
    "length": {"min_tokens": 16, "ignore_eos": True},
    "no_turn_of_its_own": {"add_generation_prompt": False, "chat_template_kwargs": {"x": 1}, "return_token_ids": True},
    "a_priority": {"priority": 1},
    "grammar": {"structured_outputs": {"choice": ["Rome", "Madrid"]}},
    "unknown_to_vllm_too": {"x_unknown": {"a": [1.0, 1e2, 12345678901234567890, None]}},
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", UNKNOWN_TO_OPENAI)
async def test_members_that_openai_does_not_have_pass_both_ways(both: Both, name: str, stream: bool) -> None:
    body = chat(ALIAS, stream=stream, words=QUESTION, **(GREEDY | UNKNOWN_TO_OPENAI[name]))
    direct, through = await both.post("/v1/chat/completions", body)
    assert direct.status_code == through.status_code == 200
    assert timeless(through.content) == timeless(direct.content)


async def test_members_that_openai_does_not_have_have_their_effect(both: Both) -> None:
    async def ask(name: str) -> Any:
        body = chat(ALIAS, stream=False, words=QUESTION, **(GREEDY | UNKNOWN_TO_OPENAI[name]))
        _, through = await both.post("/v1/chat/completions", body)
        return through.json()

    def said(answer: Any) -> str:
        return str(answer["choices"][0]["message"]["content"])

    usual = await ask("nothing_special")
    assert said(await ask("sampling")) == said(usual)  # at such a temperature only top_k can have done that
    assert (await ask("length"))["usage"]["completion_tokens"] == 16 > usual["usage"]["completion_tokens"]
    assert (await ask("a_stop_that_is_named"))["choices"][0]["stop_reason"] == "Paris"
    assert said(await ask("grammar")) in ("Rome", "Madrid")
    ids = await ask("ids_of_tokens")
    assert len(ids["choices"][0]["token_ids"]) == usual["usage"]["completion_tokens"]
    assert len(ids["prompt_token_ids"]) > len((await ask("no_turn_of_its_own"))["prompt_token_ids"])
    assert {"kv_transfer_params", "prompt_logprobs"} <= set(usual)
    assert {"routed_experts", "stop_reason"} <= set(usual["choices"][0])


WRONG: dict[str, dict[str, Any]] = {
    "too_long": {"max_tokens": 100_000},
    "a_type": {"chat_template_kwargs": "not an object"},
    "a_member_it_forbids_in_streams": {"prompt_logprobs": 1, "stream": True},
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_request_that_is_wrong_is_refused_in_its_words(both: Both, name: str) -> None:
    direct, through = await both.post("/v1/chat/completions", chat(ALIAS, **({"stream": False} | WRONG[name])))
    assert direct.status_code == through.status_code == 400
    assert through.content == direct.content
    assert through.headers["x-attempts"] == f"vllm/{ALIAS}:400"


async def test_its_id_is_the_gateways(http: httpx2.AsyncClient, edge: Gateway) -> None:
    own = await http.post(f"{edge.url}/v1/chat/completions", json=chat(ALIAS, stream=False, **GREEDY))
    given = await http.post(
        f"{edge.url}/v1/chat/completions", json=chat(ALIAS, stream=False, **GREEDY), headers={"X-Request-ID": "mine.1"}
    )
    assert given.headers["x-request-id"] == "mine.1"
    for answer in (own, given):
        assert answer.headers["x-upstream-request-id"] == answer.headers["x-request-id"]
        assert answer.json()["id"] == f"chatcmpl-{answer.headers['x-request-id']}"


async def test_its_load_is_reported_to_those_who_ask(http: httpx2.AsyncClient, edge: Gateway) -> None:
    for form in ("text", "json"):
        answer = await http.post(
            f"{edge.url}/v1/chat/completions",
            json=chat(ALIAS, stream=False, **GREEDY),
            headers={"endpoint-load-metrics-format": form},
        )
        assert answer.headers["endpoint-load-metrics"].startswith(form.upper())
        assert "kv_cache_usage_perc" in answer.headers["endpoint-load-metrics"]


async def crowd(http: httpx2.AsyncClient, edge: Gateway, model: str) -> list[httpx2.Response]:
    return await asyncio.gather(
        *(
            http.post(f"{edge.url}/v1/chat/completions", json=chat(model, stream=number % 2 == 0, **LONG))
            for number in range(CROWD)
        )
    )


async def test_when_it_is_full_the_spare_answers(http: httpx2.AsyncClient, edge: Gateway, vllm: Vllm) -> None:
    before = await vllm.count("vllm:admission_rejections_total")
    answers = await crowd(http, edge, "assistant")
    attempts = [answer.headers["x-attempts"] for answer in answers]
    assert [answer.status_code for answer in answers] == [200] * CROWD
    refused = attempts.count(f"vllm/{ALIAS}:503,spare/mock:200")
    served = attempts.count(f"vllm/{ALIAS}:200")
    print(f"{served} served by vLLM, {refused} by the spare")
    assert refused > 0
    assert served > 0
    assert refused + served == CROWD
    assert await vllm.count("vllm:admission_rejections_total") - before == refused


async def test_when_it_is_full_and_alone_the_client_gets_our_error(http: httpx2.AsyncClient, edge: Gateway) -> None:
    answers = await crowd(http, edge, ALIAS)
    refused = [answer for answer in answers if answer.status_code != 200]
    print(f"{CROWD - len(refused)} served, {len(refused)} refused")
    assert refused
    for answer in refused:
        assert str(answer.status_code) in OPERATIONAL
        assert answer.headers["x-attempts"] == ",".join([f"vllm/{ALIAS}:503"] * 3)
        assert answer.headers["content-type"] == "application/json"
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["code"], str)
        assert "engine" not in error["message"]


async def test_keep_alives_while_a_request_waits_never_become_data(vllm: Vllm, edge: Gateway) -> None:
    body = chat(ALIAS, stream=True, words=QUESTION, stream_options={"include_usage": True}, **GREEDY)
    async with (
        vllm.full() as free,
        edge.call(body, "kept.alive") as through,
        vllm.call(body) as direct,
    ):
        await direct.until(b": keep-alive\n\n: keep-alive\n\n")
        free()
        theirs, ours = await direct.rest(), await through.rest()
    assert ours.status == 200
    assert ours.whole
    for line in ours.body.splitlines():
        assert not line or line.startswith((b"data: ", b":")), line
    assert not [data for data in ours.data if "keep-alive" in data]
    print(f"{ours.body.count(b': keep-alive')} of {theirs.body.count(b': keep-alive')} keep-alives came through")
    assert ours.data[-1] == "[DONE]"
    assert undated(ours) == undated(theirs)


async def test_keep_alives_in_mid_stream_stay_comments(vllm: Vllm, edge: Gateway) -> None:
    async with edge.call(chat(ALIAS, stream=True, **LONG), "stalled") as call:
        await call.until(b'"content":"')
        with vllm.stalled():
            await call.until(b": keep-alive\n\n: keep-alive\n\n")
        answer = await call.rest()
    assert answer.whole
    assert answer.data[-1] == "[DONE]"
    assert answer.events[-1]["choices"][0]["finish_reason"] == "length"


async def test_keep_alives_do_not_hide_a_stall(vllm: Vllm, edge: Gateway) -> None:
    async with edge.call(chat("impatient", stream=True, **LONG), "impatient") as call:
        await call.until(b'"content":"')
        with vllm.stalled():
            answer = await call.rest()
    assert b": keep-alive" in answer.body
    assert not answer.whole
    assert "[DONE]" not in answer.data
    assert answer.events[-1]["error"]["code"] == "deadline_exceeded"


def undated(answer: Answer) -> list[Any]:
    return [{**event, "id": "", "created": 0} for event in answer.events]


async def test_a_wrong_key_is_ours_to_explain(client: AsyncOpenAI, edge: Gateway, vllm: Vllm) -> None:
    async with vllm.call(chat(ALIAS, stream=False), {"Authorization": "Bearer sk-of-somebody-else"}) as call:
        theirs = await call.rest()
    if theirs.status == 200:
        pytest.skip("this vLLM takes any key")
    assert (theirs.status, theirs.json) == (401, {"error": "Unauthorized"})
    raw = await client.chat.completions.with_raw_response.create(model="locked", messages=MESSAGES)
    assert raw.headers["x-attempts"] == f"stranger/{ALIAS}:401,spare/mock:200"
    for stream in (False, True):
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(model="locked-alone", messages=MESSAGES, stream=stream)
        assert str(caught.value.status_code) in OPERATIONAL
        assert caught.value.response.headers["x-attempts"] == f"stranger/{ALIAS}:401"
        assert "refused the gateway's credentials" in caught.value.message
    assert "sk-of-somebody-else" not in edge.output


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_client_that_leaves_frees_its_place(vllm: Vllm, edge: Gateway, stream: bool) -> None:
    async def busy() -> bool:
        return await vllm.running() == 1

    loop = asyncio.get_running_loop()
    async with edge.call(chat(ALIAS, stream=stream, **ENDLESS), f"leaving.{stream}") as call:
        await eventually(busy, within=20)
        if stream:
            await call.until(b'"content":"')
        call.hang_up()
        left = loop.time()
        await eventually(vllm.idle, within=1.5)
    print(f"free {loop.time() - left:.2f} s after the client left")
    assert (await edge.log_line(f"leaving.{stream}"))["status"] == 499


async def test_the_responses_api_passes(client: AsyncOpenAI, both: Both) -> None:
    asked: dict[str, Any] = {"model": ALIAS, "input": QUESTION, "temperature": 0, "max_output_tokens": 16}
    plain = await client.responses.create(**asked)
    assert "Paris" in plain.output_text
    kinds = [event.type async for event in await client.responses.create(**asked, stream=True)]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    for stream in (False, True):
        direct, through = await both.post("/v1/responses", {**asked, "stream": stream})
        assert direct.status_code == through.status_code == 200
        assert timeless(through.content) == timeless(direct.content)
    assert b"[DONE]" not in through.content


async def test_an_endpoint_that_its_model_has_not_is_ours_to_explain(both: Both) -> None:
    direct, through = await both.post("/v1/embeddings", {"model": ALIAS, "input": "hello"})
    assert (direct.status_code, direct.json()) == (404, {"detail": "Not Found"})
    assert str(through.status_code) in OPERATIONAL
    assert through.headers["x-attempts"] == f"vllm/{ALIAS}:404"
    assert through.json()["error"]["code"] == "upstream_error"


async def test_pauses_as_long_as_its_keep_alive_cost_nothing(http: httpx2.AsyncClient, edge: Gateway) -> None:
    """It closes idle connections after 5 s: requests that come at that very moment must not meet a dying one."""
    loop = asyncio.get_running_loop()
    body = chat(ALIAS, stream=False, **(GREEDY | {"max_tokens": 1}))
    attempts: list[str] = []
    for pause in (4.9, 4.95, 4.98, 5.0, 5.0, 5.02, 5.05, 5.1):
        answers = await asyncio.gather(*(http.post(f"{edge.url}/v1/chat/completions", json=body) for _ in range(4)))
        attempts += [f"{answer.status_code} {answer.headers['x-attempts']}" for answer in answers]
        await pause_until(loop.time() + pause)
    assert attempts == [f"200 vllm/{ALIAS}:200"] * 32
