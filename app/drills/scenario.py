"""What a scenario file may contain. Times in seconds from its start, shares from 0 to 1.

Says nothing about how parts fit together (``checks``) or what they do when it runs (``fleet``, ``traffic``, ``faults``).
"""

from __future__ import annotations

from math import inf, isfinite
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import Field, PlainValidator

from app.drills.expectation import Expectation, expectation
from app.drills.fault import ScenarioFault
from app.settings.scalars import Count, ModelName, Name, Natural, NotNegative, ParsedLaw, Positive, Ratio, Text, Whole
from app.settings.section import Section
from providers.law import Law
from router.sim.levels import Levels

MODEL = "m"  # what is asked for where a scenario names no model
MAX_GATEWAYS = 10_000


def _number(value: Any) -> float:
    """Raises ``TypeError`` for what only passes for one: a word in a list of numbers is read letter by letter."""
    if isinstance(value, bool | str):
        raise TypeError
    return float(value)


def _points(value: Any) -> tuple[tuple[float, float], ...]:
    try:
        pairs = tuple((_number(at), _number(level)) for at, level in value)
        Levels(pairs)
    except (TypeError, ValueError, OverflowError):
        pairs = ()
    if not pairs or not all(isfinite(number) for pair in pairs for number in pair) or pairs[0][0] < 0:
        raise ValueError("must be a list of pairs [second, value] from 0 up, each later than the one before")
    return pairs


def _pair(value: Any) -> tuple[float, float]:
    try:
        first, second = (_number(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        first = second = -1.0
    if not (0 <= first < inf and 0 <= second < inf and first + second > 0):
        raise ValueError("must be two numbers, [from, to], calls a second, not both 0")
    return first, second


Points = Annotated[tuple[tuple[float, float], ...], PlainValidator(_points)]
Pair = Annotated[tuple[float, float], PlainValidator(_pair)]
Duration = Annotated[Positive, Le(30 * 86_400)]


class LevelsSettings(Section):
    """A number over time: ``steps`` hold until the next, between the points of ``linear`` it goes in a straight line."""

    steps: Points | None = None
    linear: Points | None = None

    @property
    def levels(self) -> Levels:
        """Of the one that is given."""
        return Levels(self.steps or self.linear or ((0.0, 1.0),), linear=self.steps is None)


class ClosedSettings(Section):
    """So many clients, each of which calls, waits for its answer, thinks for so long, and calls again."""

    clients: Count
    think: ParsedLaw = Law("constant", 1.0)


class ArrivalsSettings(Section):
    """Exactly one of the first six. ``poisson`` and ``constant`` are calls a second, ``ramp`` from and to over the whole
    duration; ``trace`` is a file, played ``speed`` times as fast, its first ``limit`` calls.
    """

    poisson: Positive | None = None
    constant: Positive | None = None
    ramp: Pair | None = None
    steps: Points | None = None
    linear: Points | None = None
    trace: Text | None = None
    closed: ClosedSettings | None = None
    regular: bool = False
    speed: Positive = 1.0
    limit: Count | None = None


SHAPES = ("poisson", "constant", "ramp", "steps", "linear", "trace", "closed")


class ClientBackoffSettings(Section):
    base: NotNegative = 0.5
    cap: NotNegative = 8.0
    jitter: Literal["full", "sdk", "none"] = "full"


class ClientBudgetSettings(Section):
    """A token for each retry: each call that comes pays in ``deposit``, up to ``most``."""

    deposit: Ratio = 0.1
    most: Positive = 5.0


class ClientsSettings(Section):
    """Who calls. ``timeout`` is for the first content of a stream, or a whole plain answer; None waits for ever."""

    count: Count = 1
    timeout: Positive | None = None
    retries: Annotated[Natural, Le(100)] = 0
    backoff: ClientBackoffSettings = ClientBackoffSettings()
    budget: ClientBudgetSettings | None = None
    stop_above: Positive | None = None
    honours: bool = True
    sessions: Natural = 0
    priority: Literal["critical", "default", "sheddable", "batch"] = "default"


class TrafficSettings(Section):
    """``name`` is for expectations of these clients alone. ``output_tokens`` is what they allow at most; None is no limit."""

    name: Name | None = None
    arrivals: ArrivalsSettings
    stream: bool = False
    model: ModelName = MODEL
    prompt_tokens: ParsedLaw = Law("constant", 100.0)
    output_tokens: ParsedLaw | None = None
    clients: ClientsSettings = ClientsSettings()


class MemberSettings(Section):
    """A simulated server, and one provider of the gateway, which takes it for one of this ``kind``: of some it knows that they
    queue. ``rate``: one call after the other, so many a second; ``slots``: so many at once; neither: all at once.
    """

    name: Name
    kind: Literal["mock", "openai", "vllm", "llamacpp"] = "mock"
    rate: Positive | None = None
    slots: Count | None = None
    queue: Natural | None = None
    retry_after: NotNegative = 1.0
    ttft: ParsedLaw = Law("constant", 0.0)
    token_interval: ParsedLaw = Law("constant", 0.0)
    tokens: ParsedLaw | None = None
    chunks: Count = 1
    slowdown: NotNegative = 0.0
    unhurried: Count = 1
    capacity: LevelsSettings | None = None
    cancelled: Literal["works_on", "stops"] = "works_on"
    patience: Positive | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Annotated[Whole, Ge(1)] | None = None
    error_rate: Ratio = 0.0
    error_status: Annotated[Whole, Ge(500), Le(599)] = 500


class Scenario(Section):
    """``config`` is the gateway's, over what the fleet makes: its own validation looks at it."""

    title: Text
    description: str = ""
    source: str = ""
    seed: Natural = 0
    duration: Duration
    traffic: list[TrafficSettings] = Field(min_length=1)
    gateways: Annotated[Count, Le(MAX_GATEWAYS)] = 1
    fleet: list[MemberSettings] = Field(min_length=1)
    faults: list[ScenarioFault] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)
    expect: list[Annotated[Expectation | None, PlainValidator(expectation)]] = Field(min_length=1)
