"""The settings: what a configuration may contain, and the defaults. Times in seconds.

Says nothing about how parts fit together (``checks``) or where they were written (``draft``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from app.settings.options import build_options, option_names, refuse_unknown
from app.settings.resilience import (
    BreakerOverrides,
    BreakerSettings,
    ConcurrencyOverrides,
    ConcurrencySettings,
    ProbingOverrides,
    ProbingSettings,
    RetryOverrides,
    RetrySettings,
    SheddingSettings,
    ThrottleOverrides,
    ThrottleSettings,
    TimeoutOverrides,
    TimeoutSettings,
)
from app.settings.scalars import (
    UPPER,
    ModelName,
    Name,
    Natural,
    Network,
    NotNegative,
    PathPattern,
    Positive,
    Seconds,
    Text,
    Token,
    Whole,
)
from app.settings.section import Reading, Section
from app.settings.traffic import ExperimentSettings, HedgeSettings, MirrorSettings, PriceSettings, Strategy
from providers import Kind, kinds

ANY_MODEL = "*"


def _kinds(info: ValidationInfo) -> Mapping[str, Kind]:
    return info.context.kinds if isinstance(info.context, Reading) else kinds()


def _known_kind(kind: str, info: ValidationInfo) -> str:
    known = sorted(_kinds(info))
    if kind not in known:
        raise PydanticCustomError(
            "unknown_kind", "unknown kind; the kinds are: {allowed}", {"allowed": ", ".join(known), "known": known}
        )
    return kind


def _options(given: Any, info: ValidationInfo) -> Any:
    if given is None:
        return None
    known = _kinds(info)
    kind = known.get(info.data.get("kind", ""))
    if kind is None:
        # The kind's own error is told already; what no kind knows may be a misspelt `kind` itself.
        refuse_unknown(given, {name for kind in known.values() for name in option_names(kind)})
        return None
    return given if isinstance(given, kind.options) else build_options(kind.options, given)


Port = Annotated[Whole, Ge(0), Le(65535)]


class ServerSettings(Section):
    """``max_body_mb`` in 10^6 bytes. ``receive_timeout_s`` is for a whole request body, ``send_timeout_s`` for a client
    that accepts no byte. ``metrics_port`` and ``admin_port`` 0 are any free one, None is off.
    """

    host: Text = "127.0.0.1"
    port: Port = 8000
    metrics_port: Port | None = 9090
    admin_port: Port | None = 8001
    drain_seconds: NotNegative = 30.0
    max_body_mb: Annotated[Positive, Le(1000)] = 20.0
    receive_timeout_s: Positive = 10.0
    send_timeout_s: Positive = 30.0
    trusted_proxies: list[Network] = Field(default_factory=list)


class ProviderSettings(Section):
    """``options`` is the kind's own dataclass, made of every key beside ``name`` and ``kind``."""

    name: Name
    kind: Annotated[str, AfterValidator(_known_kind)]
    options: Annotated[Any, PlainValidator(_options)] = Field(repr=False)

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or is_dataclass(given.get("options")):
            return given
        own = {key: given[key] for key in ("name", "kind") if key in given}
        return own | {"options": {key: value for key, value in given.items() if key not in own}}


class TargetSettings(Section):
    """``model`` None is the route's, see ``RouteSettings.upstream_model``; ``weight`` 0 is reached by a pin only."""

    provider: Text
    model: ModelName | None = None
    weight: NotNegative = 1.0
    tier: Natural = 0
    price: PriceSettings | None = None
    timeouts: TimeoutOverrides | None = None
    breaker: BreakerOverrides | None = None
    concurrency: ConcurrencyOverrides | None = None
    throttle: ThrottleOverrides | None = None
    probing: ProbingOverrides | None = None


class RouteSettings(Section):
    """``model`` is the public name; ``ANY_MODEL`` is any that no other route has. ``hedge`` and ``mirror`` None are off."""

    model: ModelName
    targets: list[TargetSettings] = Field(min_length=1)
    strategy: Strategy = "weighted"
    hedge: HedgeSettings | None = None
    mirror: MirrorSettings | None = None
    experiments: list[ExperimentSettings] = Field(default_factory=list)
    timeouts: TimeoutOverrides | None = None
    retry: RetryOverrides | None = None
    breaker: BreakerOverrides | None = None
    concurrency: ConcurrencyOverrides | None = None
    throttle: ThrottleOverrides | None = None
    probing: ProbingOverrides | None = None

    def upstream_model(self, target: TargetSettings | MirrorSettings) -> str | None:
        """What ``target`` is asked for: its own model, else this route's. None, in the route for any model only, passes
        on the name that the client asked for.
        """
        return target.model or (None if self.model == ANY_MODEL else self.model)

    def id_of(self, target: TargetSettings) -> str:
        """As the running target is called, and what its live state belongs to: provider/model, provider/* where it passes
        the client's name on. "" if a part of that could not be read.
        """
        model = target.model or self.model
        return target.provider and model and f"{target.provider}/{model}"


class DefaultsSettings(Section):
    timeouts: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    concurrency: ConcurrencySettings = ConcurrencySettings()
    throttle: ThrottleSettings = ThrottleSettings()
    probing: ProbingSettings = ProbingSettings()


class AdminSettings(Section):
    """``token`` None: one is made at each start."""

    token: Token = None


class TelemetrySettings(Section):
    """``stream_usage``: ask upstreams to count the tokens of every stream; what the client did not ask for, it never
    sees. ``decisions`` is how many of them are kept.
    """

    log_level: Annotated[Literal["INFO", "DEBUG", "WARNING", "ERROR"], UPPER] = "INFO"
    access_log: bool = True
    stream_usage: bool = False
    decisions: Annotated[Natural, Le(100_000)] = 1000


class ChaosSettings(Section):
    """``max_active``: attempts under a fault at once, as a share of those that run (up to 1) or as a number; one may always
    be. ``max_ttl`` in seconds.
    """

    enabled: bool = True
    max_active: Annotated[Positive, Le(1_000_000)] = 0.5
    max_ttl: Seconds = 900.0
    header_faults: bool = False


class PassthroughSettings(Section):
    """Paths that go on to ``provider`` as they are, any method and body. A path is exact, or ends in ``/*`` for any rest."""

    provider: Text
    paths: list[PathPattern] = Field(min_length=1)


class Settings(Section):
    """``passthrough`` None: no other path than the gateway's own is served."""

    server: ServerSettings = ServerSettings()
    providers: list[ProviderSettings] = Field(min_length=1)
    routes: list[RouteSettings] = Field(min_length=1)
    defaults: DefaultsSettings = DefaultsSettings()
    shedding: SheddingSettings = SheddingSettings()
    admin: AdminSettings = AdminSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    passthrough: PassthroughSettings | None = None
    chaos: ChaosSettings = ChaosSettings()
    seed: Whole = 0
