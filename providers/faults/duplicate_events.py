"""F24: events come twice, or in another order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from providers.base import Stream
from providers.faults.events import bears_data, is_terminal
from providers.faults.hit import Hit
from providers.faults.line import Line
from providers.faults.original import Original


@dataclass(slots=True, eq=False)
class DuplicateEvents:
    """With probability ``p`` an event comes again ("duplicate"), usage too, or changes places with the next ("out_of_order"): not
    with one that ends something, nor after it. [DONE] stays what and where it is.
    """

    mode: Literal["duplicate", "out_of_order"] = "duplicate"
    p: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise ValueError("p: must be above 0 and at most 1")

    async def open(self, hit: Hit) -> Stream:
        return await hit.played(partial(self._repeat if self.mode == "duplicate" else self._swap, hit))

    async def _repeat(self, hit: Hit, original: Original, line: Line) -> None:
        await line.head(original.headers)
        async for event in original.parts():
            await line.send(event)
            if bears_data(event) and self._draws(hit):
                await line.send(event)
        await line.end()

    async def _swap(self, hit: Hit, original: Original, line: Line) -> None:
        await line.head(original.headers)
        parts = original.parts()
        ended = False
        async for event in parts:
            ended = ended or is_terminal(event)
            if not ended and self._draws(hit):
                following = await anext(parts, b"")
                ended = is_terminal(following)
                await line.send(event + following if ended else following + event)
            else:
                await line.send(event)
        await line.end()

    def _draws(self, hit: Hit) -> bool:
        return not hit.hold.over and hit.rng.random() < self.p
