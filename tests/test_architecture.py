"""The house rules hold, and breaking one is seen."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("app", "router", "providers") for path in (ROOT / package).rglob("*.py"))
MAX_FILE, MAX_FUNCTION = 300, 50


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for package in ("app", "router", "providers"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def contracts(house: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--config", "pyproject.toml", "--no-cache"]
    return subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)


def test_the_import_contracts_hold(house: Path) -> None:
    assert contracts(house).returncode == 0


@pytest.mark.parametrize(
    ("place", "line", "named"),
    [
        ("providers/echo.py", "import router.dispatch", "providers.echo -> router.dispatch"),
        ("router/dispatch.py", "import app.wiring", "router.dispatch -> app.wiring"),
        ("router/reply.py", "import fastapi", "router.reply -> fastapi"),
        ("providers/http.py", "import structlog", "providers.http -> structlog"),
    ],
)
def test_a_deliberate_import_upward_fails(house: Path, place: str, line: str, named: str) -> None:
    path = house / place
    path.write_text(
        path.read_text().replace(
            "from __future__ import annotations\n", f"from __future__ import annotations\n{line}\n"
        )
    )
    done = contracts(house)
    assert done.returncode == 1
    assert named in done.stdout


@pytest.mark.parametrize(
    "line",
    ["import time\nnow = time.time()", "import time\nnow = time.monotonic()", "import random\nx = random.random()"],
)
def test_a_clock_or_dice_in_the_core_are_seen(house: Path, line: str) -> None:
    (house / "router" / "clock.py").write_text(line)
    command = [str(Path(sys.executable).parent / "ruff"), "check", "--select", "TID251", "router"]
    done = subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "banned" in done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= MAX_FILE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION, node.name
