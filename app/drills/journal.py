"""What a run leaves behind: a journal in the form of the Chaos Toolkit, and the router's events, one a line.

Nothing in them tells where or when they were made: the virtual clock begins at ``EPOCH``, so one seed gives one file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from app.drills.load import Plan
from app.drills.measures import Phase
from app.drills.seen import Span
from app.drills.verdict import State, Verdict
from app.settings.faults import FaultSettings
from app.settings.problems import THIS_VERSION
from router.events import EVERY, Events

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
JOURNAL, EVENTS = "journal.json", "events.jsonl"
FLUSH = 1 << 16
FORM = "1.44.0"  # of the Chaos Toolkit, whose form the journal has; `chaos report` asks for it

# Of the overrides, what a gateway decides by: no secret stands below these.
TOLD = ("defaults", "routes", "shedding", "chaos", "seed")

Json = dict[str, Any]


def journal(plan: Plan, judged: Sequence[Verdict], steady: Sequence[State]) -> Json:
    """``completed`` if all went as it should before the trigger, and ``deviated`` if not all did after it."""
    duration = plan.scenario.duration
    before = all(verdict.held for verdict in judged if verdict.phase == "before")
    return {
        "chaoslib-version": FORM,
        "platform": "virtual clock",
        "node": f"breakwater {THIS_VERSION}",
        "experiment": experiment(plan, judged),
        "status": "completed" if before else "failed",
        "start": moment(0.0),
        "end": moment(duration),
        "duration": duration,
        "deviated": not all(verdict.held for verdict in judged if verdict.phase != "before"),
        "steady_states": {
            "before": _steady("before", judged, steady),
            "during": [_steady("during", judged, steady)],
            "after": _steady("after", judged, steady),
        },
        "run": [*_actions(plan), *(_probe_run(verdict) for verdict in judged)],
        "rollbacks": [],
    }


def experiment(plan: Plan, judged: Sequence[Verdict]) -> Json:
    """The scenario in the Chaos Toolkit's words, and verbatim as an extension."""
    scenario = plan.scenario
    return {
        "title": scenario.title,
        "description": scenario.description or scenario.title,
        "tags": sorted({fault.kind for fault in scenario.faults}),
        "configuration": _configuration(plan),
        "extensions": [{"name": "breakwater", "scenario": plan.written}],
        "steady-state-hypothesis": {"title": "What is expected holds", "probes": [_probe(each) for each in judged]},
        "method": [activity["activity"] for activity in _actions(plan)],
        "rollbacks": [],
    }


def _configuration(plan: Plan) -> Json:
    """What makes this run another than the file alone would."""
    laid = {key: plan.overrides[key] for key in TOLD if key in plan.overrides}
    told: Json = {"seed": plan.seed, "protections": plan.protected}
    return {**told, "overrides": laid} if laid else told


def moment(at: float) -> str:
    """A time of the virtual clock, RFC 3339."""
    return (EPOCH + timedelta(seconds=at)).isoformat(timespec="microseconds")


def _span(span: Span) -> Json:
    return {"start": moment(span.begins), "end": moment(span.ends), "duration": span.ends - span.begins}


def _actions(plan: Plan) -> list[Json]:
    return [_action(number, plan) for number in range(len(plan.scenario.faults))]


def _action(number: int, plan: Plan) -> Json:
    fault = plan.scenario.faults[number]
    provider = {
        "type": "python",
        "module": FaultSettings.__module__,
        "func": "rule_of",
        "arguments": plan.written["faults"][number],
    }
    name = f"{fault.kind} at {', '.join(fault.target)}"
    activity = {"type": "action", "name": fault.id or name, "provider": provider, "background": True}
    return {"activity": activity, "status": "succeeded", "output": None, **_span(Span(fault.at, fault.ends))}


def _probe(verdict: Verdict) -> Json:
    ((_, arguments),) = verdict.written.items()
    provider = {"type": "python", "module": "app.drills.measures", "func": verdict.name.partition(" ")[0]}
    return {
        "type": "probe",
        "name": f"{verdict.name} {verdict.wanted}",
        "tolerance": True,
        "provider": {**provider, "arguments": arguments},
    }


def _probe_run(verdict: Verdict) -> Json:
    return {
        "activity": _probe(verdict),
        "status": "succeeded" if verdict.measured is not None else "failed",
        "output": verdict.measured,
        "tolerance_met": verdict.held,
        **_span(verdict.span),
    }


def _steady(phase: Phase, judged: Sequence[Verdict], steady: Sequence[State]) -> Json:
    mine = [verdict for verdict in judged if verdict.phase == phase]
    figures = next((state.figures for state in steady if state.phase == phase), {})
    return {
        "steady_state_met": all(verdict.held for verdict in mine),
        "probes": [_probe_run(verdict) for verdict in mine],
        "figures": figures,
    }


class Record:
    """The files of one run in ``folder``: the journal, and every event of every gateway in the order in which they happened.

    They stand aside until they are kept. So a run that is broken off leaves what was there, and of two at once one does.
    Raises ``OSError``.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._aside = TemporaryDirectory(prefix=".run-", dir=folder)
        self._file = (Path(self._aside.name) / EVENTS).open("wb", buffering=FLUSH)

    def listen(self, gateway: int, events: Events) -> None:
        def write(event: Any) -> None:
            line = {"event": type(event).__name__, "gateway": gateway, **event._asdict()}
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

        events.listen(write, *EVERY)

    def keep(self, plan: Plan, judged: Sequence[Verdict], steady: Sequence[State]) -> None:
        self._file.close()
        aside = Path(self._aside.name)
        document = json.dumps(journal(plan, judged, steady), indent=2, ensure_ascii=False)
        (aside / JOURNAL).write_text(f"{document}\n", "utf-8")
        for name in (EVENTS, JOURNAL):
            (aside / name).replace(self._folder / name)

    def close(self) -> None:
        """What was not kept is gone."""
        self._file.close()
        self._aside.cleanup()
