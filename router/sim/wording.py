"""What simulated clients write: a chat request of so many tokens, by the gateway's own measure of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from providers.prompt import BYTES_PER_TOKEN, SMALL_BODY_BYTES

# A body of 100,000 tokens has 400 kB, and is built in microseconds: few are kept.
_KEPT = 64


@lru_cache(_KEPT)
def written(
    model: str, prompt_tokens: int, output_tokens: int | None, *, stream: bool
) -> tuple[bytes, Mapping[str, Any]]:
    """The body and its fields. A prompt is never shorter than the form needs, about 25 tokens; what is large is measured by its
    text alone.
    """
    limit = {} if output_tokens is None else {"max_tokens": output_tokens}
    size = prompt_tokens * BYTES_PER_TOKEN
    body, fields = _of("", model, stream, limit)
    missing = size - len(body)
    if missing > 0:
        body, fields = _of("x" * (size if size > SMALL_BODY_BYTES else missing), model, stream, limit)
    return body, fields


def _of(content: str, model: str, stream: bool, limit: Mapping[str, int]) -> tuple[bytes, dict[str, Any]]:
    fields = {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream, **limit}
    return orjson.dumps(fields), fields
