"""A server under a concurrency limit, as arithmetic: Poisson arrivals, a heap of events, no event loop."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Protocol

from router.policies.concurrency import Algorithm


class Rate(Protocol):
    def __call__(self, now: float) -> float: ...


@dataclass(frozen=True)
class Second:
    """The state at the end of one second, with what it had served and refused by then."""

    limit: float
    load: float
    served: int
    refused: int


@dataclass(frozen=True)
class Fixed:
    """A limit set by someone who knows the server."""

    limit: float

    def began(self, weight: float, load: float, prompt: int | None, seconds: float) -> None:
        pass

    def overload(self, load: float, started: float, now: float) -> None:
        pass


def throughput(history: list[Second]) -> float:
    """Requests served a second."""
    return (history[-1].served - history[0].served) / (len(history) - 1)


@dataclass
class Server:
    """``capacity`` requests at once. What is more waits (``queues``) or is refused at once. ``prefill`` seconds to the first
    token and ``decode`` after it, both give or take a half; ``prefill`` is asked for every request.
    """

    algorithm: Algorithm
    capacity: int
    queues: bool
    rate: Rate
    prefill: Callable[[float], float] = lambda _: 0.2
    decode: float = 2.0
    prompt: int = 100
    seed: int = 0
    history: list[Second] = field(default_factory=list)

    def run(self, seconds: int) -> list[Second]:
        """Open loop: what finds the limit reached goes elsewhere. Times are virtual."""
        self._chance = Random(self.seed)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._waiting: deque[tuple[float, int]] = deque()
        self._running = self._load = self._served = self._refused = 0
        self._at(0.0, self._arrive)
        for second in range(seconds):
            self._at(second + 1.0, self._note)
        while len(self.history) < seconds:
            now, _, happens, arguments = heapq.heappop(self._events)
            happens(now, *arguments)
        return self.history

    def _at(self, when: float, happens: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), happens, arguments))

    def _note(self, now: float) -> None:
        self.history.append(Second(self.algorithm.limit, self._load, self._served, self._refused))

    def _arrive(self, now: float) -> None:
        self._at(now + self._chance.expovariate(self.rate(now)), self._arrive)
        if self._load and self._load + 1 > self.algorithm.limit:
            return
        self._load += 1
        if self._running < self.capacity:
            self._start(now, now, self._load)
        elif self.queues:
            self._waiting.append((now, self._load))
        else:
            self._at(now + 0.01, self._refuse, now, self._load)

    def _refuse(self, now: float, asked: float, load: int) -> None:
        self.algorithm.overload(load, asked, now)
        self._load -= 1
        self._refused += 1

    def _start(self, now: float, asked: float, load: int) -> None:
        self._running += 1
        begins = now + self.prefill(now) * self._chance.uniform(0.5, 1.5)
        self._at(begins, self._begin, asked, load)
        self._at(begins + self.decode * self._chance.uniform(0.5, 1.5), self._end)

    def _begin(self, now: float, asked: float, load: int) -> None:
        self.algorithm.began(1.0, load, self.prompt, now - asked)

    def _end(self, now: float) -> None:
        self._running -= 1
        self._load -= 1
        self._served += 1
        if self._waiting:
            self._start(now, *self._waiting.popleft())
