"""F16: the answer is well-formed, complete, in time, and wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from providers.base import Stream
from providers.faults.events import data_of, payload_of
from providers.faults.hit import Hit
from providers.faults.line import Line
from providers.faults.original import Original, whole

_WORD = re.compile(r"\S+")
# Where OpenAI's answers keep what is said, whole or in pieces.
_SPOKEN = frozenset({"content", "text"})
_SPOKEN_DELTA = "response.output_text.delta"


@dataclass(slots=True, eq=False)
class GrayWrong:
    """Every word that is said becomes ``text``: as many events, tokens and tool calls as before. Vectors stay as they are."""

    text: str = "wrong"

    def __post_init__(self) -> None:
        if not _WORD.search(self.text) or not self.text.isprintable():
            raise ValueError("text: must be printable, and have a word")

    async def open(self, hit: Hit) -> Stream:
        return await hit.played(partial(self._play if hit.request.stream else self._play_body, hit))

    async def _play(self, hit: Hit, original: Original, line: Line) -> None:
        await line.head(original.headers)
        async for event in original.parts():
            data = data_of(event)
            await line.send(event if data is None or hit.hold.over else event.replace(data, self._twisted(data)))
        await line.end()

    async def _play_body(self, hit: Hit, original: Original, line: Line) -> None:
        body = await whole(original)
        if not hit.hold.over:
            body = self._twisted(body)
        await line.head(original.headers, len(body))
        await line.send(body)

    def _twisted(self, data: bytes) -> bytes:
        payload = payload_of(data)
        if payload is None:
            return data
        # Half an emoji, which servers that cut by token send, is more than orjson writes.
        return json.dumps(self._with_other_words(payload), separators=(",", ":")).encode()

    def _with_other_words(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._with_other_words(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        spoken = _SPOKEN | {"delta"} if value.get("type") == _SPOKEN_DELTA else _SPOKEN
        return {
            key: _WORD.sub(lambda _: self.text, inner)
            if key in spoken and isinstance(inner, str)
            else self._with_other_words(inner)
            for key, inner in value.items()
        }
