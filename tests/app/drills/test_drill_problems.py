"""What is wrong with a scenario file is told at once, all of it, by line and key, with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.drills.load import Plan, planned
from app.drills.load import plan as plan_of
from app.settings import SettingsError
from app.settings.document import read

GOOD = """\
title: One of two is out
seed: 7
duration: 60
traffic:
  - arrivals: {constant: 20}
fleet:
  - {name: a, slots: 10, ttft: 0.05}
  - {name: b, slots: 10, ttft: 0.05}
faults:
  - {at: 20, for: 10, target: a, kind: http_5xx, statuses: [503]}
config:
  defaults: {timeouts: {attempt: 2}}
expect:
  - goodput: {phase: after, at_least: 0.99}
  - recovers: {after: 30, within: 10}
"""


def plan(text: str, folder: Path = Path(), **how: object) -> Plan:
    return planned(text, "x.yaml", folder, **how)


def told(text: str, folder: Path = Path(), **how: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        plan(text, folder, **how)
    return [str(problem) for problem in caught.value.problems]


def test_a_sound_file_is_a_plan() -> None:
    made = plan(GOOD)
    assert made.trigger == (20.0, 30.0)
    assert made.seed == made.settings.seed == 7
    assert made.settings.defaults.timeouts.attempt == pytest.approx(2)
    assert [target.provider for target in made.settings.routes[0].targets] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "instead", "problem"),
    [
        ("duration: 60", "duraton: 60", 'x.yaml:3: duraton: unknown key; did you mean "duration"?'),
        ("duration: 60", "duration: soon", "x.yaml:3: duration: must be a number"),
        (
            "constant: 20",
            "konstant: 20",
            'x.yaml:5: traffic[0].arrivals.konstant: unknown key; did you mean "constant"?',
        ),
        (
            "{constant: 20}",
            "{constant: 20, poisson: 3}",
            "ramp, steps, linear, trace, closed; it has poisson, constant",
        ),
        (
            "{constant: 20}",
            "{}",
            "x.yaml:5: traffic[0].arrivals: needs exactly one of poisson, constant, ramp, steps, linear, trace, closed; it has none",
        ),
        (
            "{constant: 20}",
            "{steps: [[10, 1], [0, 2]]}",
            "x.yaml:5: traffic[0].arrivals.steps: must be a list of pairs [second, value] from 0 up, each later than the one before",
        ),
        (
            "{constant: 20}",
            "{steps: [[0, 1], [60, 2]]}",
            "x.yaml:5: traffic[0].arrivals.steps: second 60 is not before the end; duration is 60",
        ),
        ("{constant: 20}", "{ramp: [1]}", "x.yaml:5: traffic[0].arrivals.ramp: must be two numbers, [from, to]"),
        (
            "{constant: 20}",
            "{constant: 20, regular: true}",
            "x.yaml:5: traffic[0].arrivals.regular: acts on ramp, steps, linear only; `constant` is regular, `poisson` is not",
        ),
        (
            "{constant: 20}",
            "{constant: 20, speed: 2}",
            "x.yaml:5: traffic[0].arrivals.speed: acts on a trace only",
        ),
        (
            "{constant: 20}",
            "{trace: none.csv}",
            "x.yaml:5: traffic[0].arrivals.trace: there is no file none.csv; its place is told from the scenario's own",
        ),
        ("name: b", "name: a", 'x.yaml:8: fleet[1].name: a second server "a"; the first is at x.yaml:7'),
        ("name: b, slots: 10", "name: b, slots: 10, rate: 5", "x.yaml:8: fleet[1].rate: "),
        (
            "name: b, slots: 10",
            "name: b, kind: vlm",
            "x.yaml:8: fleet[1].kind: must be 'mock', 'openai', 'vllm' or 'llamacpp'",
        ),
        ("name: b, slots: 10", "name: b, slotz: 10", 'x.yaml:8: fleet[1].slotz: unknown key; did you mean "slots"?'),
        ("name: b, slots: 10", "name: b, slots: 0", "x.yaml:8: fleet[1].slots: must be greater than or equal to 1"),
        (
            "name: b, slots: 10",
            "name: b, capacity: {steps: [[5, 1]]}",
            "x.yaml:8: fleet[1].capacity.steps: must begin at second 0: nobody knows its capacity before",
        ),
        ("for: 10", "for: 50", "x.yaml:10: faults[0].for: lasts until second 70, beyond the end; duration is 60"),
        ("at: 20", "at: 60", "x.yaml:10: faults[0].at: second 60 is not before the end; duration is 60"),
        ("for: 10, ", "", "x.yaml:10: faults[0].for: is missing"),
        ("target: a", "target: c", "x.yaml:10: faults[0].target: there is no target 'c'; known here: "),
        ("target: a", "target: a, share: 1.5", "x.yaml:10: faults[0].share: must be less than or equal to 1"),
        ("kind: http_5xx", "kind: http_6xx", "x.yaml:10: faults[0].kind: unknown kind of fault; the kinds are: "),
        ("statuses:", "statusses:", 'x.yaml:10: faults[0].statusses: unknown key; did you mean "statuses"?'),
        ("[503]", "[200]", "x.yaml:10: faults[0].statuses: must be one or more numbers from 500 to 599"),
        (
            "for: 10",
            "for: 10, dead_man: 5",
            "x.yaml:10: faults[0].dead_man: watches over a gateway that runs; here `for` ends a fault: remove it",
        ),
        (
            "{timeouts: {attempt: 2}}",
            "{timeouts: {atempt: 2}}",
            'x.yaml:12: config.defaults.timeouts.atempt: unknown key; did you mean "attempt"?',
        ),
        (
            "defaults: {timeouts: {attempt: 2}}",
            "routes: [{model: m, targets: [{provider: a}]}]",
            'x.yaml:8: fleet[1]: no route uses the provider "b"; add a target for it, or remove it',
        ),
        (
            "defaults: {timeouts: {attempt: 2}}",
            "providers: []",
            "x.yaml:12: config.providers: the fleet is what there is; name its servers in `fleet`",
        ),
        (
            "defaults: {timeouts: {attempt: 2}}",
            "chaos: {max_ttl: 5}",
            "x.yaml:10: faults[0].for: must be at most 5 s (`chaos.max_ttl`)",
        ),
        (
            "- goodput: {phase: after",
            "- godput: {phase: after",
            'x.yaml:14: expect[0].godput: unknown measure; did you mean "goodput"?',
        ),
        (
            "{phase: after",
            "{phse: after",
            'x.yaml:14: expect[0].goodput.phse: unknown key; did you mean "phase"?',
        ),
        (", at_least: 0.99}", "}", "x.yaml:14: expect[0].goodput: needs at_least, at_most, or both"),
        (
            "{phase: after",
            "{from: 20, to: 90",
            "x.yaml:14: expect[0].goodput.to: second 90 is beyond the end; duration is 60",
        ),
        (
            "{phase: after",
            "{from: 60",
            "x.yaml:14: expect[0].goodput.from: second 60 is not before the end; duration is 60",
        ),
        ("{phase: after", "{phase: after, from: 3", "x.yaml:14: expect[0].goodput.phase: is a span already"),
        (
            "goodput: {phase",
            "load: {target: c, phase",
            "x.yaml:14: expect[0].load.target: unknown server; known here: a, b",
        ),
        (
            "within: 10",
            "within: 30",
            "expect[1].recovers: must leave something of the run to hold in: 30 + 30 seconds are not before the end; duration is 60",
        ),
        (
            "{constant: 20}",
            "{constant: }",
            "x.yaml:5: traffic[0].arrivals: needs exactly one of poisson, constant, ramp, steps, linear, trace, closed; it has none",
        ),
        ("{constant: 20}", "{closed: }", "x.yaml:5: traffic[0].arrivals: needs exactly one of "),
        (
            "{constant: 20}",
            "{closed: {clients: 3, think: 0}}",
            "x.yaml:5: traffic[0].arrivals.closed.think: needs a median of 1 µs or more",
        ),
        ("{constant: 20}", "{steps: ['05', '12']}", "x.yaml:5: traffic[0].arrivals.steps: must be a list of pairs"),
        ("{constant: 20}", "{steps: [[0, yes]]}", "x.yaml:5: traffic[0].arrivals.steps: must be a list of pairs"),
        ("{constant: 20}", "{ramp: '12'}", "x.yaml:5: traffic[0].arrivals.ramp: must be two numbers"),
        (
            "{constant: 20}",
            "{constant: 20}\n    prompt_tokens: 1.0e+12",
            "x.yaml:6: traffic[0].prompt_tokens: needs a median of 2,000,000 or less",
        ),
        (
            "{constant: 20}",
            "{constant: 20}\n    output_tokens: 1.0e+300",
            "x.yaml:6: traffic[0].output_tokens: needs a median of 2,000,000 or less",
        ),
        (
            "{constant: 20}",
            "{constant: 20}\n    clients: {retries: 1, backoff: {base: 10}}",
            "x.yaml:6: traffic[0].clients.backoff: base (10) must be at most cap (8)",
        ),
        ("name: b, slots: 10", "name: b, tokens: 1.0e+300", "x.yaml:8: fleet[1].tokens: needs a median of "),
        (
            "name: b, slots: 10",
            "name: b, capacity: {steps: }",
            "x.yaml:8: fleet[1].capacity: needs exactly one of steps, linear; it has none",
        ),
        (
            "kind: http_5xx, statuses: [503]",
            "kind: duplicate_events",
            "x.yaml:10: faults[0].kind: duplicate_events acts on streams only, and no traffic that it could hit has `stream: true`",
        ),
        ("at_least: 0.99", "at_least: 99", "x.yaml:14: expect[0].goodput.at_least: must be at most 1: it is a share"),
        ("at_least: 0.99", "at_least: -1", "x.yaml:14: expect[0].goodput.at_least: must be greater than or equal to 0"),
        (
            "goodput: {phase: after",
            "goodput: {traffic: x",
            "x.yaml:14: expect[0].goodput.traffic: unknown name of traffic; there is none",
        ),
        (
            "within: 10",
            "within: 10, window: 1.0e-9",
            "x.yaml:15: expect[1].recovers.window: must be greater than or equal to 0.001",
        ),
        (
            "attempt: 2",
            "attempt: '${X}'",
            "x.yaml:12: config.defaults.timeouts.attempt: must be a number",
        ),
        (
            "- recovers: {after: 30, within: 10}",
            "- recovers",
            "x.yaml:15: expect[1]: must be one measure and what it is",
        ),
    ],
)
def test_one_thing_wrong_is_told_where_it_stands(line: str, instead: str, problem: str) -> None:
    assert line in GOOD
    problems = told(GOOD.replace(line, instead))
    assert problem in "\n".join(problems)
    assert all(one.startswith("x.yaml:") for one in problems)


def test_an_empty_fleet_and_what_is_missing() -> None:
    assert told("title: x\nduration: 5\nfleet: []\n") == [
        "x.yaml:1: expect: is missing",
        "x.yaml:1: traffic: is missing",
        "x.yaml:3: fleet: needs at least one",
    ]


def test_all_that_is_wrong_is_told_at_once() -> None:
    broken = (
        GOOD.replace("at: 20", "at: 70")
        .replace("attempt: 2", "attempt: never")
        .replace("name: b", "nam: b")
        .replace("at_least: 0.99", "at_leest: 0.99")
        .replace("after: 30", "after: 55")
    )
    places = [problem.split(": ")[:2] for problem in told(broken)]
    assert places == [
        ["x.yaml:8", "fleet[1].nam"],
        ["x.yaml:8", "fleet[1].name"],
        ["x.yaml:10", "faults[0].at"],
        ["x.yaml:12", "config.defaults.timeouts.attempt"],
        ["x.yaml:14", "expect[0].goodput.at_leest"],
        ["x.yaml:15", "expect[1].recovers"],
    ]


def test_a_fault_under_another_that_hits_everything_could_never_act() -> None:
    second = "  - {at: 25, for: 5, target: a, kind: http_5xx, share: 0.5}\nconfig:"
    (problem,) = told(GOOD.replace("config:", second))
    assert problem.startswith(
        "x.yaml:11: faults[1]: cannot act: the fault at x.yaml:10 hits every attempt before it does,"
    )
    assert problem.endswith(" until second 30; begin then, or remove one")


def test_faults_are_judged_in_the_order_in_which_they_begin() -> None:
    """As the gateway gets them: the file may have another."""
    earlier = "  - {at: 15, for: 10, target: a, kind: stall}\nconfig:"
    (problem,) = told(GOOD.replace("config:", earlier))
    assert problem.startswith("x.yaml:10: faults[0]: cannot act: the fault at x.yaml:11 hits every attempt")


def test_a_fault_that_begins_as_another_ends_is_none_under_it() -> None:
    following = "  - {at: 30, for: 5, target: a, kind: stall}\nconfig:"
    assert plan(GOOD.replace("config:", following)).trigger == (20.0, 35.0)


def test_a_fault_for_a_model_that_nobody_asks_for_is_refused() -> None:
    targets = "targets: [{provider: a}, {provider: b}]"
    routes = f"routes: [{{model: m, {targets}}}, {{model: n, {targets}}}]"
    text = GOOD.replace("defaults: {timeouts: {attempt: 2}}", routes).replace("target: a", "target: a, route: n")
    assert told(text) == ["x.yaml:10: faults[0].route: no traffic asks for that model; asked for: m"]


def test_a_capacity_that_falls_in_a_straight_line_is_a_trigger_from_where_it_leaves_1() -> None:
    falling = "slots: 10, capacity: {linear: [[0, 1], [5, 1], [15, 0.5], [18, 1]]}"
    head, _, tail = GOOD.partition("faults:")
    text = head.replace("slots: 10", falling, 1) + "config:" + tail.partition("config:")[2]
    assert plan(text).trigger == (5.0, 18.0)


def test_a_capacity_that_stays_low_is_a_trigger_to_the_end() -> None:
    text = GOOD.replace("name: b, slots: 10", "name: b, slots: 10, capacity: {steps: [[0, 1], [50, 0.5]]}")
    assert plan(text.replace("phase: after", "phase: during")).trigger == (20.0, 60.0)


def test_a_second_fault_of_one_name_is_refused() -> None:
    both = GOOD.replace("statuses: [503]", "id: x").replace(
        "config:", "  - {at: 40, for: 5, target: b, kind: stall, id: x}\nconfig:"
    )
    assert told(both) == ['x.yaml:11: faults[1].id: a second fault "x"; the first is at x.yaml:10']


def test_more_faults_at_once_than_may_act_are_refused() -> None:
    many = "".join(f"  - {{at: 40, for: 5, target: b, kind: stall, share: 0.5, id: f{n}}}\n" for n in range(65))
    assert told(GOOD.replace("config:", f"{many}config:")) == [
        "x.yaml:75: faults[65].at: 64 faults act then already, and no more may"
    ]


def test_overrides_are_told_in_their_own_file() -> None:
    overrides = read("defaults:\n  breakr: {enabled: false}\n", "over.yaml", {}, "settings")
    assert told(GOOD, overrides=overrides) == ['over.yaml:2: defaults.breakr: unknown key; did you mean "breaker"?']


def test_overrides_cannot_bring_servers() -> None:
    overrides = read("providers: [{name: x, kind: mock}]\n", "over.yaml", {}, "settings")
    assert told(GOOD, overrides=overrides) == [
        "over.yaml:1: providers: the fleet is what there is; name its servers in `fleet`, and in `routes` if you need"
    ]


def test_a_scenario_takes_nothing_from_the_environment_and_overrides_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS", "5")
    (tmp_path / "x.yaml").write_text(GOOD.replace("title: One", "description: costs ${SECONDS}\ntitle: One"))
    (tmp_path / "over.yaml").write_text("defaults: {timeouts: {attempt: '${SECONDS}'}}\n")
    made = plan_of(tmp_path / "x.yaml", tmp_path / "over.yaml", {"SECONDS": "4"})
    assert made.settings.defaults.timeouts.attempt == pytest.approx(4)
    assert made.scenario.description == "costs ${SECONDS}"


def test_overrides_go_over_the_scenario_and_the_flag_over_both() -> None:
    overrides = read("defaults:\n  timeouts: {attempt: 3}\n  breaker: {enabled: true}\n", "over.yaml", {}, "settings")
    made = plan(GOOD, overrides=overrides, seed=11, protected=False)
    assert made.settings.defaults.timeouts.attempt == pytest.approx(3)
    assert not made.settings.defaults.breaker.enabled
    assert made.seed == made.settings.seed == 11


def test_without_protections_none_is_left_in_a_route_either() -> None:
    route = "routes: [{model: m, hedge: {after: p95}, breaker: {window: 5}, targets: [{provider: a, throttle: {window: 5}}, {provider: b}]}]"
    made = plan(GOOD.replace("defaults: {timeouts: {attempt: 2}}", route), protected=False)
    (route_settings,) = made.settings.routes
    assert route_settings.hedge is None
    assert route_settings.breaker.enabled is route_settings.targets[0].throttle.enabled is False
    defaults, shedding = made.settings.defaults, made.settings.shedding
    retry = defaults.retry
    parts = (retry.budget, retry.concurrency, retry.throttle, retry.dont_retry)
    assert not any(
        part.enabled for part in (*parts, defaults.breaker, defaults.throttle, defaults.concurrency, shedding)
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "x.yaml: is empty; it needs `title`, `duration`, `traffic`, `fleet` and `expect`"),
        (
            "- a\n",
            "x.yaml:1: must be a mapping, with keys such as `title`, `duration`, `traffic`, `fleet` and `expect`",
        ),
    ],
)
def test_what_is_no_scenario_at_all(text: str, problem: str) -> None:
    assert told(text) == [problem]
