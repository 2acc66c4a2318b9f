"""The last minute of traffic, made from the same facts as the metrics: what a total cannot show."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter, time

from app.api.exchange import Exchange

WINDOW_SECONDS = 60
RATE_SECONDS = 5
MAX_FAILOVERS = 60


@dataclass(slots=True)
class Second:
    """What ended within one second. ``attempts`` counts by (target, did it answer)."""

    requests: int = 0
    failed: int = 0
    attempts: Counter[tuple[str, bool]] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Failover:
    """``at`` on the wall clock; ``hops`` are (provider, how the attempt ended), in order."""

    at: float
    hops: tuple[tuple[str, str], ...]
    stream: bool
    seconds: float


class Traffic:
    """A listener. Times on the stopwatch (``perf_counter``)."""

    def __init__(self) -> None:
        self.started = perf_counter()
        self.failovers: deque[Failover] = deque(maxlen=MAX_FAILOVERS)
        self._seconds: dict[int, Second] = {}
        self._first_tokens: deque[tuple[float, str, float]] = deque()

    def __call__(self, exchanges: Sequence[Exchange]) -> None:
        for exchange in exchanges:
            if not exchange.attempts:
                continue
            second = self._second(exchange.ended)
            second.requests += 1
            for tried in exchange.attempts:
                answered = tried.label == "200"
                second.attempts[tried.target.id, answered] += 1
                second.failed += not answered
                if answered and exchange.stream:
                    self._first_tokens.append((exchange.ended, tried.target.id, tried.seconds))
            if len(exchange.attempts) > 1:
                self.failovers.append(_failover(exchange))

    def elapsed(self, now: float) -> float:
        return now - self.started

    def rates(self, now: float) -> dict[tuple[str, bool], float]:
        """Attempts per second by (target, did it answer), over the last few whole seconds."""
        whole = max(1, min(RATE_SECONDS, int(self.elapsed(now))))
        total: Counter[tuple[str, bool]] = Counter()
        for second in self.history(now)[-whole:]:
            total.update(second.attempts)
        return {key: count / whole for key, count in total.items()}

    def history(self, now: float) -> list[Second]:
        """The whole seconds of the last minute, the oldest first."""
        newest = int(self.elapsed(now))
        oldest = max(0, newest - WINDOW_SECONDS)
        return [self._seconds.get(number, Second()) for number in range(oldest, newest)]

    def first_tokens(self, now: float) -> dict[str, list[float]]:
        """By target: seconds from the call to the first content, sorted, of the streams of the last minute."""
        while self._first_tokens and self._first_tokens[0][0] < now - WINDOW_SECONDS:
            self._first_tokens.popleft()
        found: dict[str, list[float]] = {}
        for _, target, seconds in self._first_tokens:
            found.setdefault(target, []).append(seconds)
        return {target: sorted(seconds) for target, seconds in found.items()}

    def _second(self, ended: float) -> Second:
        number = max(0, int(ended - self.started))
        second = self._seconds.get(number)
        if second is None:
            second = self._seconds[number] = Second()
            if len(self._seconds) > WINDOW_SECONDS + 1:
                del self._seconds[min(self._seconds)]
        return second


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest rank; None of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _failover(exchange: Exchange) -> Failover:
    hops = tuple((tried.target.provider.name, tried.label) for tried in exchange.attempts)
    ago = perf_counter() - exchange.ended
    first = exchange.first_byte if exchange.first_byte is not None else exchange.ended
    return Failover(time() - ago, hops, exchange.stream, first - exchange.started)
