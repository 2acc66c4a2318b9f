"""How the parts of a scenario fit together: names that must meet, and what could never act.

Works on what is sound in a draft: what could not be read has a default there, "" or [], and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from app.drills.expectation import Expectation
from app.drills.faults import rules_of
from app.drills.fleet import service_of
from app.drills.gateway import NO_PROVIDERS
from app.drills.measures import InSpan
from app.drills.scenario import SHAPES, Scenario, TrafficSettings
from app.drills.seen import Span
from app.settings import ANY_MODEL, Settings
from app.settings.draft import Draft
from app.settings.problems import Finding, Location, twice, unknown
from app.settings.wording import value_at
from providers.law import Law
from router.chaos import FaultRefused, Rule
from router.chaos.chaos import MOST_RULES
from router.sim.arrivals import MOST_TOKENS

VARYING = ("ramp", "steps", "linear")
LEAST_THOUGHT = 1e-6  # seconds; less, added to a time of days, is nothing


def check(scenario: Scenario, settings: Settings | None, draft: Draft, folder: Path, trigger: Span | None) -> None:
    """Add to the draft's problems. What has one already gets no second. ``settings`` None: they are wrong, too."""
    faulty = frozenset(draft.faulty)
    findings = chain(
        _traffic(scenario, draft, folder),
        _fleet(scenario, draft),
        _config(scenario),
        _faults(scenario, draft),
        _rules(scenario, settings, draft),
        _models(scenario, settings),
        _expectations(scenario, trigger),
    )
    for location, message, *suggestion in findings:
        if not any(inner[: len(location)] == location for inner in faulty):
            draft.refuse(location, message, *suggestion)


def _traffic(scenario: Scenario, draft: Draft, folder: Path) -> Iterator[Finding]:
    names: list[tuple[Location, str]] = [
        (("traffic", n, "name"), each.name or "") for n, each in enumerate(scenario.traffic)
    ]
    yield from twice("traffic", names, draft.where)
    for n, traffic in enumerate(scenario.traffic):
        at: Location = ("traffic", n, "arrivals")
        given = _given(draft, at, SHAPES)
        if len(given) != 1:
            yield at, f"needs exactly one of {', '.join(SHAPES)}; it has {', '.join(given) or 'none'}"
            continue
        if draft.holds((*at, "regular")) and given[0] not in VARYING:
            yield (*at, "regular"), f"acts on {', '.join(VARYING)} only; `constant` is regular, `poisson` is not"
        for key in ("steps", "linear"):
            yield from _beyond((*at, key), getattr(traffic.arrivals, key), scenario.duration)
        yield from _trace(n, traffic.arrivals.trace, draft, folder)
        yield from _callers(n, traffic)


