"""F17: 200, well-formed, complete, and nothing in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import orjson

from providers.base import Endpoint, Request, Stream
from providers.faults.events import data_of, payload_of
from providers.faults.hit import Hit
from providers.faults.line import Line
from providers.shapes import JSON, Answer, steps
from providers.sse import encode


@dataclass(slots=True, eq=False)
class Empty200:
    """``finish_reason`` stop and not one token. The upstream is not asked."""

    async def open(self, hit: Hit) -> Stream:
        return await hit.made(partial(_play, hit.request, hit.model))


async def _play(request: Request, model: str, line: Line) -> None:
    media_type, parts = _nothing(request, model)
    await line.head({"content-type": media_type})
    for part in parts:
        await line.send(part)
    await line.end()


def _nothing(request: Request, model: str) -> tuple[str, list[bytes]]:
    if request.endpoint is Endpoint.EMBEDDINGS:
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return JSON, [orjson.dumps({"object": "list", "data": [], "model": model, "usage": usage})]
    timeline, media_type = steps(request, Answer(f"empty-{request.id}", model, []), 0.0, iter(()))
    parts = [step.chunk.raw for step in timeline]
    if request.endpoint is not Endpoint.RESPONSES:
        return media_type, parts
    if not request.stream:
        return media_type, [orjson.dumps(orjson.loads(parts[0]) | {"output": []})]
    events = [event for part in parts if "response" in (event := payload_of(data_of(part)) or {})]
    for event in events:
        event["response"]["output"] = []
    return media_type, [encode(orjson.dumps(event), event["type"]) for event in events]
