"""F21: the limit on tokens moves while the traffic runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from providers.base import Request, Stream
from providers.faults.hit import Hit
from providers.faults.knobs import above, not_below
from providers.prompt import output_limit, prompt_tokens

_MINUTE = 60.0
_USUAL_OUTPUT = 256
# Of a token: what is lost to the arithmetic.
_SLACK = 1e-6


@dataclass(slots=True, eq=False)
class LimitRamp:
    """Tokens a minute, from ``start`` to ``end`` in a straight line ``over`` so many seconds. A bucket, full at first, that holds a
    minute's worth. A request costs its prompt and what it may say at most (256 if it does not say); what is too much gets a 429
    that tells truly when there will be room.
    """

    start: float = 60_000.0
    end: float = 6_000.0
    over: float = 60.0
    _level: float | None = field(init=False, repr=False, default=None)
    _at: float = field(init=False, repr=False, default=0.0)

    def __post_init__(self) -> None:
        above(self, 0, "start", "end")
        not_below(self, 0, "over")

    async def open(self, hit: Hit) -> Stream:
        cost = float(cost_of(hit.request))
        limit = self._limit(hit.since)
        level = self._filled(hit.since)
        wanted = min(cost, self.start, self.end)  # what is larger than the bucket goes when that is full
        if level < wanted - _SLACK:
            self._level = level
            # Rounded up, so that whoever comes back then finds room.
            wait = math.ceil(1000 * self._seconds_to(wanted - level, hit.since)) / 1000
            told = {
                "retry-after": f"{wait:.3f}",
                "x-ratelimit-limit-tokens": f"{limit:.0f}",
                "x-ratelimit-remaining-tokens": f"{max(0.0, level):.0f}",
                "x-ratelimit-reset-tokens": f"{wait:.3f}s",
            }
            raise hit.answered(429, told, {"type": "tokens", "code": "rate_limit_exceeded"})
        self._level = level - cost
        return await hit.upstream()

    def _seconds_to(self, tokens: float, since: float) -> float:
        """How long it takes from ``since`` on until so many more have come."""
        now, end = self._limit(since) / _MINUTE, self.end / _MINUTE
        left = max(0.0, self.over - since)
        in_ramp = left * (now + end) / 2
        if left and tokens <= in_ramp:
            slope = (end - now) / left
            return 2 * tokens / (now + math.sqrt(max(0.0, now * now + 2 * slope * tokens)))
        return left + (tokens - in_ramp) / end

    def _filled(self, since: float) -> float:
        """The bucket as it is at ``since``: never above a minute's worth."""
        limit = self._limit(since)
        if self._level is None:
            level = limit
        else:  # a straight line is as much as its middle
            ramped = max(0.0, min(since, self.over) - min(self._at, self.over))
            come = ramped * (self._limit(self._at) + limit) / 2 + (since - self._at - ramped) * self.end
            level = min(limit, self._level + come / _MINUTE)
        self._at = since
        return level

    def _limit(self, since: float) -> float:
        if since >= self.over:
            return self.end
        return self.start + (self.end - self.start) * since / self.over


def cost_of(request: Request) -> int:
    """In tokens, before anything of it is known but what it asks for."""
    return prompt_tokens(request) + (output_limit(request) or _USUAL_OUTPUT)
