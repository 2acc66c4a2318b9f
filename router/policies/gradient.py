"""A limit that follows the time to first token, for targets that queue what is too much and never refuse it.

Netflix's Gradient2 (concurrency-limits ``Gradient2Limit``), with samples taken by rounds as its ``WindowedLimit`` does:
the limit moves once for each limit-ful of answers. Moved by every sample, it swings between its ends, since an answer
tells of the queue that was there when it was asked for.

A time to first token is divided by the long-term one of prompts of about its size, so that 1.0 is normal for every
prompt and a change in the mix of prompts is not mistaken for a queue.
"""

from __future__ import annotations

from bisect import bisect_right
from math import inf

from router.measures.latency import EDGES
from router.policies.aimd import LOWER, Aimd

TOLERANCE = 1.5  # times the long-term figure: up to here nothing queues
SMOOTHING = 0.2
QUEUE = 4.0
LONG_WEIGHT = 2.0 / (600 + 1)  # an exponential average over 600 rounds
WARM_UP = 10  # samples of a prompt size before they are compared with anything; also the least for a round


class Gradient:
    """``limit`` in requests of typical size; it doubles each round until a queue is first seen. Plain answers say nothing
    of a queue, as their time is that of their length: with them, and at overload, the limit moves as by ``Aimd``.
    """

    __slots__ = (
        "_aimd",
        "_busiest",
        "_least",
        "_longs",
        "_most",
        "_ratios",
        "_round",
        "_samples",
        "_seen",
    )

    def __init__(self, limit: float, least: float, most: float) -> None:
        self._aimd = Aimd(limit, least, most, slow_start=True)
        self._least = least
        self._most = most
        self._longs = [0.0] * (len(EDGES) + 1)
        self._seen = [0] * (len(EDGES) + 1)
        self._busiest = self._ratios = 0.0
        self._start_round()

    @property
    def limit(self) -> float:
        return self._aimd.limit

    def began(
        self,
        weight: float,
        load: float,
        prompt: int | None,
        seconds: float,
        allowed: float = inf,
        started: float = inf,
    ) -> None:
        """First content ``seconds`` after it was asked for, with a ``prompt`` of so many tokens; None: a plain answer."""
        if prompt is None:
            self._aimd.began(weight, load, prompt, seconds, allowed, started)
            return
        self._aimd.answered(started)
        bucket = bisect_right(EDGES, prompt)
        long = self._longs[bucket]
        if self._seen[bucket] < WARM_UP or long <= 0.0:
            self._seen[bucket] += 1
            self._longs[bucket] = long + (seconds - long) / self._seen[bucket]
            return
        change = (seconds - long) * LONG_WEIGHT
        if seconds * 2.0 < long:  # after long overload: back to normal sooner
            change -= long * 0.05
        self._longs[bucket] = long + change / self._round
        self._ratios += seconds / long
        self._samples += 1
        self._busiest = max(self._busiest, load)
        if self._samples >= self._round:
            self._move(self._ratios / self._samples)

    def refused(self, load: float, started: float, now: float) -> None:
        self._aimd.refused(load, started, now)
        self._round = max(float(WARM_UP), self.limit)

    def overload(self, load: float, started: float, now: float, left: float = LOWER) -> None:
        self._aimd.overload(load, started, now, left)
        self._round = max(float(WARM_UP), self.limit)

    def forgive(self, limit: float) -> None:
        self._aimd.forgive(limit)
        self._start_round()

    def restart(self, limit: float) -> None:
        """As ``Aimd.restart``; how long a first token takes is not forgotten."""
        self._aimd.restart(limit)
        self._start_round()

    def _move(self, ratio: float) -> None:
        limit = self.limit
        if self._busiest * 2.0 >= limit:
            gradient = min(1.0, max(0.5, TOLERANCE / ratio)) if ratio > 0.0 else 1.0
            if gradient < 1.0:
                self._aimd.slow_start = False
            moved = (
                self._aimd.doubled() if self._aimd.doubling else limit + SMOOTHING * (limit * gradient + QUEUE - limit)
            )
            self._aimd.limit = min(self._most, max(self._least, moved))
        self._start_round()

    def _start_round(self) -> None:
        self._round = max(float(WARM_UP), self.limit)
        self._ratios = 0.0
        self._samples = 0
        self._busiest = 0.0
