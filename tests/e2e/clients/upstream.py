"""What stands behind the gateway for the official clients: one script a model, the same for Python and Node."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

from tests.e2e.faulty import DONE, ROLE, USAGE, Exchange, Fault, completion, delta, event, status
from tests.e2e.outside import replies, says

VECTOR = [0.5, -1.25, 3.0]
CONTENT = bytes(range(256)) * 64
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": len(CONTENT),
    "created_at": 1,
    "filename": "a.bin",
    "purpose": "batch",
}
TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 8 tokens.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "responses", "tools": [],
    "parallel_tool_calls": True, "tool_choice": "auto",
    "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "hello", "annotations": []}]}],
    "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8,
              "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
}  # fmt: skip


async def chat(x: Exchange) -> None:
    """Plain or streamed, ``n`` choices, usage if asked for."""
    if not x.stream:
        choices = [
            {"index": index, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
            for index in range(x.fields.get("n") or 1)
        ]
        whole = json.loads(completion("hello")) | {"choices": choices}
        await x.reply(200, json.dumps(whole).encode(), headers={"X-Request-Id": "up-1"})
        return
    usage = (
        [event({"choices": [], "usage": USAGE})] if (x.fields.get("stream_options") or {}).get("include_usage") else []
    )
    await says(
        b": waiting\n\n", ROLE, delta({"content": "hel"}), delta({"content": "lo"}), delta({}, "stop"), *usage, DONE
    )(x)


def tool(**function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": function}]}


OPENING: dict[str, Any] = {"role": "assistant", "content": None}
OPENING |= {
    "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}]
}
TOOLS = says(delta(OPENING), delta(tool(arguments='{"a":')), delta(tool(arguments="1}")), delta({}, "tool_calls"), DONE)


async def text(x: Exchange) -> None:
    """The old completions."""
    shape = {"id": "x", "object": "text_completion", "created": 1, "model": "text"}
    said = [shape | {"choices": [{"index": 0, "text": one, "finish_reason": None}]} for one in ("hel", "lo")]
    end = shape | {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
    if x.stream:
        await says(*map(event, [*said, end]), DONE)(x)
    else:
        whole = shape | {"choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}], "usage": USAGE}
        await x.reply(200, json.dumps(whole).encode())


async def embed(x: Exchange) -> None:
    packed = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    vector = packed if x.fields.get("encoding_format") == "base64" else VECTOR
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    await x.reply(200, json.dumps({"object": "list", "data": data, "model": "embed", "usage": usage}).encode())


async def responses(x: Exchange) -> None:
    if not x.stream:
        await x.reply(200, json.dumps(RESPONSE).encode())
        return
    begun = RESPONSE | {"status": "in_progress", "output": [], "usage": None}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = RESPONSE["output"][0] | {"status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": item}),
        ("response.content_part.added", place | {"part": part}),
        ("response.output_text.delta", place | {"delta": "hel", "logprobs": []}),
        ("response.output_text.delta", place | {"delta": "lo", "logprobs": []}),
        ("response.output_text.done", place | {"text": "hello", "logprobs": []}),
        ("response.content_part.done", place | {"part": part | {"text": "hello"}}),
        ("response.output_item.done", {"output_index": 0, "item": RESPONSE["output"][0]}),
        ("response.completed", {"response": RESPONSE}),
    ]
    frames = [
        f"event: {kind}\n".encode() + event({"type": kind, "sequence_number": number, **more})
        for number, (kind, more) in enumerate(kinds)
    ]
    await says(*frames)(x)


async def hangs(x: Exchange) -> None:
    await x.hang()


async def talks(x: Exchange) -> None:
    """Some content, and then nothing: for clients that leave."""
    await x.begin()
    await x.say(ROLE, delta({"content": "hello"}))
    await x.hang()


async def cut(x: Exchange) -> None:
    await x.begin()
    await x.say(ROLE, delta({"content": "hel"}))
    await x.close()


async def files(x: Exchange) -> None:
    """What is passed through has no model."""
    method, path = x.head.decode("latin-1").split(" ")[:2]
    if method == "POST":
        assert CONTENT in x.body
        assert dict(x.headers)["content-type"].startswith("multipart/form-data; boundary=")
        await x.reply(200, json.dumps(FILE).encode())
    elif path.endswith("/content"):
        await x.reply(200, CONTENT, "application/octet-stream")
    elif method == "DELETE":
        await x.reply(200, b'{"id":"file-1","object":"file","deleted":true}')
    elif path.partition("?")[0] == "/v1/files":
        listed = {"object": "list", "data": [FILE], "has_more": False, "first_id": "file-1", "last_id": "file-1"}
        await x.reply(200, json.dumps(listed).encode())
    else:
        await x.reply(404, json.dumps(TOO_LONG).encode())


def after(failures: int, failing: Fault) -> Callable[[], Fault]:
    """Fails so often, then answers. Each call of it begins anew."""

    def make() -> Fault:
        left = failures

        async def script(x: Exchange) -> None:
            nonlocal left
            left -= 1
            await (failing if left >= 0 else chat)(x)

        return script

    return make


SCRIPTS: dict[str, Fault] = {
    "chat": chat,
    "tools": TOOLS,
    "text": text,
    "embed": embed,
    "responses": responses,
    "too-long": status(400, json.dumps(TOO_LONG).encode(), x_request_id="up-400"),
    "revoked": status(401),
    "broken": status(500),
    "hangs": hangs,
    "talks": talks,
    "cut": cut,
    "no-json": replies(b"<html>", media_type="text/html"),
    "None": files,
}
# Those that are different the second time: how often the upstream is to be called, with one retry in the client.
ADVICE: dict[str, tuple[Callable[[], Fault], int]] = {
    "retry-after-ms": (after(1, status(400, Retry_After_Ms="20", Retry_After="30", X_Should_Retry="true")), 2),
    "should-not-retry": (after(9, status(500)), 1),
    "throttled": (after(1, status(429, Retry_After="1")), 2),
    "rejected": (after(9, status(400)), 1),
}


class OneOf:
    """Equal to any of these."""

    def __init__(self, *these: Any) -> None:
        self.these = these

    def __eq__(self, other: object) -> bool:
        return other in self.these

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"one of {self.these}"


# What every official client must make of it: see the scenarios of the same names.
EXPECTED: dict[str, Any] = {
    "plain": {"text": "hello", "finish": "stop", "tokens": 8},
    "stream": {"text": "hello", "finish": "stop", "tokens": None},
    "stream with usage": {"text": "hello", "finish": "stop", "tokens": 8},
    "choices": ["hello", "hello"],
    "tools": {"id": "call_1", "name": "add", "arguments": '{"a":1}', "finish": "tool_calls"},
    "text": "hello",
    "text, streamed": "hello",
    "embeddings": VECTOR,
    "embeddings as floats": VECTOR,
    "responses": {"text": "hello", "tokens": 8},
    "responses, streamed": {"text": "hello", "first": "response.created", "last": "response.completed", "count": 9},
    "models": True,
    "model": "chat",
    "files": {"id": "file-1", "listed": ["file-1"], "content": True, "deleted": True},
    "too long": {
        "kind": "BadRequestError", "status": 400, "code": "context_length_exceeded", "param": "messages",
        "type": "invalid_request_error",
    },
    "unknown model": {
        "kind": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model", "type": "invalid_request_error",
    },
    "unknown model, retrieved": {
        "kind": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model", "type": "invalid_request_error",
    },
    "wrong field": {
        "kind": "BadRequestError", "status": 400, "code": "invalid_type", "param": "temperature",
        "type": "invalid_request_error",
    },
    "unknown path": {
        "kind": "NotFoundError", "status": 404, "code": "unknown_path", "param": None, "type": "invalid_request_error",
    },
    # Whoever comes first finds out; from then on the target is disabled, and nobody is asked.
    "revoked": OneOf(
        {"kind": "InternalServerError", "status": 502, "code": "upstream_error", "param": None, "type": "server_error"},
        {
            "kind": "InternalServerError", "status": 503, "code": "no_healthy_target", "param": None,
            "type": "service_unavailable_error",
        },
    ),
    "broken, streamed": {
        "kind": "InternalServerError", "status": 502, "code": "upstream_error", "param": None, "type": "server_error",
    },
    "no JSON": {"kind": "InternalServerError", "status": 502, "code": "upstream_error", "param": None, "type": "server_error"},
    "cut": {"text": "hel", "failed": True},
    "timeout": {"kind": "timeout"},
    "abort": "hello",
}  # fmt: skip
