"""Clients that update one row, each once, by optimistic concurrency control: read its version, write if it is still that one.

As in Brooker, "Exponential backoff and jitter" (AWS, 2015). Who fails waits, and reads again; how it waits decides how much work
there is. No gateway takes part: it is the law of ``router.backoff`` that is tried, beside those that it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from providers.errors import ServerFault
from router.backoff import pause
from router.config import Backoff

# Of one message, in seconds: the absolute value of a normal distribution.
DELAY_MEAN, DELAY_DEVIATION = 0.010, 0.002
BACKOFF = Backoff(base=0.005, cap=2.0)
CONFLICT = ServerFault("the row has changed", status=500)
Wait = Callable[[int], float]  # seconds, after so many failures


class Contended(NamedTuple):
    """``calls`` are writes, failed ones too; ``seconds`` until the last client is done."""

    calls: int
    seconds: float


def _backing_off(chance: Callable[[Random], float], backoff: Backoff = BACKOFF) -> Callable[[Random], Wait]:
    """By the gateway's law, with other chances than its own. It counts doublings from the second failure, they from the first."""
    return lambda rng: lambda failures: pause(CONFLICT, failures + 1, backoff, chance(rng))


def _decorrelated(rng: Random) -> Wait:
    latest = BACKOFF.base

    def wait(_failures: int) -> float:
        nonlocal latest
        latest = min(BACKOFF.cap, rng.uniform(BACKOFF.base, 3.0 * latest))
        return latest

    return wait


# The gateway's is "full".
WAITS: Mapping[str, Callable[[Random], Wait]] = {
    "none": _backing_off(lambda _: 1.0, Backoff(base=0.0)),
    "expo": _backing_off(lambda _: 1.0),
    "equal": _backing_off(lambda rng: 0.5 + 0.5 * rng.random()),
    "full": _backing_off(lambda rng: rng.random()),
    "decorr": _decorrelated,
}


def contend(clients: int, wait: str, rng: Random) -> Contended:
    """All begin at once; ``wait`` is a key of ``WAITS``."""
    waits = [WAITS[wait](rng) for _ in range(clients)]
    failures = [0] * clients
    # (when it reaches the server, client, the version that it read; None if it comes to read)
    messages: list[tuple[float, int, int | None]] = []
    for client in range(clients):
        heappush(messages, (_delay(rng), client, None))
    version = calls = 0
    seconds = 0.0
    while messages:
        now, client, read = heappop(messages)
        answered = now + _delay(rng)
        if read is None:
            heappush(messages, (answered + _delay(rng), client, version))
            continue
        calls += 1
        if read == version:
            version += 1
            seconds = max(seconds, answered)
        else:
            failures[client] += 1
            again = answered + waits[client](failures[client])
            heappush(messages, (again + _delay(rng), client, None))
    return Contended(calls, seconds)


def _delay(rng: Random) -> float:
    return abs(rng.gauss(DELAY_MEAN, DELAY_DEVIATION))
