"""Upstreams that play a script per model, a gateway in front of them, and the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from openai import APIStatusError, AsyncOpenAI

from tests.e2e.faulty import FAULTS, Exchange, Fault, FaultyServer, ok
from tests.e2e.harness import Gateway, get
from tests.e2e.outside import provider
from tests.e2e.wire_http import CHAT, Response, Wire, post

HASTY = {"retry": {"backoff": {"base": 0.01, "throttle_base": 0.01}}}


class Told(NamedTuple):
    """What a client learns. ``text`` is the answer's, or the error's message."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def provider(self) -> str:
        return self.headers["x-provider"]

    @property
    def reason(self) -> str:
        return self.headers["x-route-reason"]

    @property
    def attempts(self) -> list[str]:
        return self.headers["x-attempts"].split(",") if "x-attempts" in self.headers else []


class Client:
    """The official one. It never retries by itself."""

    def __init__(self, gateway: Gateway) -> None:
        self.sdk = AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=20.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.sdk.close()

    async def chat(self, model: str, *, stream: bool = False, words: str = "hi", **headers: str) -> Told:
        """Keyword arguments are headers, with _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        messages: Any = [{"role": "user", "content": words}]
        try:
            raw = await self.sdk.chat.completions.with_raw_response.create(
                model=model, messages=messages, stream=stream, extra_headers=given
            )
            answer: Any = raw.parse()
            if not stream:
                return Told(raw.status_code, raw.headers, answer.choices[0].message.content)
            text = ""
            async for chunk in answer:
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
            return Told(raw.status_code, raw.headers, text)
        except APIStatusError as error:
            message = error.body["message"] if isinstance(error.body, dict) else error.message
            return Told(error.status_code, error.response.headers, message)


class Upstream(FaultyServer):
    """Plays ``ok`` for every model that no script was given for."""

    def __init__(self, name: str) -> None:
        super().__init__(name, self._act)
        self._scripts: dict[str, Fault] = {}

    def play(self, model: str, fault: str | Fault) -> None:
        self._scripts[model] = FAULTS[fault] if isinstance(fault, str) else fault

    def asked(self, model: str) -> list[Exchange]:
        """Every call for inference with ``model``."""
        return [one for one in self.exchanges if one.model == model]

    @property
    def probes(self) -> list[Exchange]:
        return [one for one in self.exchanges if one.head.startswith(b"GET /v1/models ")]

    async def _act(self, x: Exchange) -> None:
        await self._scripts.get(x.model, ok)(x)


def after(seconds: float, then: Fault = ok) -> Fault:
    """Silence first."""

    async def script(x: Exchange) -> None:
        await asyncio.sleep(seconds)
        await then(x)

    return script


def targets(model: str, *names: str, **each: Any) -> list[dict[str, Any]]:
    """A target of each, all asked for ``model``. So no other route shares their state."""
    return [{"provider": name, "model": model, **each} for name in names]


def configuration(
    upstreams: Sequence[FaultyServer], routes: Sequence[Mapping[str, Any]], **sections: Any
) -> dict[str, Any]:
    return {
        "providers": [provider(one.name, one.url) for one in upstreams],
        "routes": [*routes],
        "defaults": HASTY,
        "admin": {"token": "a-token-for-tests"},
    } | sections


async def many(gateway: Gateway, requests: Sequence[tuple[Mapping[str, Any], Sequence[str]]]) -> list[Response]:
    """Bodies with header lines, over a few connections at once; the answers in the order of the requests."""
    answers: list[Response | None] = [None] * len(requests)
    places = iter(range(len(requests)))

    async def work() -> None:
        async with Wire(gateway.url) as wire:
            for place in places:
                body, headers = requests[place]
                await wire.send(post(json.dumps(body).encode(), *headers, path=CHAT))
                answers[place] = await wire.response()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(work())
    return [answer for answer in answers if answer is not None]


async def counted(gateway: Gateway, family: str) -> dict[tuple[str, ...], float]:
    """The samples of a family by the values of their labels, in order; what is zero is left out."""
    page = (await get(f"{gateway.url}/metrics")).body.decode()
    samples = {}
    for line in page.splitlines():
        name, _, rest = line.partition("{")
        if name == family:
            labels, _, value = rest.rpartition("} ")
            if float(value):
                samples[tuple(pair.split('"')[1] for pair in labels.split('",'))] = float(value)
    return samples
