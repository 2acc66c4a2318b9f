"""F04: the upstream says that it is overloaded, in place of an answer or inside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import orjson

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.knobs import not_below
from providers.faults.line import Line
from providers.faults.original import Original
from providers.shapes import EVENTS, JSON
from providers.sse import encode

_SAID = {"type": "overloaded_error", "message": "Overloaded"}


@dataclass(slots=True, eq=False)
class Overloaded529:
    """``where``: "before" there is any answer, or "inside" it: status 200, and after ``after`` events of a stream one that says
    so, and the end; a plain answer is that error instead.
    """

    where: Literal["before", "inside"] = "before"
    after: int = 0

    def __post_init__(self) -> None:
        not_below(self, 0, "after")
        if self.after and self.where == "before":
            raise ValueError("after: needs `where: inside`; before an answer there are no events")

    async def open(self, hit: Hit) -> Stream:
        if self.where == "before":
            raise hit.answered(529, {}, _SAID)
        if not hit.request.stream:
            return await hit.made(_play_body)
        if not self.after:
            return await hit.made(_play_error)
        return await hit.played(partial(self._play, hit))

    async def _play(self, hit: Hit, original: Original, line: Line) -> None:
        await line.head(original.headers)
        passed = 0
        async for part in original.parts():
            if passed >= self.after and not hit.hold.over:
                await line.send(encode(orjson.dumps({"error": _SAID})))
                break
            await line.send(part)
            passed += 1
        await line.end()


async def _play_error(line: Line) -> None:
    await line.head({"content-type": EVENTS})
    await line.send(encode(orjson.dumps({"error": _SAID})))
    await line.end()


async def _play_body(line: Line) -> None:
    body = orjson.dumps({"error": _SAID})
    await line.head({"content-type": JSON}, len(body))
    await line.send(body)
