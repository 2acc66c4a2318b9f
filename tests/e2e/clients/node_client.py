"""The official Node client: installed on demand, once, as its lock file says, and run in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients.upstream import CONTENT
from tests.e2e.harness import Gateway

FOLDER = Path(__file__).parent / "node"
INSTALL = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "ECONNRESET")


class Node:
    """Skips the test, and says why, if there is no node or nowhere to install from."""

    def __init__(self) -> None:
        program = shutil.which("node")
        if program is None or shutil.which("npm") is None:
            pytest.skip("node and npm are not installed, so the official Node client is not tested")
        self._program = program
        with (FOLDER / "package.json").open() as lock:  # another session may be at it
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _installed():
                _install()

    async def play(self, gateway: Gateway, more: Mapping[str, str]) -> dict[str, Any]:
        """What scenarios.mjs prints. ``more`` goes into its environment and says what it is to do."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        environment |= {"BASE_URL": f"{gateway.url}/v1", "CONTENT": base64.b64encode(CONTENT).decode(), **more}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            self._program, "scenarios.mjs", cwd=FOLDER, env=environment, stdout=pipe, stderr=pipe
        )
        try:
            async with asyncio.timeout(60):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, errors.decode()
        results: dict[str, Any] = json.loads(output)
        return results


def _installed() -> bool:
    package = FOLDER / "node_modules" / "openai" / "package.json"
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]["openai"]
    return package.exists() and json.loads(package.read_text())["version"] == wanted


def _install() -> None:
    done = subprocess.run(INSTALL, cwd=FOLDER, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode and any(word in done.stderr for word in NO_NETWORK):
        pytest.skip("npm reaches no registry, so the official Node client is not tested")
    assert done.returncode == 0, done.stderr
