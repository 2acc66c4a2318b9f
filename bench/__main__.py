"""make bench: requests/s of the running gateway, beside its upstream and the raw path. Ratios, not promises.

The server under test has one core, the load (wrk) and the upstream share another. Each path is measured in
turn, several rounds over, so that a noisy machine is noisy for all of them; medians and spreads are printed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "3"))
CONCURRENCIES = (1, 64)
RAW = "raw ASGI + aiohttp"
BODY = '{"model":"m","messages":[{"role":"user","content":"Say hello to the harbour, please, in one sentence."}]}'
LUA = f"""wrk.method = "POST"
wrk.body = '{BODY}'
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency, requests)
  io.write(string.format("RESULT %f %f %d\\n", summary.requests / summary.duration * 1e6, latency:percentile(50),
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"""
CONFIG = """
providers: [{{name: up, kind: openai-compatible, base_url: "http://127.0.0.1:{port}/v1"}}]
routes: [{{model: m, targets: [{{provider: up}}]}}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(core: int, port: int, *command: str, **environment: str) -> Generator[None]:
    """A server pinned to ``core``, awaited until its port answers."""
    pinned = ["taskset", "-c", str(core), sys.executable, *command]
    server = subprocess.Popen(pinned, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{command} did not start")
        yield
    finally:
        server.terminate()
        server.wait(10)


def measure(core: int, script: str, port: int, connections: int) -> tuple[float, float]:
    """Requests/s and the median latency in microseconds. Any error ends the benchmark."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    wrk = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", script, url]
    output = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\S+) (\S+) (\d+)", output)
    if found is None or int(found[3]):
        raise SystemExit(f"wrk saw errors at {url}:\n{output}")
    return float(found[1]), float(found[2])


@contextmanager
def servers(loading: int, served: int) -> Generator[dict[str, int]]:
    """The paths to measure, by their ports: all up at once, so that they are measured side by side."""
    upstream, raw, gateway = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "bench.yaml").write_text(CONFIG.format(port=upstream))
        asgi = ["-m", "uvicorn", "bench.raw:app", "--port", str(raw), "--loop", "uvloop", "--http", "httptools"]
        quiet = ["--no-access-log", "--lifespan", "off", "--log-level", "warning"]
        serve = ["-m", "app.cli.main", "serve", "--config", str(folder / "bench.yaml"), "--port", str(gateway)]
        url = f"http://127.0.0.1:{upstream}/v1/chat/completions"
        stack.enter_context(running(loading, upstream, str(HERE / "upstream.py"), str(upstream)))
        stack.enter_context(running(served, raw, *asgi, *quiet, BENCH_UPSTREAM=url))
        stack.enter_context(running(served, gateway, *serve))
        yield {"upstream itself": upstream, RAW: raw, "Breakwater": gateway}


def main() -> None:
    if shutil.which("wrk") is None or shutil.which("taskset") is None:
        raise SystemExit("make bench needs wrk and taskset (Debian: apt-get install wrk util-linux)")
    console = Console()
    cores = sorted(os.sched_getaffinity(0))
    samples: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with servers(cores[-1], cores[0]) as paths, tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA)
        script.flush()
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("measuring", total=ROUNDS * len(CONCURRENCIES) * len(paths))
            for _ in range(ROUNDS):
                for connections in CONCURRENCIES:
                    for name, port in paths.items():
                        sample = measure(cores[-1], script.name, port, connections)
                        samples.setdefault((name, connections), []).append(sample)
                        progress.advance(task)
    report(console, list(paths), samples)


def report(console: Console, names: list[str], samples: dict[tuple[str, int], list[tuple[float, float]]]) -> None:
    title = f"non-streaming chat, medians of {ROUNDS} rounds of {SECONDS} s; one core for the server"
    table = Table("path", "requests/s at c=64", "spread", "of raw", "p50 at c=1", title=title)
    results = {}
    base = statistics.median(rate for rate, _ in samples[RAW, 64])
    for name in names:
        rates = [rate for rate, _ in samples[name, 64]]
        p50 = statistics.median(latency for _, latency in samples[name, 1])
        rate = statistics.median(rates)
        share = f"{rate / base:.2f}"
        table.add_row(name, f"{rate:,.0f}", f"{min(rates):,.0f}–{max(rates):,.0f}", share, f"{p50:.0f} µs")
        results[name] = {"requests_per_second_c64": rates, "p50_us_c1": [us for _, us in samples[name, 1]]}
    console.print(table)
    target = HERE / "results" / "latest.json"
    target.write_text(json.dumps({"rounds": ROUNDS, "seconds": SECONDS, "paths": results}, indent=1) + "\n")
    console.print(f"written to {target}")


if __name__ == "__main__":
    main()
