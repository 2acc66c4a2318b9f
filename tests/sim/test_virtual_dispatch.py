"""Ten thousand calls through the unchanged dispatcher on a virtual clock.

As a program it runs them and prints the digest of their transcript: test_virtual_dispatch.py SEED CALLS.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections import Counter
from itertools import starmap
from pathlib import Path
from random import Random

CALLS = 10_000
ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from worlds import Books, alive, call_for  # noqa: E402 - as a program it sets its path first

from providers import ProviderError  # noqa: E402
from providers.law import Law  # noqa: E402
from providers.mock import Mock, MockOptions  # noqa: E402
from router import Backoff, Call, Dispatcher, Retry, Route, RouterError, Routes, Target, Timeouts  # noqa: E402
from router.config import Shedding  # noqa: E402
from router.gate import Gate  # noqa: E402
from router.policies.attempt_cap import AttemptCap  # noqa: E402
from router.policies.deadline import Deadline  # noqa: E402
from router.sim import VirtualLoop  # noqa: E402

PACE = {"token_interval": Law("exponential", 0.05), "tokens": Law("uniform", 1, 5)}
LAWS = {
    "fast": MockOptions(Law("lognormal", 0.2, 0.8), error_rate=0.1, capacity=14, **PACE),
    "slow": MockOptions(Law("lognormal", 0.9, 1.0), error_rate=0.05, capacity=50, **PACE),
    "poor": MockOptions(Law("lognormal", 0.4, 0.5), error_rate=0.5, error_status=502, capacity=6, **PACE),
}
LIMITS = Timeouts(first_token=2.0, idle=0.25, attempt=2.5, total=2.8)


class Simulation:
    """Poisson arrivals; one call in ten is cancelled by its client, at any time."""

    def __init__(self, seed: int) -> None:
        self.transcript: list[str] = []
        self.books = Books()
        self.mocks = list(starmap(Mock, LAWS.items()))
        weights, tiers = (6.0, 3.0, 1.0), (0, 0, 1)
        self.targets = tuple(
            Target(mock, "m", weight, tier, timeouts=LIMITS, live=alive(self.books))
            for mock, weight, tier in zip(self.mocks, weights, tiers, strict=True)
        )
        route = Route("m", self.targets, LIMITS.total, Retry(3, Backoff(0.1, 2.0)))
        self._dispatcher = Dispatcher(
            Routes({"m": route}),
            gate=Gate(Shedding(enabled=False)),
            rules=[Deadline()],
            retry_rules=[AttemptCap(), Deadline()],
            seed=seed,
        )
        self._seed = seed
        self._rng = Random(seed)

    async def run(self, calls: int) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                await asyncio.sleep(self._rng.expovariate(40.0))
                call = call_for(f"{self._seed}-{number}", stream=self._rng.random() < 0.7)
                client = group.create_task(self._client(call))
                if self._rng.random() < 0.1:
                    loop.call_later(self._rng.expovariate(1.0), client.cancel)

    async def _client(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        begun, tried, chunks = loop.time(), (), 0
        try:
            async with await self._dispatcher.open(call) as reply:
                tried = reply.attempts
                async for _ in reply:
                    chunks += 1
            outcome = "ok"
        except RouterError as error:
            tried, outcome = error.attempts or tried, error.reason
        except ProviderError as error:
            outcome = f"midway {error.label}"
        except asyncio.CancelledError:
            outcome = "client left"
        way = ",".join(f"{each.name}:{each.label}:{each.seconds!r}" for each in tried)
        self.transcript.append(f"{call.request.id} {way} {outcome} {chunks} {begun!r} {loop.time()!r}")

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.transcript).encode()).hexdigest()


def simulate(seed: int, calls: int) -> Simulation:
    simulation = Simulation(seed)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(simulation.run(calls))
    return simulation


def in_another_process(seed: int, hash_seed: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    command = [sys.executable, __file__, str(seed), str(CALLS)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_ten_thousand_calls_go_the_same_way_in_every_run_and_leave_nothing_behind():
    seed = 20_261
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    process = in_another_process(seed, hash_seed)
    start = time.perf_counter()
    simulation = simulate(seed, CALLS)
    seconds = time.perf_counter() - start
    text = "\n".join(simulation.transcript)
    outcomes = Counter(line.rsplit(" ", 3)[0].split(" ", 2)[2] for line in simulation.transcript)
    figures = f"{CALLS / seconds:,.0f} calls/s, seed {seed}, {dict(outcomes.most_common())}"
    print(figures)

    assert len(simulation.transcript) == CALLS
    # Everything that can happen did happen, and happened often enough to count.
    for happening in ("ok", "exhausted", "client left", "midway idle_timeout", "deadline_exceeded"):
        assert outcomes[happening] >= 20, figures
    for label in (":500:", ":502:", ":503:", ":first_token_timeout:", ":attempt_timeout:", ":deadline:"):
        assert text.count(label) >= 20, f"{label} {figures}"
    # Nothing is left.
    assert [mock.in_flight for mock in simulation.mocks] == [0, 0, 0]
    assert [target.live.in_flight for target in simulation.targets] == [0, 0, 0]
    assert len(simulation.books.outcomes) == len(simulation.books.settled) > CALLS
    # The same seed, another process, another hash seed: the same transcript, to the last bit of every time.
    said, _ = process.communicate(timeout=100)
    assert said.split() == [simulation.digest], f"seed {seed}, PYTHONHASHSEED {hash_seed}"


def test_the_same_seed_repeats_within_a_process_and_another_seed_goes_another_way():
    first, again, other = (simulate(seed, 500) for seed in (1, 1, 2))
    assert first.transcript == again.transcript
    ways = [[line.partition(" ")[2] for line in each.transcript] for each in (first, other)]
    assert ways[0] != ways[1]


if __name__ == "__main__":
    print(simulate(int(sys.argv[1]), int(sys.argv[2])).digest)
