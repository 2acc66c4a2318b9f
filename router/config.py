"""The routing core's settings: small frozen values with their defaults. Seconds throughout; reads no environment."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timeouts:
    """``first_token`` and ``idle`` bound streams, ``attempt`` an attempt that does not stream, ``total`` a call."""

    connect: float = 5.0
    first_token: float = 30.0
    idle: float = 15.0
    attempt: float = 300.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter before a target's n-th retry in a call: uniform in [0, min(cap, base * 2**(n-1))] seconds."""

    base: float = 0.05
    cap: float = 20.0


@dataclass(frozen=True, slots=True)
class Retry:
    """``max_attempts`` counts every call to an upstream for one client request, the first included."""

    max_attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
