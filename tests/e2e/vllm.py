"""A real vLLM for the end-to-end tests: the one that listens already, or one of our own from ``.venv-vllm``."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from waiting import free_port, wait_until

from scripts.vllm_serve import ALIAS, AT_ONCE, URL, answers, command, end, environment
from tests.e2e.harness import ROOT, Call, chat, eventually, get

INSTALLED = ROOT / ".venv-vllm"
KEY = "sk-a-key-for-tests"
START_SECONDS = 240
ENDLESS: dict[str, Any] = {"max_tokens": 900, "ignore_eos": True}


@dataclass(frozen=True, slots=True)
class Vllm:
    """``url`` has no path; ``pid`` is of one of our own."""

    url: str
    key: str | None = field(repr=False)
    pid: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def call(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Call:
        """A chat, not through any gateway."""
        return Call(f"{self.url}/v1/chat/completions", body, {**self.headers, **(headers or {})})

    async def count(self, metric: str) -> int:
        """The sum of a metric's samples."""
        page = (await get(f"{self.url}/metrics")).body.decode()
        samples = re.findall(rf"^{re.escape(metric)}(?:{{.*}})? (\S+)$", page, flags=re.MULTILINE)
        assert samples, f"vLLM has no metric {metric}"
        return int(sum(map(float, samples)))

    async def running(self) -> int:
        return await self.count("vllm:num_requests_running")

    async def idle(self) -> bool:
        return await self.running() + await self.count("vllm:num_requests_waiting") == 0

    @asynccontextmanager
    async def full(self) -> AsyncGenerator[Callable[[], None]]:
        """While this lasts, or until what it gives is called, nothing else runs: what comes in waits."""
        calls: list[Call] = []

        async def all_run() -> bool:
            return await self.running() == len(calls)

        def free() -> None:
            for call in calls:
                call.hang_up()

        async with AsyncExitStack() as stack:
            for _ in range(AT_ONCE):
                call = self.call(chat(ALIAS, stream=True, **ENDLESS))
                calls.append(await stack.enter_async_context(call))
                await eventually(all_run, within=20)
            yield free

    @contextmanager
    def stalled(self) -> Generator[None]:
        """Its server lives on and its model does not: no token comes while this lasts."""
        if self.pid is None:
            pytest.skip("only a vLLM of our own is stalled")
        in_its_group = (path.parent for path in Path("/proc").glob("[0-9]*/comm") if _group(path) == self.pid)
        (worker,) = (int(folder.name) for folder in in_its_group if "Worker" in (folder / "comm").read_text())
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)


def _group(path: Path) -> int | None:
    try:
        return os.getpgid(int(path.parent.name))
    except ProcessLookupError:
        return None


@contextmanager
def vllm_at_hand(folder: Path) -> Generator[Vllm]:
    """Skips the test if there is none."""
    given = os.environ.get("BREAKWATER_VLLM_URL")
    url = (given or URL).rstrip("/")
    if answers(url):
        yield Vllm(url, os.environ.get("VLLM_API_KEY"))
        return
    if given:
        pytest.fail(f"BREAKWATER_VLLM_URL is {given}, and no vLLM answers there")
    if not (INSTALLED / ".ready").exists():
        pytest.skip(f"no vLLM answers at {url}, and none is installed: make vllm first (3 GB)")
    port = free_port()
    with (folder / "vllm.log").open("wb") as log:
        server = subprocess.Popen(
            command(INSTALLED, port),
            env=environment({**os.environ, "VLLM_API_KEY": KEY}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    ours = Vllm(f"http://127.0.0.1:{port}", KEY, pid=server.pid)

    def ready() -> bool:
        assert server.poll() is None, said()
        return answers(ours.url)

    def said() -> str:
        return (folder / "vllm.log").read_text(errors="replace")[-3000:]

    try:
        wait_until(ready, START_SECONDS, said)
        yield ours
    finally:
        end(server)


async def pause_until(moment: float) -> None:
    """By the loop's clock."""
    loop = asyncio.get_running_loop()
    await eventually(lambda: loop.time() >= moment, within=moment - loop.time() + 1)
