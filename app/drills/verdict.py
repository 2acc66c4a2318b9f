"""What was expected of a run, what was measured, and whether it held; the steady state before, during and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.drills.load import Plan
from app.drills.measures import MEASURES, InSpan, Phase, Recovers
from app.drills.seen import Seen, Span
from app.settings.section import keys_of

# What is told of every phase, whatever is expected.
STEADY = ("goodput", "availability", "amplification", "ttft", "latency")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``measured`` None: there was nothing to measure. ``told`` and ``wanted`` are for people; ``written`` as in the file."""

    name: str
    span: Span
    phase: Phase
    measured: float | None
    held: bool
    told: str
    wanted: str
    written: dict[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """One phase of a run; a figure is None where nothing came. ``told`` are the same for people."""

    phase: Phase
    span: Span
    figures: dict[str, float | None]
    told: dict[str, str]


def verdicts(plan: Plan, seen: Seen) -> list[Verdict]:
    """In the order of the file."""
    judged = []
    for expected in plan.scenario.expect:
        assert expected is not None  # noqa: S101 - a plan has sound ones only
        measure, wanted = expected.measure, expected.wanted
        span = wanted.span(plan.scenario.duration, plan.trigger)
        value = measure.measured(seen, span, wanted)
        judged.append(
            Verdict(
                _named(measure.name, wanted),
                span,
                _phase(span, plan.trigger),
                value,
                wanted.holds(value),
                _never(wanted, seen, span) if value is None else measure.form.format(value),
                _bound(wanted, measure.form),
                {measure.name: wanted.model_dump(by_alias=True, exclude_unset=True)},
            )
        )
    return judged


def states(plan: Plan, seen: Seen) -> list[State]:
    """The phases that there are: one, if nothing is done to the fleet."""
    whole = Span(0.0, plan.scenario.duration)
    trigger = plan.trigger
    spans: list[tuple[Phase, Span]] = [("before", whole)]
    if trigger is not None:
        spans = [("before", Span(0.0, trigger.begins)), ("during", trigger), ("after", Span(trigger.ends, whole.ends))]
    return [_state(phase, span, seen) for phase, span in spans if span.begins < span.ends]


def _state(phase: Phase, span: Span, seen: Seen) -> State:
    figures, told = {}, {}
    for name in STEADY:
        measure = MEASURES[name]
        value = figures[name] = measure.measured(seen, span, measure.options())
        told[_named(name, measure.options())] = "–" if value is None else measure.form.format(value)
    return State(phase, span, figures, told)


def _phase(span: Span, trigger: Span | None) -> Phase:
    if trigger is None or span.ends <= trigger.begins:
        return "before"
    return "after" if span.begins >= trigger.ends else "during"


def _named(name: str, wanted: InSpan | Recovers) -> str:
    """The measure, with the keys that make it another."""
    plain = {*keys_of(InSpan), *keys_of(Recovers)}
    given = {
        key: value for key, value in wanted.model_dump(by_alias=True).items() if key not in plain and value is not None
    }
    told = [f"p{100 * value:g}" if key == "quantile" else str(value) for key, value in given.items()]
    return " ".join([name, *told])


def _bound(wanted: InSpan | Recovers, form: str) -> str:
    if isinstance(wanted, Recovers):
        return f"to {wanted.to:.0%} within {form.format(wanted.within)}"
    low, high = wanted.at_least, wanted.at_most
    parts = [f"≥ {form.format(low)}" if low is not None else "", f"≤ {form.format(high)}" if high is not None else ""]
    return " and ".join(part for part in parts if part)


def _never(wanted: InSpan | Recovers, seen: Seen, span: Span) -> str:
    return "never" if isinstance(wanted, Recovers) and seen.came(span) else "nothing came"


def all_held(judged: Sequence[Verdict]) -> bool:
    return all(verdict.held for verdict in judged)
