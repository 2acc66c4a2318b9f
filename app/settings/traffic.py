"""The settings of what a route does with a call beside trying its targets: strategy, hedge, mirror, experiments, prices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from app.settings.scalars import HedgeDelay, ModelName, Name, NotNegative, Ratio, Share, Text
from app.settings.section import Section
from router.experiments import BUCKETS


def _in_buckets(share: float) -> float:
    if abs(share * BUCKETS - round(share * BUCKETS)) > 1e-6:
        raise ValueError(f"must be in steps of {1 / BUCKETS}")
    return share


Dealt = Annotated[Ratio, AfterValidator(_in_buckets)]
Strategy = Literal["weighted", "least_busy", "latency", "cost", "affinity"]


class PriceSettings(Section):
    """In USD for a million tokens."""

    input: NotNegative
    output: NotNegative


class HedgeSettings(Section):
    """``after`` is in seconds, or a quantile such as "p95"."""

    after: HedgeDelay = "p95"
    max_share: Share = 0.05


class MirrorSettings(Section):
    """``model`` None is the route's, as for a target."""

    provider: Text
    model: ModelName | None = None
    share: Share


class ArmSettings(Section):
    """``providers`` in the order to try them; ``share`` 0 is reached by a header only."""

    name: Name
    providers: list[Text] = Field(min_length=1)
    share: Dealt


class ExperimentSettings(Section):
    """The first arm is the control. Another ``salt`` deals anew."""

    name: Name
    arms: list[ArmSettings] = Field(min_length=2)
    salt: str = ""
    unit: Literal["session", "request"] = "session"
    failover: bool = False
