"""How long a target takes to say something: what picks, hedges and deadlines go by.

Streams and plain answers are kept apart, since the one is a time to first token and the other a whole answer; prompts
are kept apart by size, since prefill takes time in proportion.
"""

from __future__ import annotations

from bisect import bisect_right

from router.measures.ewma import PeakEwma
from router.measures.quantiles import Quantiles, quantile_of_all

EDGES = (512, 2048, 8192)  # tokens of prompt: a bucket below each, and one above all


class _Kind:
    """Streams, or plain answers: the average of all, and the latest of each prompt size."""

    __slots__ = ("buckets", "ewma")

    def __init__(self) -> None:
        self.ewma = PeakEwma()
        self.buckets: list[Quantiles | None] = [None] * (len(EDGES) + 1)


class Latency:
    """Seconds to first content: of streams, and of plain answers (there it is the whole answer)."""

    __slots__ = ("_plain", "_streams")

    def __init__(self) -> None:
        self._plain: _Kind | None = None
        self._streams: _Kind | None = None

    def observe(self, stream: bool, tokens: int, seconds: float, now: float) -> None:
        """An answer began ``seconds`` after it was asked for, with a prompt of ``tokens``."""
        kind = self._made(stream)
        kind.ewma.observe(seconds, now)
        place = bisect_right(EDGES, tokens)
        bucket = kind.buckets[place]
        if bucket is None:
            bucket = kind.buckets[place] = Quantiles()
        bucket.add(seconds)

    def penalise(self, seconds: float, now: float) -> None:
        """A refusal is scored as an answer that took ``seconds`` (Linkerd's load biaser), else the average would favour
        a target because it refuses fast. It is no answer, so the quantiles do not have it.
        """
        self._made(stream=False).ewma.observe(seconds, now)
        self._made(stream=True).ewma.observe(seconds, now)

    def quantile(self, q: float, stream: bool, tokens: int) -> float | None:
        """Of prompts of that size if enough are known, else of all of the kind; None if those are too few as well."""
        kind = self._streams if stream else self._plain
        if kind is None:
            return None
        bucket = kind.buckets[bisect_right(EDGES, tokens)]
        known = bucket.quantile(q) if bucket is not None else None
        return (
            known if known is not None else quantile_of_all([other for other in kind.buckets if other is not None], q)
        )

    def estimate(self, stream: bool, now: float) -> float:
        """Peak EWMA in seconds; 0.0 if nothing is known."""
        kind = self._streams if stream else self._plain
        return kind.ewma.estimate(now) if kind is not None else 0.0

    def _made(self, stream: bool) -> _Kind:
        if stream:
            if self._streams is None:
                self._streams = _Kind()
            return self._streams
        if self._plain is None:
            self._plain = _Kind()
        return self._plain
