"""/v1/inference/complete and /v1/inference/stream: a prompt and a model are enough. Each is a chat completion underneath."""

from __future__ import annotations

import json

from app.api.errors import ApiError
from app.api.fields import parse_object


def as_chat(body: bytes, *, stream: bool) -> bytes:
    """The chat request that this prompt means; all members but ``prompt`` go with it. Raises ``ApiError`` 400."""
    fields = parse_object(body)
    prompt = fields.pop("prompt", None)
    if not isinstance(prompt, str) or not prompt:
        raise ApiError(
            400,
            "prompt must be a string of at least one character",
            code="missing_required_parameter" if prompt is None else "invalid_type",
            param="prompt",
        )
    if "messages" in fields:
        raise ApiError(400, "messages belong to /v1/chat/completions; this takes a prompt", param="messages")
    # Not orjson: what it can read it can not always write (half an emoji, a number beyond 64 bits).
    return json.dumps(fields | {"messages": [{"role": "user", "content": prompt}], "stream": stream}).encode()
