"""How many targets of a route may be ejected at once."""

from __future__ import annotations

from typing import Protocol


class Ejectable(Protocol):
    """A breaker, as its company sees it."""

    companies: list[Ejections]

    @property
    def ejected(self) -> bool: ...


class Ejections:
    """The company of breakers of one route. One more may be ejected while less than ``max_share`` of them are: that is Envoy's
    check of max_ejection_percent, made before an ejection. So one may always be, and of two, at a half, never both.
    """

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._breakers: list[Ejectable] = []

    def join(self, breaker: Ejectable) -> None:
        """A breaker may be in several companies, and all of them must agree. In one it counts once."""
        if breaker not in self._breakers:
            self._breakers.append(breaker)
            breaker.companies.append(self)

    def may_eject(self) -> bool:
        ejected = sum(breaker.ejected for breaker in self._breakers)
        return ejected == 0 or ejected / len(self._breakers) < self._max_share
