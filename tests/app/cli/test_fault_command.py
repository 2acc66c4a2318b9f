"""breakwater fault, at a gateway that runs; what it holds and leaves behind is in tests/e2e/chaos."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from waiting import wait_until

from app.api.signed_fault import fault_in
from app.cli.main import main
from bench import stage
from providers.faults import FAULTS

CONFIG = {
    "providers": [{"name": name, "kind": "mock", "ttft": 0} for name in ("left", "right")],
    "routes": [{"model": "m", "targets": [{"provider": "left", "model": "a"}, {"provider": "right", "model": "b"}]}],
}
TOKEN = stage.TOKEN
Fault = Callable[..., Result]


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stage.Edge]:
    with stage.gateway(CONFIG, tmp_path_factory.mktemp("gateway")) as one:
        yield one


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Fault:
    """``offline(*arguments)``: the environment is empty."""
    for name in os.environ:
        if name not in ("PATH", "HOME"):
            monkeypatch.delenv(name)

    def run(*arguments: str, **environ: str) -> Result:
        result = CliRunner().invoke(main, ["fault", *arguments], env=environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        assert "Traceback" not in result.output
        assert TOKEN not in result.output
        return result

    return run


@pytest.fixture
def fault(offline: Fault, edge: stage.Edge) -> Iterator[Fault]:
    """``fault(command, *arguments)`` at the gateway, whose token is in the environment. No fault is left behind."""
    url = f"http://127.0.0.1:{edge.admin_port}"

    def run(command: str, *arguments: str) -> Result:
        return offline(command, *arguments, "--url", url, BREAKWATER_ADMIN__TOKEN=TOKEN)

    yield run
    run("clear", "--all")


def listed(fault: Fault) -> Any:
    return json.loads(fault("ls", "--json").output)


def test_what_begins_is_told_and_listed(fault: Fault) -> None:
    result = fault("add", "http_5xx", "--target", "left", "--ttl", "30", "--share", "0.5", "--set", "statuses=[503]")
    assert result.exit_code == 0, result.output
    (one,) = listed(fault)["faults"]
    assert result.output.splitlines() == [
        f"{one['id']}  http_5xx acts on left/a for 30 s",
        "  0.5 of attempts; statuses=[503] retry_after=null",
        f"  end it: breakwater fault clear {one['id']}",
    ]
    table = fault("ls").output.splitlines()
    assert table[0].split() == ["fault", "kind", "targets", "whom", "left", "injected", "active", "spared", "knobs"]
    assert re.match(rf"{one['id']} +http_5xx +left/a +0\.5 of attempts +(30|29) s +0 +0 +0 +statuses=\[503\]", table[1])


def test_all_that_can_be_asked_arrives(fault: Fault) -> None:
    arguments = ["--target", "left,right/b", "--ttl", "20", "--share", "0.25", "--per", "session", "--seed", "7"]
    arguments += ["--route", "m", "--reason", "drill 7", "--max-active", "3", "--dead-man", "9", "--json"]
    arguments += ["--guard-availability", "0.9", "--guard-control", "0.99", "--set", "delay={lognormal: [2, 0.5]}"]
    one = json.loads(fault("add", "slow_ttft", *arguments).output)
    assert one["targets"] == ["left/a", "right/b"]
    assert (one["share"], one["per"], one["seed"], one["route"], one["reason"]) == (0.25, "session", 7, "m", "drill 7")
    assert one["guard"] == {"availability": 0.9, "control": 0.99, "window": 30.0, "min_calls": 20}
    assert one["knobs"] == {"delay": {"lognormal": [2.0, 0.5]}, "factor": None}
    assert 8 < one["alive_s"] <= 9


def test_ended_by_name_and_all_at_once(fault: Fault) -> None:
    ids = [
        json.loads(fault("add", "http_5xx", "--target", target, "--share", "0.1", "--json").output)["id"]
        for target in ("left", "left", "right")
    ]
    assert fault("clear", ids[0]).output == f"Ended: {ids[0]}.\n"
    assert fault("clear", "--all").output == f"Ended: {ids[1]}, {ids[2]}.\n"
    assert fault("clear", "--all").output == "No fault acts.\n"
    output = fault("ls").output
    assert output.startswith("No fault acts.\n")
    assert [line.split()[0] for line in output.splitlines()[3:6]] == [ids[2], ids[1], ids[0]]
    assert output.count("stopped by hand") >= 3


def test_the_kinds_need_no_gateway(offline: Fault) -> None:
    result = offline("ls", "--kinds")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()[1:]]
    assert [(line[0], line[1]) for line in lines] == [(row.number, kind) for kind, row in FAULTS.items()]
    assert "retry_after=1.0 form=seconds" in result.output
    told = json.loads(offline("ls", "--kinds", "--json").output)
    assert told["stall"]["knobs"] == {"after": 3, "hold": 60.0, "pings": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http_6xx", "--target", "left"], "says no (400): kind: unknown kind of fault; the kinds are: auth_revoked"),
        (["http_5xx", "--target", "lefd"], "target: there is no target 'lefd'; did you mean \"left\"?"),
        (["http_5xx", "--target", ","], "target: "),
        (["http_5xx", "--target", "left", "--share", "1.5"], "share: must be less than or equal to 1"),
        (["http_5xx", "--target", "left", "--ttl", "901"], "ttl: must be at most 900 s (`chaos.max_ttl`)"),
        (["http_5xx", "--target", "left", "--set", "status=[503]"], 'status: unknown key; did you mean "statuses"?'),
        (["http_5xx", "--target", "left", "--set", "statuses=[200]"], "numbers from 500 to 599"),
        (["http_5xx", "--target", "left", "--set", "statuses"], "--set 'statuses' is not KNOB=VALUE."),
        (["http_5xx", "--target", "left", "--set", "statuses=["], "--set statuses: '[' is not YAML."),
        (
            ["http_5xx", "--target", "left", "--set", "retry_after=2020-01-01"],
            "'2020-01-01' is nothing that a knob can",
        ),
        (["http_5xx", "--target", "left", "--set", "retry_after=.nan"], "'.nan' is nothing that a knob can be"),
        (["http_5xx", "--target", "left", "--set", "statuses=&a [*a]"], "'&a [*a]' is nothing that a knob can be"),
        (["http_5xx", "--target", "left", "--set", "share=1"], "--set share: is no knob; it has an option of its own."),
        (["http_5xx", "--target", "left", "--hold", "--dead-man", "0.1"], "dead_man: must be greater than or equal to"),
    ],
)
def test_what_could_not_act_is_said_with_what_is_allowed(fault: Fault, arguments: list[str], words: str) -> None:
    result = fault("add", *arguments)
    assert result.exit_code == 1
    assert words in result.output
    assert listed(fault)["faults"] == []


def test_clearing_what_does_not_act(fault: Fault) -> None:
    result = fault("clear", "nothing/at all")
    assert result.exit_code == 1
    assert "says no (404): no fault 'nothing/at all' acts; these do: none." in result.output


@pytest.mark.parametrize("arguments", [[], ["--all", "one"]], ids=["none", "both"])
def test_clear_says_which_or_all(fault: Fault, arguments: list[str]) -> None:
    result = fault("clear", *arguments)
    assert result.exit_code == 1
    assert "Give their ids, or --all." in result.output


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["ls"], 1, "The admin API needs its token."),
        (["ls", "--token", "x", "--url", "127.0.0.1:8001"], 1, "is not an address"),
        (["ls", "--token", "x", "--url", "http://["], 1, "is not an address"),
        (["ls", "--token", "x", "--url", "http://two words"], 1, "is not an address"),
        (["ls", "--token", "x", "--url", "http://here:port"], 1, "is not an address"),
        (["ls", "--token", "x", "--url", "http://127.0.0.1:1"], 1, "No answer from http://127.0.0.1:1"),
        (["ls", "--token", "ü"], 1, "printable ASCII"),
        (["add", "http_5xx"], 2, "--target"),
        (["add"], 2, "KIND"),
    ],
)
def test_without_a_gateway_or_a_token(offline: Fault, arguments: list[str], status: int, words: str) -> None:
    result = offline(*arguments)
    assert result.exit_code == status
    assert words in result.output


# --- sign -------------------------------------------------------------------------------------------------------


def test_a_header_is_made_without_a_gateway(offline: Fault) -> None:
    result = offline("sign", "F03", "--target", "left", "--set", "statuses=[503]", "--token", "a-secret-token")
    assert result.exit_code == 0
    name, _, value = result.output.strip().partition(": ")
    assert name == "X-Fault"
    asked = fault_in(value.encode(), "a-secret-token", 0)
    assert asked == {"kind": "F03", "target": ["left"], "ttl": 60.0, "statuses": [503]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http_6xx", "--target", "left", "--token", "x"], "kind: unknown kind of fault"),
        (
            ["truncate", "--target", "left", "--set", "form=cutt", "--token", "x"],
            "form: must be 'cut', 'eof' or 'clean'",
        ),
        (["truncate", "--target", "left"], "needs its token"),
    ],
)
def test_no_header_is_made_of_what_could_not_act(offline: Fault, arguments: list[str], words: str) -> None:
    result = offline("sign", *arguments)
    assert result.exit_code == 1
    assert words in result.output


# --- hold -------------------------------------------------------------------------------------------------------


def test_held_until_its_time_is_over(fault: Fault) -> None:
    result = fault("add", "http_5xx", "--target", "left", "--ttl", "1.2", "--hold", "--dead-man", "1")
    assert result.exit_code == 0, result.output
    assert "it ends with this command too: Ctrl-C" in result.output
    assert re.search(r"http_5xx-\d+ has ended: its time was over; injected 0, active 0\.", result.output)


def test_ended_by_somebody_else_while_it_is_held(fault: Fault, edge: stage.Edge) -> None:
    def clear() -> None:
        wait_until(lambda: bool(_faults(edge)), 10, lambda: "no fault acts")
        stage.ask(edge.admin_port, "/admin/faults", "DELETE", TOKEN)

    other = Thread(target=clear)
    other.start()
    result = fault("add", "http_5xx", "--target", "left", "--hold", "--dead-man", "1")
    other.join()
    assert result.exit_code == 0, result.output
    assert "stopped by hand" in result.output


def test_a_gateway_that_has_gone_is_said(offline: Fault, tmp_path: Path) -> None:
    with ExitStack() as stack:
        edge = stack.enter_context(stage.gateway(CONFIG, tmp_path))

        def leave() -> None:
            wait_until(lambda: bool(_faults(edge)), 10, lambda: "no fault acts")
            stack.close()

        other = Thread(target=leave)
        other.start()
        url = f"http://127.0.0.1:{edge.admin_port}"
        held = ["--hold", "--dead-man", "1", "--url", url]
        result = offline("add", "http_5xx", "--target", "left", *held, BREAKWATER_ADMIN__TOKEN=TOKEN)
        other.join()
    assert result.exit_code == 1
    assert "No answer for 1 s" in result.output
    assert "the fault has ended by itself" in result.output


def _faults(edge: stage.Edge) -> Any:
    return stage.ask(edge.admin_port, "/admin/faults", token=TOKEN)["faults"]
