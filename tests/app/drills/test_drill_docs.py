"""docs/drills.md is true: its tables have every key and measure with its default, and its scenario holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.drills.gateway import UNPROTECTED
from app.drills.load import planned
from app.drills.measures import MEASURES, InSpan
from app.drills.run import run
from app.drills.scenario import MemberSettings, Scenario
from app.drills.verdict import verdicts
from app.settings.section import keys_of
from app.settings.wording import section_at
from providers.law import Law
from router.sim.service import Service

PAGE = (Path(__file__).parents[3] / "docs" / "drills.md").read_text()
# What is none of a scenario's: refused there, or not a key of its own.
NOT_HERE = {"faults.knobs", "faults.dead_man"}
ELSEWHERE = {
    "faults.share": "the kind's",
    "faults.per": "the kind's",
    "faults.seed": "the run's",
    "faults.route": "any",
}


def keys(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    for key, field in keys_of(section).items():
        inner = section_at(section, (key,))
        path = ".".join((*prefix, key))
        if inner is not section:
            yield from keys(inner, (*prefix, key))
        elif field.is_required():
            yield path, "required"
        else:
            yield path, ELSEWHERE.get(path) or default(field.get_default(call_default_factory=True))


def default(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case Law(a=number) | (int() | float() as number):
            return f"{number:g}"
        case str() | {} if not value:
            return "empty"
    return str(value)


def test_the_table_has_every_key_and_its_default() -> None:
    table = PAGE.partition("## A scenario")[2].partition("## What can be expected")[0]
    said: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`[\w.`, ]+`) \| ([^|]+) \|", table, flags=re.MULTILINE):
        named, given = re.findall(r"`([\w.]+)`", names), defaults.split(", ")
        said |= dict(zip(named, given * len(named) if len(given) == 1 else given, strict=False))
    known = {
        path: value for path, value in keys(Scenario) if path not in NOT_HERE and not path.startswith("faults.guard")
    }
    assert said == known


def test_the_table_has_every_measure_with_its_keys() -> None:
    table = PAGE.partition("## What can be expected")[2].partition("## Experiments")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", table, flags=re.MULTILINE)
    said = {name: set(re.findall(r"`(\w+)`", further)) for name, further in rows}
    common = keys_of(InSpan).keys()
    known = {name: keys_of(measure.options).keys() for name, measure in MEASURES.items()}
    assert said == {name: own - common if own >= common else own for name, own in known.items()}


def test_a_member_of_the_fleet_has_what_a_simulated_server_has() -> None:
    assert {*keys_of(MemberSettings)} - {"name", "kind"} == set(Service.__dataclass_fields__)


def test_the_scenario_holds() -> None:
    (text,) = re.findall(r"```yml\n(.*?)```", PAGE, flags=re.DOTALL)
    made = planned(text, "drills.md", Path())
    for verdict in verdicts(made, run(made)):
        assert verdict.held, f"{verdict.name} {verdict.wanted}: {verdict.told}"


def test_every_protection_is_named_that_the_flag_turns_off() -> None:
    row = re.search(r"^\| `--no-protections` \|(.*)", PAGE, flags=re.MULTILINE)[1]
    words = (
        "budget",
        "concurrency",
        "throttle",
        "do not retry",
        "breakers",
        "throttles",
        "concurrency limits",
        "shedding",
    )
    assert all(word in row for word in words)
    assert UNPROTECTED["defaults"].keys() == {"retry", "breaker", "throttle", "concurrency"}
    assert UNPROTECTED["defaults"]["retry"].keys() == {"budget", "concurrency", "throttle", "dont_retry"}
