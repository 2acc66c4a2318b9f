"""Chance that can be repeated: a number from (seed, request id, which draw), not from the order of events."""

from __future__ import annotations

from hashlib import blake2b


def unit(seed: int, request_id: str, draw: str) -> float:
    """Uniform in [0, 1), the same for the same arguments on every machine and in every run."""
    digest = blake2b(f"{seed}\x1f{request_id}\x1f{draw}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53
