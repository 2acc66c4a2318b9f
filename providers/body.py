"""Change one top-level member of a JSON body and leave every other byte as it came.

Number spellings, key order, escapes and unknown members survive; nothing is re-serialised.
"""

from __future__ import annotations

import re

import orjson

# Strings are matched in runs between escapes, possessively: a group that repeated per byte would cost 100 bytes each.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_COLON_STRING = re.compile(rb"\s*:\s*(" + _STRING + rb")", re.DOTALL)
_MODEL = b'"model"'


def with_model(body: bytes, model: str) -> bytes:
    """``body``, a JSON object whose top-level ``model`` is a string, with that string replaced."""
    value = orjson.dumps(model)
    # Exactly one spelling of the key in the bytes, and no escapes that could spell it otherwise: it is the one.
    if body.count(_MODEL) == 1 and b"\\u00" not in body:
        found = _COLON_STRING.match(body, body.index(_MODEL) + len(_MODEL))
        if found is not None:
            return body[: found.start(1)] + value + body[found.end(1) :]
    parts = []
    copied = 0
    for start, end in _top_level_models(body):
        parts += [body[copied:start], value]
        copied = end
    return b"".join([*parts, body[copied:]])


def _top_level_models(body: bytes) -> list[tuple[int, int]]:
    """Where the values of the top-level key ``model`` lie; more than one if the client repeated it."""
    found = []
    depth = 0
    resume = 0
    for token in _TOKEN.finditer(body):
        if token.start() < resume:
            continue
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and (text == _MODEL or (b"\\u" in text and orjson.loads(text) == "model")):
            value = _COLON_STRING.match(body, token.end())
            if value is not None:
                found.append(value.span(1))
                resume = value.end(1)
    return found
