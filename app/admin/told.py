"""A decision record as a person would tell it: what was tried, why that, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def told(record: Json) -> str:
    """Of what ``app.observability.decisions.described`` gives."""
    return "\n".join([*_asked(record), "", *_steps(record), *_result(record), ""])


def _asked(record: Json) -> Iterator[str]:
    yield f"{record['request_id']}  {record['time']}  {record['path']}"
    wished = "" if record["pin"] is None else f", {'sticky' if record['sticky'] else 'pinned'} to {record['pin']}"
    arm = "" if record["experiment"] is None else f", experiment {record['experiment']}"
    yield (
        f"{record['model']} by route {record['route']} ({record['strategy']}), priority {record['priority']}{wished}{arm}, "
        f"about {record['estimated_tokens']} tokens"
    )
    if record["queued_ms"]:
        yield f"It waited {record['queued_ms']:g} ms in the queue."


def _steps(record: Json) -> Iterator[str]:
    for step in record["steps"]:
        yield f"{step['number']}. {step['target']}: {_outcome(step)}"
        yield f"   why: {_why(step)}"
        yield from _others(step["targets"])
        limit = "none" if step["limit"] is None else f"{step['limit']:g}"
        yield f"   it had {step['in_flight']} in flight, limit {limit}"
    if record["nobody"] is not None:
        yield "Then there was no target left:"
        yield from _others(record["nobody"])


def _outcome(step: Json) -> str:
    if not step["sent"]:
        return f"not sent: {step['refusal'] or 'the call was over'}"
    paused = f" after a pause of {step['paused_ms']:g} ms" if step["paused_ms"] else ""
    return f"{step['label'] or 'still running'} in {step['ms']:g} ms{paused}"


def _why(step: Json) -> str:
    if step["hedge"]:
        return "a hedge: the attempt before it had said nothing for too long"
    if step["forced"]:
        return "every target was ejected, so that did not count"
    rivals = [one for one in step["targets"] if one["state"] != "excluded"]
    if len(rivals) == 1:
        chosen = "the only one that could take it"
    else:
        chosen = "picked from " + ", ".join(f"{one['target']} (score {one['score']:g})" for one in rivals)
    instead = step["instead_of"]
    return chosen if instead is None else f"{chosen}; {instead} would have been, had all been able"


def _others(targets: Sequence[Json]) -> Iterator[str]:
    for one in targets:
        if one["state"] == "excluded":
            yield f"   not {one['target']}: {one['why']}"


def _result(record: Json) -> Iterator[str]:
    for each in record["faults"]:
        yield f"On purpose: {each['target']} met fault {each['fault']} ({each['kind']})"
    result = record["result"]
    whom = "nobody" if result["target"] is None else result["target"]
    reason = "" if result["route_reason"] is None else f" ({result['route_reason']})"
    first = "" if result["first_byte_ms"] is None else f", first byte after {result['first_byte_ms']:g} ms"
    yield f"Result: {result['status']} from {whom}{reason} in {result['duration_ms']:g} ms{first}; {result['outcome']}"
    if result["error"] is not None:
        yield f"   error: {result['error']}" + ("" if result["verdict"] is None else f", {result['verdict']}")
    if result["tokens_in"] is not None:
        yield f"   tokens: {result['tokens_in']} in, {result['tokens_out']} out"
    if result["end"] != "complete":
        yield f"   the answer's end: {result['end']}"
