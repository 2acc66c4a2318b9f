"""Plain requests by wrk: how many a second, how fast, and that every one of them was answered."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.answers import asking
from bench.servers import Server

MISSING = (
    "Plain requests need wrk (Debian: apt-get install wrk); without it: python -m bench --only streams --only start"
)
SCRIPT = f"""wrk.method = "POST"
wrk.body = [==[{asking(stream=False)}]==]
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT requests=%d us=%d p50=%f status=%d broken=%d\\n",
    summary.requests, summary.duration, latency:percentile(50), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""
RESULT = re.compile(r"^RESULT requests=(\d+) us=(\d+) p50=([\d.]+) status=(\d+) broken=(\d+)$", re.MULTILINE)


class WrongAnswers(ValueError):
    """Not every request was answered with a success."""


@dataclass(frozen=True, slots=True)
class Load:
    """``p50_us`` is the median latency in microseconds."""

    requests: int
    seconds: float
    p50_us: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def parse(output: str) -> Load:
    """What SCRIPT made wrk print. Raises WrongAnswers, which says how many of which sort."""
    found = RESULT.search(output)
    if found is None:
        raise WrongAnswers(f"wrk gave no result:\n{output}")
    requests, microseconds, p50, status, broken = found.groups()
    if int(status) or int(broken) or not int(requests):
        raise WrongAnswers(f"of {requests} requests {status} got an error status, {broken} broke off or timed out")
    return Load(int(requests), int(microseconds) / 1e6, float(p50))


def write_script(folder: Path) -> Path:
    path = folder / "plain.lua"
    path.write_text(SCRIPT)
    return path


def load(server: Server, connections: int, seconds: int, core: int, script: Path) -> Load:
    """Drives ``server`` from ``core``. Ends the benchmark if an answer was wrong."""
    wrk = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    done = subprocess.run([*wrk, server.url(stream=False)], check=False, capture_output=True, text=True)
    try:
        return parse(done.stdout + done.stderr)
    except WrongAnswers as error:
        raise SystemExit(f"{server.name}, {connections} connections: {error}") from error