def _given(draft: Draft, at: Location, keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` that have something behind them."""
    return [key for key in keys if draft.holds((*at, key)) and value_at(draft.data, (*at, key)) is not None]


def _callers(n: int, traffic: TrafficSettings) -> Iterator[Finding]:
    closed, backoff = traffic.arrivals.closed, traffic.clients.backoff
    if closed is not None and closed.think.at(0.5) < LEAST_THOUGHT:
        told = "needs a median of 1 µs or more: where an answer takes no time the clock would stand still"
        yield ("traffic", n, "arrivals", "closed", "think"), told
    if backoff.base > backoff.cap:
        yield ("traffic", n, "clients", "backoff"), f"base ({backoff.base:g}) must be at most cap ({backoff.cap:g})"
    for key, law in (("prompt_tokens", traffic.prompt_tokens), ("output_tokens", traffic.output_tokens)):
        yield from _too_many(("traffic", n, key), law)


def _too_many(at: Location, tokens: Law | None) -> Iterator[Finding]:
    if tokens is not None and tokens.at(0.5) > MOST_TOKENS:
        yield at, f"needs a median of {MOST_TOKENS:,} or less; what is drawn above counts as that"


def _trace(n: int, trace: str | None, draft: Draft, folder: Path) -> Iterator[Finding]:
    at: Location = ("traffic", n, "arrivals")
    if trace is None:
        yield from (((*at, key), "acts on a trace only") for key in ("speed", "limit") if draft.holds((*at, key)))
        return
    if trace and not (folder / trace).is_file():
        yield (*at, "trace"), f"there is no file {folder / trace}; its place is told from the scenario's own"
    for key in ("prompt_tokens", "output_tokens"):
        if draft.holds(("traffic", n, key)):
            yield ("traffic", n, key), "the trace has its own; remove it"


def _beyond(at: Location, points: tuple[tuple[float, float], ...] | None, duration: float) -> Iterator[Finding]:
    if points and points[-1][0] >= duration:
        yield at, f"second {points[-1][0]:g} is not before the end; duration is {duration:g}"


def _fleet(scenario: Scenario, draft: Draft) -> Iterator[Finding]:
    names: list[tuple[Location, str]] = [(("fleet", n, "name"), each.name) for n, each in enumerate(scenario.fleet)]
    yield from twice("server", names, draft.where)
    for n, member in enumerate(scenario.fleet):
        at: Location = ("fleet", n, "capacity")
        if member.capacity is not None:
            given = _given(draft, at, ("steps", "linear"))
            if len(given) != 1:
                yield at, f"needs exactly one of steps, linear; it has {', '.join(given) or 'none'}"
            elif member.capacity.levels.points[0][0] != 0:
                yield (*at, given[0]), "must begin at second 0: nobody knows its capacity before"
            else:
                yield from _beyond((*at, given[0]), member.capacity.levels.points, scenario.duration)
        yield from _too_many(("fleet", n, "tokens"), member.tokens)
        try:
            service_of(member)
        except ValueError as error:
            names_field, _, message = str(error).partition(": ")
            yield ("fleet", n, names_field.partition(",")[0]), message


def _config(scenario: Scenario) -> Iterator[Finding]:
    if "providers" in scenario.config:
        yield ("config", "providers"), NO_PROVIDERS


def _models(scenario: Scenario, settings: Settings | None) -> Iterator[Finding]:
    known = [] if settings is None else [route.model for route in settings.routes]
    for n, traffic in enumerate(scenario.traffic):
        if known and traffic.model and traffic.model not in known and ANY_MODEL not in known:
            yield ("traffic", n, "model"), *unknown("model; a route must serve it", traffic.model, known)


def _faults(scenario: Scenario, draft: Draft) -> Iterator[Finding]:
    ids: list[tuple[Location, str]] = [(("faults", n, "id"), each.id or "") for n, each in enumerate(scenario.faults)]
    yield from twice("fault", ids, draft.where)
    for n, fault in enumerate(scenario.faults):
        for key in ("guard", "dead_man"):
            if draft.holds(("faults", n, key)):
                yield ("faults", n, key), "watches over a gateway that runs; here `for` ends a fault: remove it"
        if fault.at >= scenario.duration:
            yield ("faults", n, "at"), f"second {fault.at:g} is not before the end; duration is {scenario.duration:g}"
        elif fault.ends > scenario.duration:
            told = f"lasts until second {fault.ends:g}, beyond the end; duration is {scenario.duration:g}"
            yield ("faults", n, "for"), told


def _rules(scenario: Scenario, settings: Settings | None, draft: Draft) -> Iterator[Finding]:
    """What only ``router.chaos`` can say of a fault; of those that could be read."""
    if settings is None:
        return
    sound = {n for n in range(len(scenario.faults)) if not any(inner[:2] == ("faults", n) for inner in draft.faulty)}
    begun: list[tuple[int, Rule]] = []
    # In the order in which they begin: so the gateway gets them.
    for n, rule in sorted(rules_of(scenario, settings, sound), key=lambda each: scenario.faults[each[0]].at):
        at: Location = ("faults", n)
        if isinstance(rule, FaultRefused):
            yield (*at, "for" if rule.param == "ttl" else rule.param), rule.message
            continue
        now = scenario.faults[n].at
        acting = [(m, other) for m, other in begun if scenario.faults[m].at <= now < scenario.faults[m].ends]
        before = next((m for m, other in acting if other.covers(rule)), None)
        if before is not None:
            told = f"the fault at {draft.where(('faults', before))} hits every attempt before it does"
            yield at, f"cannot act: {told}, until second {scenario.faults[before].ends:g}; begin then, or remove one"
        if len(acting) >= MOST_RULES:
            yield (*at, "at"), f"{MOST_RULES} faults act then already, and no more may"
        yield from _met(at, rule, scenario, draft)
        begun.append((n, rule))


def _met(at: Location, rule: Rule, scenario: Scenario, draft: Draft) -> Iterator[Finding]:
    """Whether any call of this scenario is such that the fault could hit it; nothing where traffic could not be read."""
    if any(inner[:1] == ("traffic",) for inner in draft.faulty):
        return
    calls = [traffic for traffic in scenario.traffic if rule.route in (None, traffic.model)]
    if not calls:
        models = sorted({traffic.model for traffic in scenario.traffic})
        yield (*at, "route"), f"no traffic asks for that model; asked for: {', '.join(models)}"
    elif rule.streams and not any(traffic.stream for traffic in calls):
        yield (*at, "kind"), f"{rule.kind} acts on streams only, and no traffic that it could hit has `stream: true`"


def _expectations(scenario: Scenario, trigger: Span | None) -> Iterator[Finding]:
    known = {
        "target": ("server", [member.name for member in scenario.fleet]),
        "kind": ("kind among the faults here", [fault.kind for fault in scenario.faults]),
        "traffic": ("name of traffic", [traffic.name for traffic in scenario.traffic if traffic.name]),
    }
    for n, expected in enumerate(scenario.expect):
        if expected is None:
            continue
        at: Location = ("expect", n, expected.measure.name)
        wanted = expected.wanted
        if isinstance(wanted, InSpan):
            yield from _bounds(at, expected.measure.most, wanted)
            yield from _span(at, wanted, scenario.duration, trigger)
        elif wanted.after + wanted.within >= scenario.duration:
            told = f"must leave something of the run to hold in: {wanted.after:g} + {wanted.within:g} seconds"
            yield at, f"{told} are not before the end; duration is {scenario.duration:g}"
        yield from _named(at, expected, known)


def _bounds(at: Location, most: float, wanted: InSpan) -> Iterator[Finding]:
    low, high = wanted.at_least, wanted.at_most
    for key, bound in (("at_least", low), ("at_most", high)):
        if bound is not None and bound > most:
            yield (*at, key), f"must be at most {most:g}: it is a share, and 95 % is 0.95"
    if low is None and high is None:
        yield at, "needs at_least, at_most, or both"
    elif low is not None and high is not None and low > high:
        yield at, f"at_least ({low:g}) is more than at_most ({high:g}), and both cannot hold"


def _span(at: Location, wanted: InSpan, duration: float, trigger: Span | None) -> Iterator[Finding]:
    if wanted.phase is not None:
        if wanted.begins is not None or wanted.ends is not None:
            yield (*at, "phase"), "is a span already; give it, or from and to"
        elif trigger is None:
            yield (*at, "phase"), "nothing is done to the fleet, so there is no before and after; give from and to"
        elif wanted.span(duration, trigger).begins >= wanted.span(duration, trigger).ends:
            yield (*at, "phase"), f"there is no time {wanted.phase} what is done to the fleet; give from and to"
        return
    if wanted.begins is not None and wanted.begins >= duration:
        yield (*at, "from"), f"second {wanted.begins:g} is not before the end; duration is {duration:g}"
    elif wanted.ends is not None and wanted.ends > duration:
        yield (*at, "to"), f"second {wanted.ends:g} is beyond the end; duration is {duration:g}"
    elif wanted.ends is not None and (wanted.begins or 0.0) >= wanted.ends:
        yield (*at, "to"), f"must be later than from ({wanted.begins or 0.0:g})"


def _named(at: Location, expected: Expectation, known: Mapping[str, tuple[str, list[str]]]) -> Iterator[Finding]:
    wanted: Mapping[str, Any] = dict(expected.wanted)
    for key, (what, names) in known.items():
        if (name := wanted.get(key)) is not None and name not in names and all(names):
            told, near = unknown(what, name, names)
            yield (*at, key), told if names else f"{told}; there is none", near
