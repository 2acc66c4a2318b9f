"""The docs are true: every command in them runs, every configuration loads, every link leads somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from waiting import free_port, refuses, wait_until

from app.observability.metrics import GEN_AI, Metrics
from app.settings import load
from app.wiring import build
from providers import Endpoint, Request
from router.errors import Shed
from router.policies.throttle import THROTTLED
from router.select.choose import AT_LIMIT, EJECTED, RATE_LIMITED

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
ADMIN = ROOT / "docs" / "ADMIN.md"
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.split(" # ")[0].strip() for line in lines if line.strip()]


OURS = ".venv/bin/breakwater "
COMMANDS = [(page.name, command) for page in PAGES for command in commands(page)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(
    ("page", "command"), [row for row in COMMANDS if row[1].startswith("curl") and row[0] != ADMIN.name]
)
def test_every_curl_line_gets_an_answer(page: str, command: str, demo: Any) -> None:
    words = shlex.split(command.replace("http://127.0.0.1:8000", demo.url))
    done = subprocess.run([*words, "--fail"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


TOKEN = "the-token-of-the-docs"


@pytest.fixture
def operated(tmp_path: Path) -> Iterator[dict[str, str]]:
    """`breakwater serve` with nothing set but its ports and its admin token. What the page says, and what that is here."""
    log, api, admin = tmp_path / "log", free_port(), free_port()
    server = {"PORT": api, "ADMIN_PORT": admin, "METRICS_PORT": 0}
    environment = {f"BREAKWATER_SERVER__{name}": str(port) for name, port in server.items()}
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "BREAKWATER_ADMIN__TOKEN": TOKEN}
    command = [sys.executable, "-m", "app.cli.main", "serve"]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: not refuses(api) and not refuses(admin), 20, log.read_text)
        yield {"127.0.0.1:8000": f"127.0.0.1:{api}", "127.0.0.1:8001": f"127.0.0.1:{admin}", "$ADMIN_TOKEN": TOKEN}
    finally:
        process.terminate()
        assert process.wait(10) == 0, log.read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_examples_of_the_admin_api_work_one_after_the_other(operated: dict[str, str]) -> None:
    lines = [line for line in commands(ADMIN) if line.startswith("curl")]
    assert lines
    for line in lines:
        command = line
        for said, here in operated.items():
            command = command.replace(said, here)
        never_ends = "/admin/events" in line
        words = [*shlex.split(command), "--fail", "--max-time", "1" if never_ends else "30"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == (28 if never_ends else 0), f"{line}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip(), line


def test_every_path_of_the_admin_api_is_on_its_page(operated: dict[str, str]) -> None:
    with urllib.request.urlopen(f"http://{operated['127.0.0.1:8001']}/", timeout=5) as answer:
        links = json.load(answer)["links"]
    page = ADMIN.read_text()
    told = [re.sub(r"\{\w+_id\}", "{id}", link) for link in links]
    assert [link for link in told if f"`{link}`" not in page] == []


OPERATING = re.compile(re.escape(OURS) + r"fault (add|clear|ls$)")
FAILING = " --no-protections"  # what is shown there is that it fails


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(OPERATING.match, commands(page)))], ids=lambda page: page.name
)
def test_the_commands_for_a_gateway_that_runs_work_one_after_the_other(page: Path, operated: dict[str, str]) -> None:
    """What is held would be so for minutes."""
    admin = ["--url", f"http://{operated['127.0.0.1:8001']}", "--token", TOKEN]
    for line in filter(OPERATING.match, commands(page)):
        words = shlex.split(re.sub(r"--ttl \d+(.*--hold)", r"--ttl 1\1", line).removeprefix(OURS))
        command = [sys.executable, "-m", "app.cli.main", *words, *admin]
        done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip(), line


@pytest.mark.parametrize(
    ("page", "command"), [row for row in COMMANDS if row[1].startswith(OURS) and not OPERATING.match(row[1])]
)
def test_every_command_of_ours_works_on_the_configuration_of_the_readme(
    page: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / "breakwater.yaml").write_text(blocks(ROOT / "README.md", "yaml")[0])
    words = [sys.executable, "-m", "app.cli.main", *shlex.split(command.removeprefix(OURS))]
    done = subprocess.run(
        words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == (1 if command.endswith(FAILING) else 0), f"{page}: {command}\n{done.stdout}{done.stderr}"


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


def test_every_metric_is_on_its_page_and_no_other(tmp_path: Path) -> None:
    metrics = Metrics(build(load(None, {}, tmp_path).settings))
    families = {f"{each.name}_total" if each.kind == "counter" else each.name: each for each in metrics.families}
    page = (ROOT / "docs" / "METRICS.md").read_text()
    rows = dict(re.findall(r"^\| `((?:breakwater|gen_ai)_\w+)` \| (.*?) \|", page, flags=re.MULTILINE))
    assert rows.keys() == families.keys()
    for name, labels in rows.items():
        named = {"gen_ai_*" if label in GEN_AI and label != "target" else label for label in families[name].labels}
        assert set(re.findall(r"`([\w*]+)`", labels)) == named, name


def test_every_label_of_a_refusal_is_on_the_page() -> None:
    policies = "".join(path.read_text() for path in (ROOT / "router" / "policies").glob("*.py"))
    labels = {*Shed.CAUSES, *EJECTED, AT_LIMIT, RATE_LIMITED, THROTTLED, *re.findall(r'Refused\("(\w+)"', policies)}
    page = (ROOT / "docs" / "RESILIENCE.md").read_text()
    assert [label for label in sorted(labels) if f"`{label}`" not in page] == []


async def test_the_provider_in_the_guide_is_a_provider() -> None:
    example = max(blocks(ROOT / "docs" / "adding-a-provider.md", "python"), key=len)
    names: dict[str, Any] = {"__name__": "parrot_provider"}
    exec(compile(example, "adding-a-provider.md", "exec", dont_inherit=True), names)
    kind = names["KIND"]
    provider = kind.build("polly", kind.options(phrase="Hello!"))
    request = Request("r1", Endpoint.CHAT, b"{}", {"messages": []}, stream=False, headers={})
    chunks = [chunk async for chunk in await provider.open(request, "m", 1.0)]
    assert json.loads(chunks[0].raw)["choices"][0]["message"]["content"] == "Hello!"


def test_the_policy_in_the_guide_passes_the_test_in_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, its_test, rows = blocks(ROOT / "docs" / "adding-a-policy.md", "python")
    module = ModuleType("router.policies.pace")
    exec(compile(policy, "adding-a-policy.md", "exec", dont_inherit=True), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names: dict[str, Any] = {"__name__": "test_pace"}
    exec(compile(its_test, "adding-a-policy.md", "exec", dont_inherit=True), names)
    tests = [each for name, each in names.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
    wiring = (ROOT / "app" / "wiring.py").read_text()
    assert [row.strip() for row in rows.splitlines() if row.strip() not in wiring] == [
        "Pace(per_second=10.0, burst=5),"
    ]


def test_the_experiment_in_the_guide_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks(ROOT / "docs" / "simulation.md", "python")
    exec(compile(example, "simulation.md", "exec", dont_inherit=True), {"__name__": "experiment"})
    assert "served before it 100%, at the end 100%" in capsys.readouterr().out


def test_the_help_lists_every_target_that_is_meant_for_people() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("run", "demo", "test", "check", "bench", "local-model", "published", "help"):
        assert re.search(rf"make {target}\b", done.stdout), target
