from __future__ import annotations

import gc
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.dependencies import models as dependencies
from waiting import free_port, wait_until

ROOT = Path(__file__).parents[1]


def pytest_collection_finish() -> None:
    """Thousands of tests are there from here on: those that look for what was left behind need not walk all of them."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """FastAPI remembers the latest endpoints that it has looked at, and each leads to a whole gateway. One process has one
    of them, but tests have thousands: a walk of the garbage collector over all of those is a pause of a second.
    """
    if nextitem is None or nextitem.path != item.path:
        for remembered in vars(dependencies).values():
            if hasattr(remembered, "cache_clear"):
                remembered.cache_clear()


@dataclass(frozen=True)
class Demo:
    url: str


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`breakwater serve` with nothing set, as a newcomer starts it."""
    port = free_port()
    folder = tmp_path_factory.mktemp("demo")
    any_port = {"BREAKWATER_SERVER__METRICS_PORT": "0", "BREAKWATER_SERVER__ADMIN_PORT": "0"}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **any_port}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "app.cli.main", "serve", "--port", str(port)]
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{url}/health"), 20, (folder / "log").read_text)
        yield Demo(url)
    finally:
        server.terminate()
        assert server.wait(10) == 0, (folder / "log").read_text()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False
