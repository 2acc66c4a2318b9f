"""OpenAI's answers, built from pieces of text: whole bodies and streams of events, for every endpoint.

Used by the providers that answer by themselves. Streams are like the real thing: the role first, one event a
piece, the finish reason, usage only if it was asked for, ``[DONE]`` (or the typed events of the Responses API).
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from providers.base import Chunk, Endpoint, Request, Usage
from providers.prompt import choices_wanted, prompt_words, wants_usage
from providers.scripted import Step
from providers.sse import encode

Json = dict[str, Any]
JSON, EVENTS = "application/json", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be said: ``pieces`` of text, a token each; ``finish`` is "stop" or "length"."""

    id: str
    model: str
    pieces: list[str]
    finish: str = "stop"

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def steps(request: Request, answer: Answer, first: float, intervals: Iterator[float]) -> tuple[Iterable[Step], str]:
    """``answer`` on the wire, and its media type. ``first``: seconds to the first token; ``intervals``: then each."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return [Step(first, _whole(_embeddings(request, answer.model), Usage(prompt_words(request), 0)))], JSON
    usage = Usage(prompt_words(request), len(answer.pieces) * choices_wanted(request))
    responses = request.endpoint is Endpoint.RESPONSES
    if request.stream:
        events = _response_events if responses else _choice_events
        return events(request, answer, usage, first, intervals), EVENTS
    seconds = first + sum(next(intervals, 0.0) for _ in answer.pieces[1:])
    body = _response(request, answer, usage) if responses else _choice_body(request, answer, usage)
    return [Step(seconds, _whole(body, usage))], JSON


def _whole(body: Json, usage: Usage) -> Chunk:
    return Chunk(orjson.dumps(body), content=True, usage=usage)


# --- chat completions and completions ---------------------------------------------------------------------------


def _head(request: Request, answer: Answer) -> Json:
    if request.endpoint is Endpoint.COMPLETIONS:
        kind = "text_completion"
    else:
        kind = "chat.completion.chunk" if request.stream else "chat.completion"
    return {"id": answer.id, "object": kind, "created": request.created, "model": answer.model}


def _choice(request: Request, index: int, said: Json, finish: str | None) -> Json:
    ending = {"logprobs": None, "finish_reason": finish}
    if request.endpoint is Endpoint.COMPLETIONS:
        return {"index": index, "text": said.get("content", ""), **ending}
    return {"index": index, "delta" if request.stream else "message": said, **ending}


def _choice_usage(usage: Usage) -> Json:
    total = usage.input_tokens + usage.output_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": total,
    }


def _choice_body(request: Request, answer: Answer, usage: Usage) -> Json:
    said = {"role": "assistant", "content": answer.text, "refusal": None}
    choices = [_choice(request, index, said, answer.finish) for index in range(choices_wanted(request))]
    return {**_head(request, answer), "choices": choices, "usage": _choice_usage(usage)}


def _choice_events(
    request: Request, answer: Answer, usage: Usage, first: float, intervals: Iterator[float]
) -> Iterator[Step]:
    head = _head(request, answer)
    indexes = range(choices_wanted(request))

    def chunk(said: Json, finish: str | None = None) -> Chunk:
        events = [{**head, "choices": [_choice(request, index, said, finish)]} for index in indexes]
        raw = b"".join(encode(orjson.dumps(event)) for event in events)
        return Chunk(raw, len(events), content=bool(said.get("content") or finish))

    if request.endpoint is Endpoint.CHAT:
        yield Step(0.0, chunk({"role": "assistant", "content": ""}))
    for number, piece in enumerate(answer.pieces):
        yield Step(next(intervals, 0.0) if number else first, chunk({"content": piece}))
    yield Step(0.0, chunk({}, answer.finish))
    if wants_usage(request):
        yield Step(0.0, _event({**head, "choices": [], "usage": _choice_usage(usage)}, usage=usage))
    yield Step(0.0, Chunk(b"data: [DONE]\n\n", usage=usage))


def _event(payload: Json, name: str | None = None, *, content: bool = False, usage: Usage | None = None) -> Chunk:
    return Chunk(encode(orjson.dumps(payload), name), content=content, usage=usage)


# --- responses --------------------------------------------------------------------------------------------------


def _response(request: Request, answer: Answer, usage: Usage | None) -> Json:
    """A finished response, or with ``usage`` None one that has just begun."""
    if usage is None:
        status = "in_progress"
    else:
        status = "completed" if answer.finish == "stop" else "incomplete"
    body: Json = {
        "id": answer.id,
        "object": "response",
        "created_at": request.created,
        "status": status,
        "model": answer.model,
        "output": [_message(answer)] if usage else [],
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }
    if usage:
        body["usage"] = {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
    return body


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(answer: Answer, *, begun: bool = False) -> Json:
    content, status = ([], "in_progress") if begun else ([_part(answer.text)], "completed")
    return {"id": f"msg_{answer.id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _response_events(
    request: Request, answer: Answer, usage: Usage, first: float, intervals: Iterator[float]
) -> Iterator[Step]:
    place: Json = {"item_id": f"msg_{answer.id}", "output_index": 0, "content_index": 0}
    begun, ended = _response(request, answer, None), _response(request, answer, usage)
    message, text = _message(answer), answer.text

    def unnumbered() -> Iterator[tuple[float, str, Json]]:
        yield 0.0, "created", {"response": begun}
        yield 0.0, "in_progress", {"response": begun}
        yield 0.0, "output_item.added", {"output_index": 0, "item": _message(answer, begun=True)}
        yield 0.0, "content_part.added", {**place, "part": _part("")}
        for number, piece in enumerate(answer.pieces):
            delay = next(intervals, 0.0) if number else first
            yield delay, "output_text.delta", {**place, "delta": piece, "logprobs": []}
        yield 0.0, "output_text.done", {**place, "text": text, "logprobs": []}
        yield 0.0, "content_part.done", {**place, "part": _part(text)}
        yield 0.0, "output_item.done", {"output_index": 0, "item": message}
        yield 0.0, ended["status"], {"response": ended}

    for number, (delay, kind, members) in enumerate(unnumbered()):
        name = f"response.{kind}"
        payload = {"type": name, "sequence_number": number, **members}
        last = "response" in members and members["response"] is ended
        content = last or kind == "output_text.delta"
        yield Step(delay, _event(payload, name, content=content, usage=usage if last else None))


# --- embeddings -------------------------------------------------------------------------------------------------


def _embeddings(request: Request, model: str) -> Json:
    """A unit vector for each input, the same for the same text; ``dimensions`` and base64 as asked."""
    asked = request.fields.get("input")
    texts = asked if isinstance(asked, list) and asked and isinstance(asked[0], str | list) else [asked]
    wanted = request.fields.get("dimensions")
    size = wanted if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 < wanted <= 4096 else 64
    packed = request.fields.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        vector = _unit_vector(f"{text}", size)
        value = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if packed else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    words = prompt_words(request)
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": words, "total_tokens": words}}


def _unit_vector(text: str, size: int) -> list[float]:
    # A stand-in for a model, not a secret. Unpacked at once: drawn one by one, a large request would hold up the loop.
    vector = struct.unpack(f"<{size}h", Random(text).randbytes(2 * size))
    norm = sum(x * x for x in vector) ** 0.5 or 1.0
    return [x / norm for x in vector]
