"""JSON as its senders write it: orjson, and where that is stricter than every client's parser, the standard library."""

from __future__ import annotations

import json
from typing import Any

import orjson


def parse_json(data: bytes) -> Any:
    r"""Raises ``orjson.JSONDecodeError``, a ValueError. Half an emoji (``\ud83d``) is let through: clients that cut text by
    length send it, and servers that cut by token.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if b"\\u" not in data:
            raise
        try:
            return json.loads(data, parse_constant=_refuse)
        except (ValueError, RecursionError):
            pass
        raise


def _refuse(constant: str) -> None:
    raise ValueError(constant)
