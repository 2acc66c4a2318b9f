"""The settings, as the contract names them. Seconds unless a name says otherwise; unknown keys are refused.

Frozen: one configuration is one value. What a kind of provider can be told is its own business
(``providers.registry``); here it is just ``options``.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

NAME = r"^[A-Za-z0-9._-]{1,64}$"


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not yes or no")  # noqa: TRY004 - pydantic reports ValueErrors
    return value


def _network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Seconds = Annotated[Number, Field(gt=0)]
Port = Annotated[Whole, Field(ge=0, le=65535)]
Network = Annotated[str, AfterValidator(_network)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """``metrics_port`` and ``admin_port`` are kept for what comes next; nothing listens there yet."""

    host: str = "127.0.0.1"
    port: Port = 8000
    metrics_port: Port = 9090
    admin_port: Port = 8001
    drain_seconds: Annotated[Number, Field(ge=0)] = 30
    max_body_mb: Annotated[Number, Field(gt=0, le=1000)] = 20
    receive_timeout_s: Seconds = 10
    trusted_proxies: list[Network] = []


class ProviderSettings(_Section):
    """``options`` is an instance of the options dataclass of its kind."""

    name: Annotated[str, Field(pattern=NAME)]
    kind: str
    options: Any = Field(repr=False)


class TimeoutSettings(_Section):
    connect: Seconds = 5
    first_token: Seconds = 30
    idle: Seconds = 15
    attempt: Seconds = 300
    total: Seconds = 600


class TimeoutOverrides(_Section):
    connect: Seconds | None = None
    first_token: Seconds | None = None
    idle: Seconds | None = None
    attempt: Seconds | None = None
    total: Seconds | None = None


class TargetTimeoutOverrides(_Section):
    """``total`` spans all targets, so a target cannot have its own."""

    connect: Seconds | None = None
    first_token: Seconds | None = None
    idle: Seconds | None = None
    attempt: Seconds | None = None


class BackoffSettings(_Section):
    base: Annotated[Number, Field(ge=0)] = 0.05
    cap: Annotated[Number, Field(ge=0)] = 20


class BackoffOverrides(_Section):
    base: Annotated[Number, Field(ge=0)] | None = None
    cap: Annotated[Number, Field(ge=0)] | None = None


class RetrySettings(_Section):
    max_attempts: Annotated[Whole, Field(ge=1, le=10)] = 3
    backoff: BackoffSettings = BackoffSettings()


class RetryOverrides(_Section):
    max_attempts: Annotated[Whole, Field(ge=1, le=10)] | None = None
    backoff: BackoffOverrides | None = None


class TargetSettings(_Section):
    """``model`` None passes on the name that the client asked for; ``tier`` 1 is tried when tier 0 cannot serve."""

    provider: str
    model: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x20-\x7e]+$")] | None = None
    weight: Annotated[Number, Field(ge=0)] = 1
    tier: Annotated[Whole, Field(ge=0)] = 0
    timeouts: TargetTimeoutOverrides | None = None


class RouteSettings(_Section):
    """``model`` is a public name, or "*" for any."""

    model: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x20-\x7e]+$")]
    targets: Annotated[list[TargetSettings], Field(min_length=1)]
    strategy: Literal["weighted"] = "weighted"
    timeouts: TimeoutOverrides | None = None
    retry: RetryOverrides | None = None


class DefaultsSettings(_Section):
    timeouts: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()


class TelemetrySettings(_Section):
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    access_log: bool = True


class Settings(_Section):
    """``seed`` decides, with the request id, which target a request gets."""

    server: ServerSettings = ServerSettings()
    providers: Annotated[list[ProviderSettings], Field(min_length=1)]
    routes: Annotated[list[RouteSettings], Field(min_length=1)]
    defaults: DefaultsSettings = DefaultsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    seed: Whole = 0


# In the contract, and not built yet. Refused by name: a control that looks on but is not is worse than none.
NOT_YET: frozenset[tuple[str, ...]] = frozenset(
    {
        *((name,) for name in ("shedding", "auth", "limits", "ledger", "guardrails", "cache", "passthrough", "chaos")),
        *((name,) for name in ("slo", "recorder", "admin")),
        *(("defaults", name) for name in ("breaker", "concurrency")),
        *((*where, "retry", name) for where in (("defaults",), ("routes",)) for name in ("budget", "concurrency")),
        *((*where, "retry", "backoff", "throttle_base") for where in (("defaults",), ("routes",))),
        *(("routes", name) for name in ("mirror", "hedge", "breaker", "concurrency")),
        *(("routes", "targets", name) for name in ("breaker", "concurrency")),
        *(("telemetry", name) for name in ("otlp_endpoint", "trace_sample", "content")),
    }
)
STRATEGIES_NOT_YET = ("least_busy", "latency", "cost", "affinity")
