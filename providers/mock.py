"""A provider with a service law instead of a model: for demos, drills and the virtual clock.

Every draw is made from (seed, provider, request id, how often it failed here), so the same request behaves
the same in every run and order. It fails as a real one does: an error rate, and 503 beyond its capacity.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from providers.base import Request, Stream
from providers.errors import Overloaded, ServerFault
from providers.law import Law
from providers.prompt import output_limit
from providers.scripted import ScriptedStream
from providers.shapes import Answer, steps

_WORDS = [
    "the",
    "harbour",
    "holds",
    "because",
    "the",
    "breakwater",
    "takes",
    "the",
    "waves",
    "and",
    "each",
    "of",
    "them",
    "spends",
    "its",
    "force",
    "on",
    "stone",
    "so",
    "that",
    "boats",
    "behind",
    "it",
    "barely",
    "move",
    "while",
    "outside",
    "the",
    "sea",
    "does",
    "what",
    "it",
    "likes",
]


@dataclass(frozen=True, slots=True)
class MockOptions:
    """``ttft``, ``token_interval`` in seconds; ``tokens`` per answer; ``error_rate`` 0..1 answers ``error_status``.

    ``capacity`` is how many requests it serves at once; None is without limit.
    """

    ttft: Law = field(default_factory=lambda: Law("lognormal", 0.2, 0.5))
    token_interval: Law = field(default_factory=lambda: Law("constant", 0.02))
    tokens: Law = field(default_factory=lambda: Law("uniform", 12, 40))
    error_rate: float = 0.0
    error_status: int = 500
    capacity: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.error_rate <= 1:
            raise ValueError("error_rate: must be between 0 and 1")
        if not 500 <= self.error_status <= 599:
            raise ValueError("error_status: must be between 500 and 599")
        if self.capacity is not None and self.capacity < 1:
            raise ValueError("capacity: must be at least 1; leave it out for no limit")


class Mock:
    """Answers by its law; counts what is in flight against its capacity."""

    def __init__(self, name: str, options: MockOptions) -> None:
        self.name = name
        self.in_flight = 0
        self._options = options
        self._failed: OrderedDict[str, int] = OrderedDict()

    async def open(self, request: Request, model: str, connect_timeout: float) -> Stream:
        law = self._options
        if law.capacity is not None and self.in_flight >= law.capacity:
            raise Overloaded(f"{self.name} is at its capacity of {law.capacity}", status=503, retry_after=1.0)
        tries = self._failed.pop(request.id, 0)
        rng = Random(f"{law.seed}/{self.name}/{request.id}/{tries}")
        if rng.random() < law.error_rate:
            self._remember(request.id, tries + 1)
            raise ServerFault(f"{self.name} failed, as its error_rate asks", status=law.error_status)
        answer = self._answer(request, model, rng)
        timeline, media_type = steps(request, answer, law.ttft.draw(rng), self._intervals(rng))
        self.in_flight += 1
        return ScriptedStream(timeline, media_type, on_close=self._leave)

    async def aclose(self) -> None:
        pass

    def _answer(self, request: Request, model: str, rng: Random) -> Answer:
        length = max(1, round(self._options.tokens.draw(rng)))
        limit = output_limit(request)
        finish = "length" if limit is not None and limit < length else "stop"
        start = rng.randrange(len(_WORDS))
        count = min(length, limit or length)
        words = [_WORDS[(start + number) % len(_WORDS)] for number in range(count)]
        pieces = [words[0].capitalize(), *(f" {word}" for word in words[1:])]
        return Answer(f"mock-{request.id}", model, pieces, finish)

    def _intervals(self, rng: Random) -> Iterator[float]:
        while True:
            yield self._options.token_interval.draw(rng)

    def _remember(self, request_id: str, tries: int) -> None:
        """A request that failed draws anew when it is tried again. Only the latest thousand are remembered."""
        self._failed[request_id] = tries
        if len(self._failed) > 1000:
            self._failed.popitem(last=False)

    def _leave(self) -> None:
        self.in_flight -= 1
