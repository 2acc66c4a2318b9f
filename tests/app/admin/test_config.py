"""The settings in force, without their secrets; and checking a configuration that somebody sends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.admin.config import redacted
from app.admin.given import MAX_BYTES, Environment
from app.cli.main import main
from app.settings import load
from tests.app.admin.conftest import CONFIG, TOKEN, Desk, error_of

GOOD = """
providers: [{name: echo, kind: echo}]
routes: [{model: m, targets: [{provider: echo}]}]
"""


async def test_the_settings_as_they_would_be_written(desk: Desk) -> None:
    told = await desk.get("/admin/config")
    assert told["generation"] == 1
    assert len(told["hash"]) == 16
    settings = told["settings"]
    assert settings["routes"][0]["targets"][0]["weight"] == 3
    assert (
        settings["providers"][0] | {"name": "left", "kind": "mock", "ttft": 0.0, "tokens": 5.0}
        == settings["providers"][0]
    )
    assert settings["providers"][2]["tokens"] == {"uniform": [12.0, 40.0]}
    assert settings["server"]["port"] == 8000


async def test_s28_no_secret_is_in_it(desk: Desk) -> None:
    text = (await desk.admin("GET", "/admin/config")).text
    assert "canary" not in text
    assert TOKEN not in text
    told = json.loads(text)["settings"]
    cloud = told["providers"][3]
    assert (cloud["api_key"], cloud["headers"]) == ("***", {"X-Org": "***"})
    assert told["admin"]["token"] == "***"


def settings_of(folder: Path, text: str) -> Any:
    (folder / "breakwater.yaml").write_text(text)
    return load(None, {}, folder).settings


def test_no_secret_is_shown_as_none(tmp_path: Path) -> None:
    shown = redacted(settings_of(tmp_path, GOOD + "admin: {}\n"))
    assert shown["admin"]["token"] is None


async def test_another_secret_is_the_same_configuration(desk: Desk, tmp_path: Path) -> None:
    other = settings_of(tmp_path, CONFIG.replace("sk-canary-api-key", "sk-another-key"))
    assert redacted(other) == (await desk.get("/admin/config"))["settings"]


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("echo}]\n", "ecko}]\n"), "x: [", "", GOOD + "seed: zero\n"])
async def test_check_says_what_the_command_says(
    desk: Desk, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").write_text(text)
    told = (await desk.admin("POST", "/admin/config/check", {"config": text})).json()
    result = CliRunner().invoke(main, ["check", "config", "--json"])
    assert told == json.loads(result.output)


async def test_check_changes_nothing(desk: Desk) -> None:
    before = desk.gateway.routes
    assert (await desk.admin("POST", "/admin/config/check", {"config": GOOD})).json() == {
        "usable": True,
        "problems": [],
    }
    assert desk.gateway.routes is before


async def test_what_the_environment_gave_does_not_come_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever has the token could read any variable of the process, by giving it the place of a name."""
    monkeypatch.setenv("CLOUD_SECRET", "sk-canary-env")
    text = "providers: [{name: '${CLOUD_SECRET}', kind: echo}]\nroutes: [{model: m, targets: [{provider: echo}]}]\n"
    answer = await desk.admin("POST", "/admin/config/check", {"config": text})
    assert "canary" not in answer.text
    assert "known here: ${CLOUD_SECRET}" in answer.text
    sound = text.replace("provider: echo", "provider: '${CLOUD_SECRET:-x}'")
    answer = await desk.admin("POST", "/admin/explain", {"model": "m", "config": sound})
    assert answer.json()["target"] == "${CLOUD_SECRET}/m"
    assert "canary" not in answer.text


def test_what_was_taken_is_masked_wherever_it_is() -> None:
    environ = Environment({"A": "long-secret", "B": "long-secret-too", "SHORT": "5", "UNUSED": "never-asked-for"})
    for name in ("A", "B", "SHORT", "NOT_THERE"):
        environ.get(name)
    said = {"long-secret": ["x long-secret-too y", 5, None, "5", "never-asked-for"], "a": {"b": "long-secret"}}
    assert environ.masked(said) == {"${A}": ["x ${B} y", 5, None, "5", "never-asked-for"], "a": {"b": "${A}"}}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "config"),
        ({"config": 5}, 400, "config"),
        ({"config": None}, 400, "config"),
        ({"config": "x", "file": "y"}, 400, "file"),
        ({"config": "#" * (MAX_BYTES + 1)}, 400, "config"),
        ({"config": "\\" * 3 * MAX_BYTES}, 413, None),
    ],
)
async def test_a_body_that_is_none(desk: Desk, body: Any, status: int, param: str | None) -> None:
    answer = await desk.admin("POST", "/admin/config/check", body)
    assert answer.status_code == status
    assert error_of(answer)["param"] == param


async def test_a_secret_in_what_was_sent_does_not_come_back(desk: Desk) -> None:
    text = GOOD.replace("kind: echo}", "kind: openai, api_key: [sk-canary-sent]}")
    answer = await desk.admin("POST", "/admin/config/check", {"config": text})
    assert answer.json()["usable"] is False
    assert "canary" not in answer.text


async def test_the_environments_settings_count_as_they_do_for_serve(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "BREAKWATER_SERVER__PORT", "none")
    told = (await desk.admin("POST", "/admin/config/check", {"config": GOOD})).json()
    assert [one["where"] for one in told["problems"]] == ["environment BREAKWATER_SERVER__PORT"]
