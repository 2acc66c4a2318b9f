"""The settings: what a configuration may contain, and the defaults. Times in seconds.

Says nothing about how parts fit together (``checks``) or where they were written (``draft``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, get_origin

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.settings.options import build_options, option_names, refuse_unknown
from app.settings.problems import not_yet
from app.settings.scalars import UPPER, Natural, Network, NotNegative, PathPattern, Positive, Whole, plain
from providers import Kind, kinds

LATER_STRATEGIES = ("least_busy", "latency", "cost", "affinity")


@dataclass(frozen=True, slots=True)
class Reading:
    """The context of a validation. ``lenient`` leaves out what is wrong instead of raising, for the cross checks."""

    kinds: Mapping[str, Kind]
    lenient: bool = False


class Section(BaseModel):
    """A mapping in the file. Empty means all defaults. Values never appear in errors: one of them may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any, info: ValidationInfo) -> Any:
        if given is None or (_lenient(info) and not isinstance(given, Mapping)):
            given = {}
        if _lenient(info):
            required = [name for name, field in cls.model_fields.items() if field.is_required()]
            return dict.fromkeys(required) | {name: given[name] for name in cls.model_fields if name in given}
        return given

    @field_validator("*", mode="wrap")
    @classmethod
    def _sound(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return validate(value)
        except ValidationError:
            if not _lenient(info) or info.field_name is None:
                raise
            field = cls.model_fields[info.field_name]
            if not field.is_required():
                return field.get_default(call_default_factory=True)
            return [] if get_origin(field.annotation) is list else ""


def _lenient(info: ValidationInfo) -> bool:
    return isinstance(info.context, Reading) and info.context.lenient


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
    return given if isinstance(given, kind.options) else build_options(kind, given)


def _this_version(strategy: Any) -> Any:
    if strategy in LATER_STRATEGIES:
        raise ValueError(not_yet(f"strategy: {strategy}"))
    return strategy


Port = Annotated[Whole, Ge(0), Le(65535)]
Text = Annotated[str, StringConstraints(min_length=1)]
# Ends up in response headers.
Model = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(plain)]


class ServerSettings(Section):
    """``max_body_mb`` in 10^6 bytes. ``receive_timeout_s`` is for a whole request body, ``send_timeout_s`` for a client
    that accepts no byte. ``metrics_port`` 0 is any free one, None is off. Nobody listens on ``admin_port`` yet.
    """

    host: Text = "127.0.0.1"
    port: Port = 8000
    metrics_port: Port | None = 9090
    admin_port: Port = 8001
    drain_seconds: NotNegative = 30.0
    max_body_mb: Annotated[Positive, Le(1000)] = 20.0
    receive_timeout_s: Positive = 10.0
    send_timeout_s: Positive = 30.0
    trusted_proxies: list[Network] = Field(default_factory=list)


class ProviderSettings(Section):
    """``options`` is the kind's own dataclass, made of every key beside ``name`` and ``kind``."""

    name: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._-]{1,64}\z")]
    kind: Annotated[str, AfterValidator(_known_kind)]
    options: Annotated[Any, PlainValidator(_options)] = Field(repr=False)

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or is_dataclass(given.get("options")):
            return given
        own = {key: given[key] for key in ("name", "kind") if key in given}
        return own | {"options": {key: value for key, value in given.items() if key not in own}}


class TimeoutSettings(Section):
    """``first_token`` and ``idle`` bound streams, ``attempt`` an attempt that does not stream, ``total`` a call."""

    connect: Positive = 5.0
    first_token: Positive = 30.0
    idle: Positive = 15.0
    attempt: Positive = 300.0
    total: Positive = 600.0


class TimeoutOverrides(Section):
    connect: Positive | None = None
    first_token: Positive | None = None
    idle: Positive | None = None
    attempt: Positive | None = None
    total: Positive | None = None


class BackoffSettings(Section):
    base: NotNegative = 0.05
    cap: NotNegative = 20.0


class BackoffOverrides(Section):
    base: NotNegative | None = None
    cap: NotNegative | None = None


MAX_ATTEMPTS = 10
Attempts = Annotated[Whole, Ge(1), Le(MAX_ATTEMPTS)]


class RetrySettings(Section):
    """``max_attempts`` counts every call to an upstream for one client request, the first included."""

    max_attempts: Attempts = 3
    backoff: BackoffSettings = BackoffSettings()


class RetryOverrides(Section):
    max_attempts: Attempts | None = None
    backoff: BackoffOverrides | None = None


class TargetSettings(Section):
    """``model`` None passes on the name that the client asked for; ``weight`` 0 is reached by a pin only."""

    provider: Text
    model: Model | None = None
    weight: NotNegative = 1.0
    tier: Natural = 0
    timeouts: TimeoutOverrides | None = None


class RouteSettings(Section):
    """``model`` is the public name; "*" is any that no other route has."""

    model: Model
    targets: list[TargetSettings] = Field(min_length=1)
    strategy: Annotated[Literal["weighted"], BeforeValidator(_this_version)] = "weighted"
    timeouts: TimeoutOverrides | None = None
    retry: RetryOverrides | None = None


class DefaultsSettings(Section):
    timeouts: TimeoutSettings = TimeoutSettings()
    retry: RetrySettings = RetrySettings()


class TelemetrySettings(Section):
    """``stream_usage``: ask upstreams to count the tokens of every stream; what the client did not ask for, it never
    sees.
    """

    log_level: Annotated[Literal["INFO", "DEBUG", "WARNING", "ERROR"], UPPER] = "INFO"
    access_log: bool = True
    stream_usage: bool = False


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
    telemetry: TelemetrySettings = TelemetrySettings()
    passthrough: PassthroughSettings | None = None
    seed: Whole = 0
