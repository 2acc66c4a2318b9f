"""The simulated server against what queueing theory says of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from itertools import count
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import now, request

from providers.law import Law
from router.sim import run
from router.sim.arrivals import poisson, regular
from router.sim.server import Server
from router.sim.service import Service

SEED = 7


def constant(seconds: float) -> Law:
    return Law("constant", seconds)


def stays(service: Service, times: Iterable[float], *, seed: int = SEED) -> list[float]:
    """How long each call was there, in seconds, in the order in which they came."""

    async def scenario() -> list[float]:
        server = Server("a", service, seed=seed)
        numbers = count()
        stayed: dict[int, float] = {}

        async def call(number: int) -> None:
            came = now()
            async for _ in await server.open(request(f"r{number}", stream=False), "m", 1.0):
                stayed[number] = now() - came

        async with asyncio.TaskGroup() as group:
            for at in times:
                await asyncio.sleep(at - now())
                group.create_task(call(next(numbers)))
        return [stayed[number] for number in sorted(stayed)]

    return run(scenario())


def erlang_c(slots: int, offered: float) -> float:
    """The share that has to wait, in M/M/c."""
    busy = offered**slots / math.factorial(slots) * slots / (slots - offered)
    return busy / (sum(offered**number / math.factorial(number) for number in range(slots)) + busy)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_m_d_1_waits_as_pollaczek_and_khinchine_say(load):
    waits = [stay - 0.1 for stay in stays(Service(rate=10.0), poisson(10.0 * load, 2_000.0, Random(SEED)))]
    assert fmean(waits) == pytest.approx(load / (2 * 10.0 * (1 - load)), rel=0.1)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.6), (4, 0.8)])
def test_m_m_c_waits_as_erlang_says(slots, load):
    times = list(poisson(slots * load, 20_000.0 / slots, Random(SEED)))
    mean = fmean(stays(Service(slots=slots, ttft=Law("exponential", 1.0)), times))
    wait = erlang_c(slots, slots * load) / (slots * (1 - load))
    assert mean == pytest.approx(1.0 + wait, rel=0.1)


def test_m_g_1_waits_longer_the_more_its_times_differ():
    """Pollaczek and Khinchine: the mean wait is load x (1 + variation squared) / (2 (1 - load)) service times."""
    sigma = 0.8
    median = math.exp(-(sigma**2) / 2)  # so that the mean is 1
    times = list(poisson(0.6, 30_000.0, Random(SEED)))
    mean = fmean(stays(Service(slots=1, ttft=Law("lognormal", median, sigma)), times))
    assert mean == pytest.approx(1.0 + 0.6 * math.exp(sigma**2) / (2 * 0.4), rel=0.1)


@pytest.mark.parametrize("service", [Service(rate=5.0), Service(slots=2, ttft=constant(0.4))], ids=["rate", "slots"])
def test_under_too_much_it_does_what_it_can_and_no_more(service):
    times = list(regular(20.0, 10.0))
    stayed = stays(service, times)
    ends = sorted(at + stay for at, stay in zip(times, stayed, strict=True))
    assert ends[-1] == pytest.approx(len(times) / 5.0, abs=0.5)
    assert sum(end <= 10.0 for end in ends) == pytest.approx(50, abs=2)


def test_a_heavy_tail_is_as_heavy_as_its_law():
    """Of a Pareto law with alpha 1.5, one in 1,000 is beyond 1,000 ** (1 / 1.5) = 100 times the least."""
    stayed = stays(Service(ttft=Law("pareto", 0.1, 1.5)), regular(100.0, 200.0))
    assert min(stayed) >= 0.1 - 1e-9
    assert sum(stay > 10.0 for stay in stayed) == pytest.approx(20, abs=14)
    assert sorted(stayed)[10_000] == pytest.approx(0.1 * 2 ** (1 / 1.5), rel=0.02)


@examples(100)
@given(st.floats(1.0, 50.0), st.lists(st.floats(0.0, 10.0), min_size=1, max_size=50))
def test_a_server_with_a_rate_is_lindley_s_queue(rate, times):
    """Each waits for what the one before it left: W' = max(0, W + 1 / rate - gap)."""
    times = sorted(times)
    wait, before, expected = 0.0, times[0], []
    for at in times:
        wait = max(0.0, wait + 1.0 / rate - (at - before)) if expected else 0.0
        before = at
        expected.append(wait + 1.0 / rate)
    assert stays(Service(rate=rate), times) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("given_", "field"),
    [
        ({"rate": 1.0, "slots": 1}, "rate, slots"),
        ({"rate": 0.0}, "rate"),
        ({"rate": math.inf}, "rate"),
        ({"slots": 0}, "slots"),
        ({"queue": 5}, "queue"),
        ({"slots": 1, "queue": -1}, "queue"),
        ({"retry_after": -1.0}, "retry_after"),
        ({"chunks": 0}, "chunks"),
        ({"slowdown": -0.1}, "slowdown"),
        ({"unhurried": 0}, "unhurried"),
        ({"patience": math.nan}, "patience"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"tokens_per_minute": 0}, "tokens_per_minute"),
        ({"error_rate": 1.1}, "error_rate"),
        ({"error_status": 429}, "error_status"),
    ],
)
def test_what_is_no_service_is_refused_by_its_field(given_, field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        Service(**given_)
