"""A fault of a scenario: as the admin API takes it, at its time."""

from __future__ import annotations

from pydantic import Field

from app.settings.faults import FaultSettings
from app.settings.scalars import NotNegative, Seconds


class ScenarioFault(FaultSettings):
    """Begins ``at`` a second and lasts ``for`` so many. ``target`` is a server's name, or several."""

    at: NotNegative
    ttl: Seconds = Field(alias="for")

    @property
    def ends(self) -> float:
        """As people add: 0.1 and 0.2 are 0.3, and what begins then comes after it."""
        return round(self.at + self.ttl, 9)
