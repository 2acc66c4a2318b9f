"""Most events of a stream differ in nothing but the text of one delta: those need not be parsed again.

An event is like the last one that was parsed if it has the same bytes before and after that text, and the text is
plain: printable ASCII without quotes and escapes. Then it is valid JSON, bears content and changes nothing else.
"""

from __future__ import annotations

import re
from typing import Any

_PLAIN = rb"[\x20\x21\x23-\x5b\x5d-\x7e]"
_TEXT = re.compile(rb'"(?:content|text)": ?"(' + _PLAIN + rb'+)"')
_IS_PLAIN = re.compile(_PLAIN + rb"+")
# Some upstreams make every event unlike all others; with them, looking for likeness would be a waste.
MAX_MISSES = 16


class Recurrence:
    """``fits`` costs a tenth of parsing. Knows one shape at a time, the latest."""

    __slots__ = ("_after", "_before", "_misses")

    def __init__(self) -> None:
        self._before = b""
        self._after = b""
        self._misses = 0

    def fits(self, event: bytes) -> bool:
        before, after = self._before, self._after
        if not before or not event.startswith(before) or not event.endswith(after):
            return False
        self._misses = 0
        return _IS_PLAIN.fullmatch(event, len(before), len(event) - len(after)) is not None

    def learn(self, event: bytes, payload: dict[str, Any]) -> None:
        """``payload`` is what ``event`` was parsed to, and it bore content."""
        if self._misses >= MAX_MISSES:
            return
        self._misses += 1
        self._before = b""
        found = list(_TEXT.finditer(event))
        one_line = event.startswith(b"data:") and event.find(b"\n") == len(event) - 2 and b"\r" not in event
        if one_line and len(found) == 1 and _text_alone(payload) == found[0][1].decode():
            self._before = event[: found[0].start(1)]
            self._after = event[found[0].end(1) :]


def _text_alone(payload: dict[str, Any]) -> str | None:
    """The text of the one delta, if there is nothing else to learn from this event."""
    choices = payload.get("choices")
    if payload.get("usage") or not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    choice = choices[0]
    if choice.get("finish_reason"):
        return None
    delta = choice.get("delta", choice)
    text = (delta.get("content") or delta.get("text")) if isinstance(delta, dict) else None
    return text if isinstance(text, str) else None
