"""What a fault has to know of an event before it touches it."""

from __future__ import annotations

from typing import Any

from providers.parse_json import parse_json
from providers.sse import parse

DONE = b"[DONE]"
_ENDED = frozenset({"response.completed", "response.incomplete", "response.failed"})


def data_of(event: bytes) -> bytes | None:
    """None for comments, and for [DONE]: nobody would see that there is anything wrong with those."""
    data = parse(event)[1]
    return None if data == DONE else data or None


def bears_data(event: bytes) -> bool:
    return data_of(event) is not None


def payload_of(data: bytes | None) -> dict[str, Any] | None:
    """``data``, of an event or a body, as a JSON object; None if it is none."""
    if data is None:
        return None
    try:
        payload = parse_json(data)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None


def is_terminal(event: bytes) -> bool:
    """It ends a choice or the whole answer: what comes before it may not come after it."""
    payload = payload_of(data_of(event))
    if payload is None:
        return parse(event)[1] == DONE
    choices = payload.get("choices")
    ends = [choice.get("finish_reason") for choice in choices or () if isinstance(choice, dict)] if choices else []
    return any(ends) or payload.get("type") in _ENDED
