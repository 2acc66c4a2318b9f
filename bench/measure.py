"""One measurement of each kind on a stand of running servers; each adds one sample a figure for every server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench import proc, wrk
from bench.figures import CONNECTIONS, PLAIN, STREAM_COUNTS, STREAMS, Samples
from bench.servers import DIRECT, ROOT, Running, Server, check_answer, running
from bench.upstreams import upstream

SAMPLE_SECONDS = 0.05
SETTLE_SECONDS = 0.5
WARM_STREAMS = 64
Recipe = Callable[[int, Path], Server]


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core does what. Only with three are there enough for the load and the upstream to have one each."""

    serving: int
    upstream: int
    loading: int

    @classmethod
    def of(cls, allowed: Collection[int]) -> Self:
        first, *others = sorted(allowed)
        return cls(first, others[0] if others else first, others[-1] if others else first)


@dataclass(frozen=True, slots=True)
class Stand:
    """``direct`` is the upstream; ``served`` are in front of it, made by ``recipes``. ``script`` is wrk's."""

    direct: Running
    served: tuple[Running, ...]
    recipes: tuple[Recipe, ...]
    cores: Cores
    folder: Path
    script: Path
    samples: Samples = field(default_factory=dict)

    @property
    def everyone(self) -> tuple[Running, ...]:
        return (self.direct, *self.served)

    def add(self, figure: str, name: str, value: float) -> None:
        self.samples.setdefault(figure, {}).setdefault(name, []).append(value)


@contextmanager
def stand(recipes: Sequence[Recipe], cores: Cores, folder: Path) -> Generator[Stand]:
    """All servers up at once, so that they are measured side by side; each has given a right answer."""
    with ExitStack() as stack:
        direct = stack.enter_context(running(upstream(folder), cores.upstream, folder))
        servers = [recipe(direct.server.port, folder) for recipe in recipes]
        served = tuple(stack.enter_context(running(server, cores.serving, folder)) for server in servers)
        for each in (direct, *served):
            check_answer(each.server)
        yield Stand(direct, served, tuple(recipes), cores, folder, wrk.write_script(folder))


def plain(here: Stand, connections: int, seconds: int) -> None:
    p50s = {}
    for each in here.everyone:
        name, processes = each.server.name, proc.tree(each.process)
        before = proc.cpu_seconds(processes)
        load = wrk.load(each.server, connections, seconds, here.cores.loading, here.script)
        cpu = proc.cpu_seconds(processes) - before
        here.add(f"requests_per_second_c{connections}", name, load.per_second)
        if name != DIRECT:
            here.add(f"cpu_us_per_request_c{connections}", name, cpu / load.requests * 1e6)
        p50s[name] = load.p50_us
    if connections == 1:
        for name, p50 in p50s.items():
            here.add("p50_us_c1", name, p50)
            if name != DIRECT:
                here.add("added_p50_ms_c1", name, (p50 - p50s[DIRECT]) / 1000)


def streams(here: Stand, count: int) -> None:
    for each in here.everyone:
        _streams_through(each, here, count)


def starts(here: Stand) -> None:
    """Others than those that run: each is started anew, asked nothing but whether it is ready, and ended."""
    for recipe in here.recipes:
        server = recipe(here.direct.server.port, here.folder)
        with running(server, here.cores.serving, here.folder) as started:
            here.add("ready_seconds", server.name, started.start_seconds)
            time.sleep(SETTLE_SECONDS)
            here.add("idle_mb", server.name, proc.resident_bytes(proc.tree(started.process)) / 1e6)


def warm_up(here: Stand, parts: Sequence[str]) -> None:
    """Everything that will be asked for has been done once, unmeasured and for all servers at the same time."""
    if PLAIN in parts:
        with ThreadPoolExecutor() as threads:
            loads = [
                threads.submit(wrk.load, each.server, max(CONNECTIONS), 1, here.cores.loading, here.script)
                for each in here.everyone
            ]
            for load in loads:
                load.result()
    if STREAMS in parts:
        clients = [(each, _stream_client(each.server, WARM_STREAMS, here.cores.loading)) for each in here.everyone]
        for each, client in clients:
            _streamed(client, each.server)


def _streams_through(each: Running, here: Stand, count: int) -> None:
    name, processes = each.server.name, proc.tree(each.process)
    resident = [proc.resident_bytes(processes)]
    before = proc.cpu_seconds(processes)
    client = _stream_client(each.server, count, here.cores.loading)
    came = _streamed(client, each.server, lambda: resident.append(proc.resident_bytes(processes)))
    cpu = proc.cpu_seconds(processes) - before
    here.add(f"stream_seconds_{count}", name, came["seconds"])
    here.add(f"chunks_per_read_{count}", name, came["chunks"] / came["reads"])
    if name != DIRECT:
        here.add(f"cpu_us_per_chunk_{count}", name, cpu / came["chunks"] * 1e6)
        # Servers keep what they once took, so only the most streams say something in every round.
        if count == max(STREAM_COUNTS):
            here.add(f"peak_mb_{count}", name, max(resident) / 1e6)


def _stream_client(server: Server, count: int, core: int) -> subprocess.Popen[str]:
    client = [sys.executable, "-m", "bench.streams", str(server.port), server.stream_path, str(count)]
    pinned = ["taskset", "-c", str(core), *client]
    return subprocess.Popen(pinned, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _streamed(
    client: subprocess.Popen[str], server: Server, meanwhile: Callable[[], None] | None = None
) -> dict[str, float]:
    """What the client found; ``meanwhile`` is called now and then. Ends the benchmark if a stream was not whole."""
    while True:
        try:
            output, errors = client.communicate(timeout=SAMPLE_SECONDS)
            break
        except subprocess.TimeoutExpired:
            if meanwhile is not None:
                meanwhile()
    if client.returncode != 0:
        raise SystemExit(f"{server.name}, streams: {errors.strip()[-2000:]}")
    found: dict[str, float] = json.loads(output)
    return found
