"""How long a target rests before its next try in a call."""

from __future__ import annotations

from providers import ProviderError
from providers.errors import Overloaded, RateLimited
from router.config import Backoff


def pause(failure: ProviderError, tries: int, backoff: Backoff, chance: float) -> float:
    """Seconds from ``failure``, the target's ``tries``-th (from 1), to the next try. ``chance`` in [0, 1).

    What the upstream named (Retry-After) is kept exactly: neither cut nor jittered (gRPC A6). Else full jitter (AWS):
    uniform in [0, min(cap, base * 2**(tries-1))], from ``throttle_base`` after 429 and 529 (botocore).
    """
    if failure.retry_after is not None:
        return failure.retry_after
    asked_too_much = isinstance(failure, RateLimited) or (isinstance(failure, Overloaded) and failure.status == 529)
    base = backoff.throttle_base if asked_too_much else backoff.base
    return chance * min(backoff.cap, base * 2.0 ** (tries - 1))
