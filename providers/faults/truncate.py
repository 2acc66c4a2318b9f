"""F08: the answer ends before it is complete."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from providers.base import Stream
from providers.faults.hit import Hit
from providers.faults.knobs import not_below
from providers.faults.line import Line
from providers.faults.original import Original, whole


@dataclass(slots=True, eq=False)
class Truncate:
    """``after`` events of a stream, or in the middle of a body. ``form``: "cut" in the middle of HTTP's own framing; "eof": where the
    end of the connection is the only sign that a body is whole; "clean": as far as HTTP goes the answer is whole.
    """

    after: int = 3
    form: Literal["cut", "eof", "clean"] = "cut"

    def __post_init__(self) -> None:
        not_below(self, 0, "after")

    async def open(self, hit: Hit) -> Stream:
        return await hit.played(partial(self._play if hit.request.stream else self._play_body, hit))

    async def _play(self, hit: Hit, original: Original, line: Line) -> None:
        await line.head(original.headers, chunked=self.form != "eof")
        passed = 0
        async for part in original.parts():
            if passed >= self.after and not hit.hold.over:
                if self.form == "cut":
                    return
                break
            await line.send(part)
            passed += 1
        await line.end()

    async def _play_body(self, hit: Hit, original: Original, line: Line) -> None:
        body = await whole(original)
        kept = body if hit.hold.over else body[: len(body) // 2]
        if self.form == "eof":
            await line.head(original.headers, chunked=False)
        else:
            await line.head(original.headers, len(body) if self.form == "cut" else len(kept))
        await line.send(kept)
