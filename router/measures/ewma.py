"""Finagle's peak EWMA: quick to believe that a target has become slow, slow to forget it."""

from __future__ import annotations

from math import exp


class PeakEwma:
    """Seconds that remember peaks: a sample above the average replaces it, below it the average decays with
    exp(-dt/``tau``). With nothing said for long it reads as 0, so that a target that was slow is asked again
    (Finagle, ``Balancers.p2cPeakEwma``). Unlike Finagle's, reading it changes nothing.
    """

    __slots__ = ("_cost", "_stamp", "_tau")

    def __init__(self, tau: float = 10.0) -> None:
        self._tau = tau
        self._cost = 0.0
        self._stamp = 0.0

    def observe(self, seconds: float, now: float) -> None:
        if seconds >= self._cost:
            self._cost = seconds
        else:
            weight = exp(min(0.0, self._stamp - now) / self._tau)
            self._cost = self._cost * weight + seconds * (1.0 - weight)
        self._stamp = now

    def estimate(self, now: float) -> float:
        """0.0 if nothing was ever observed."""
        return self._cost * exp(min(0.0, self._stamp - now) / self._tau)
