"""The docs are true: every command in them runs, every configuration loads, every link leads somewhere."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.settings import load
from providers import Endpoint, Request

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.split(" # ")[0].strip() for line in lines if line.strip()]


OURS = ".venv/bin/breakwater "
COMMANDS = [(page.name, command) for page in PAGES for command in commands(page)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(("page", "command"), [row for row in COMMANDS if row[1].startswith("curl")])
def test_every_curl_line_gets_an_answer(page: str, command: str, demo: Any) -> None:
    words = shlex.split(command.replace("http://127.0.0.1:8000", demo.url))
    done = subprocess.run([*words, "--fail"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("page", "command"), [row for row in COMMANDS if row[1].startswith(OURS)])
def test_every_command_of_ours_works_on_the_configuration_of_the_readme(
    page: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / "breakwater.yaml").write_text(blocks(ROOT / "README.md", "yaml")[0])
    words = [sys.executable, "-m", "app.cli.main", *shlex.split(command.removeprefix(OURS))]
    done = subprocess.run(
        words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{page}: {command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(("page", "command"), [row for row in COMMANDS if not row[1].startswith(("curl", OURS))])
def test_every_other_command_is_a_make_target(page: str, command: str) -> None:
    tool, *targets = command.split()
    assert tool == "make"
    for target in targets:
        assert re.search(rf"^{target}:.*## ", MAKEFILE, flags=re.MULTILINE), f"{page}: make {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_configuration_loads(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        (tmp_path / "breakwater.yaml").write_text(block)
        assert load(None, {}, tmp_path).settings.routes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


async def test_the_provider_in_the_guide_is_a_provider() -> None:
    example = max(blocks(ROOT / "docs" / "adding-a-provider.md", "python"), key=len)
    names: dict[str, Any] = {"__name__": "parrot_provider"}
    exec(compile(example, "adding-a-provider.md", "exec", dont_inherit=True), names)
    kind = names["KIND"]
    provider = kind.build("polly", kind.options(phrase="Hello!"))
    request = Request("r1", Endpoint.CHAT, b"{}", {"messages": []}, stream=False, headers={})
    chunks = [chunk async for chunk in await provider.open(request, "m", 1.0)]
    assert json.loads(chunks[0].raw)["choices"][0]["message"]["content"] == "Hello!"


def test_the_help_lists_every_target_that_is_meant_for_people() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("run", "demo", "test", "check", "bench", "local-model", "help"):
        assert re.search(rf"make {target}\b", done.stdout), target
