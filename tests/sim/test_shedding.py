"""The gate under more than can be served, on a virtual clock: what is served, what is refused, and how soon.

The figures are printed: pytest -rP tests/sim/test_shedding.py.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from worlds import call_for

from router.config import Queue, Shedding
from router.errors import Shed
from router.gate import Gate
from router.policy import OK
from router.sim import VirtualLoop
from router.types import Priority, Route

BATCH, SHEDDABLE, DEFAULT, CRITICAL = Priority
MIX = {CRITICAL: 0.1, DEFAULT: 0.5, SHEDDABLE: 0.4}
TOKENS = 1000
AT_ONCE = 0.005


@dataclass(frozen=True)
class Served:
    at: float
    priority: Priority
    waited: float


@dataclass(frozen=True)
class Turned:
    at: float
    priority: Priority
    after: float
    cause: str


@dataclass
class Server:
    """``slots`` at once, each call for a lognormal time of this ``mean`` in seconds."""

    slots: int
    mean: float
    sigma: float = 0.5
    busy: int = 0
    worked: float = 0.0

    def has_room(self) -> bool:
        return self.busy < self.slots

    def law(self, rng: Random) -> float:
        return rng.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)

    async def serve(self, seconds: float, until: float) -> None:
        """Work done after ``until`` is not counted."""
        loop = asyncio.get_running_loop()
        assert self.busy < self.slots
        self.busy += 1
        began = loop.time()
        await asyncio.sleep(seconds)
        self.worked += max(0.0, min(loop.time(), until) - began)
        self.busy -= 1


@dataclass
class Overload:
    """Poisson arrivals at one gate, at a rate that may change, for ``seconds``."""

    server: Server
    seconds: float
    rate: Callable[[float], float]
    most: float = math.inf
    mix: dict[Priority, float] = field(default_factory=lambda: MIX)
    spread: float = 0.0
    seed: int = 1
    queue: Queue = field(default_factory=Queue)

    def __post_init__(self) -> None:
        self.gate = Gate(Shedding(max_tokens_in_flight=self.most, queue=self.queue))
        self.route = Route("m", ())
        self.rng = Random(self.seed)
        self.came: Counter[Priority] = Counter()
        self.served: list[Served] = []
        self.turned: list[Turned] = []

    def run(self, arrivals: Callable[[Overload], Coroutine[Any, Any, None]] | None = None) -> Overload:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run((arrivals or Overload.arrive)(self))
        described = self.gate.describe(0.0)
        assert described["tokens_in_flight"] == 0
        assert set(described["waiting"].values()) == {0}
        assert self.server.busy == 0
        assert len(self.served) + len(self.turned) == self.came.total()
        return self

    async def arrive(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while loop.time() < self.seconds:
                await asyncio.sleep(self.rng.expovariate(self.rate(loop.time())))
                priority = self.rng.choices(list(self.mix), list(self.mix.values()))[0]
                tokens = TOKENS
                if self.spread:
                    tokens = int(TOKENS * self.rng.lognormvariate(-(self.spread**2) / 2, self.spread)) + 1
                group.create_task(self.client(priority, tokens, self.server.law(self.rng)))

    async def client(self, priority: Priority, tokens: int, seconds: float) -> Served | None:
        loop = asyncio.get_running_loop()
        came = loop.time()
        self.came[priority] += 1
        call = call_for(f"r{self.came.total()}")._replace(priority=priority)
        has_room = self.server.has_room
        try:
            ticket = self.gate.enter(call, self.route, tokens, has_room, came)
            if ticket is None:
                ticket = await self.gate.wait(call, self.route, tokens, has_room, came + 600.0, loop)
        except Shed as shed:
            self.turned.append(Turned(came, priority, loop.time() - came, shed.cause))
            return None
        served = Served(came, priority, loop.time() - came)
        self.served.append(served)
        await self.server.serve(seconds, self.seconds)
        ticket.settle(OK, loop.time())
        return served

    # --- figures ---

    def goodput(self, capacity: float) -> float:
        """The share of ``capacity`` (how many at once) that was at work."""
        return self.server.worked / (capacity * self.seconds)

    def share(self, priority: Priority) -> float:
        return sum(served.priority is priority for served in self.served) / self.came[priority]

    def waits(self, *priorities: Priority) -> list[float]:
        return sorted(served.waited for served in self.served if served.priority in (priorities or Priority))

    @property
    def at_the_door(self) -> float:
        return sum(turned.after < AT_ONCE for turned in self.turned) / len(self.turned)

    def report(self, capacity: float) -> str:
        late = sorted(turned.after for turned in self.turned if turned.after >= AT_ONCE)
        every = sorted(turned.after for turned in self.turned)
        shares = ", ".join(f"{priority.name.lower()} {self.share(priority):.1%}" for priority in self.mix)
        causes = Counter(turned.cause for turned in self.turned)
        lines = [
            f"{self.came.total()} calls, seed {self.seed}: goodput {self.goodput(capacity):.1%} of capacity; served: {shares}",
            f"waited, of the served: {quantiles(self.waits())}; critical: {quantiles(self.waits(CRITICAL))}",
            f"refused {len(every)}: {self.at_the_door:.1%} at the door; time to a refusal: {quantiles(every)}",
            f"time to a refusal from the queue ({len(late)}): {quantiles(late)}",
            f"causes: {dict(causes.most_common())}",
        ]
        return "\n".join(lines)


def quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def quantiles(ordered: Sequence[float]) -> str:
    return "p50 {:.3f} p95 {:.3f} p99 {:.3f} max {:.3f} s".format(
        *(quantile(ordered, q) for q in (0.5, 0.95, 0.99, 1.0))
    )


def at_three_times(server: Server, **how: object) -> Overload:
    return Overload(server, 120.0, lambda _: 3 * server.slots / server.mean, **how)


# --- three times what can be served ---


@pytest.mark.parametrize(("slots", "mean", "seed"), [(100, 5.0, 1), (100, 5.0, 2), (100, 5.0, 3), (100, 1.5, 1)])
def test_at_three_times_the_capacity_the_capacity_is_used_and_critical_calls_are_served(slots, mean, seed):
    run = at_three_times(Server(slots, mean), seed=seed).run()
    print(run.report(slots))
    assert run.goodput(slots) >= 0.9
    assert run.share(CRITICAL) >= 0.99
    assert run.share(CRITICAL) > run.share(DEFAULT) > run.share(SHEDDABLE)
    assert quantile(run.waits(), 0.95) < 0.6
    assert quantile(run.waits(CRITICAL), 0.99) < 0.6
    assert run.at_the_door >= 0.97
    assert quantile(sorted(turned.after for turned in run.turned), 0.95) < AT_ONCE


@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["of one size", "of very different sizes"])
def test_so_it_is_where_tokens_are_what_runs_out(spread):
    fit = 100
    server = Server(1_000_000, 3.0)
    run = Overload(server, 120.0, lambda _: 3 * fit / server.mean, most=fit * TOKENS, spread=spread).run()
    print(run.report(fit))
    assert run.goodput(fit) >= 0.9
    assert run.share(CRITICAL) >= 0.99
    assert run.share(CRITICAL) > run.share(DEFAULT) > run.share(SHEDDABLE)
    assert quantile(run.waits(), 0.95) < 0.6
    assert run.at_the_door >= 0.97


@pytest.mark.parametrize("only", [BATCH, CRITICAL], ids=["batch", "critical"])
def test_so_it_is_if_all_have_one_priority(only):
    run = at_three_times(Server(100, 3.0), mix={only: 1.0}).run()
    print(run.report(100))
    assert run.goodput(100) >= 0.9
    assert run.at_the_door >= 0.96
    assert quantile(run.waits(), 0.95) < 0.6


def test_of_batch_calls_alone_nine_tenths_of_the_tokens_are_used_too():
    server = Server(1_000_000, 3.0)
    run = Overload(server, 120.0, lambda _: 100.0, most=100 * TOKENS, mix={BATCH: 1.0}).run()
    print(run.report(100))
    assert 0.9 <= run.goodput(100) < 0.94


@pytest.mark.parametrize(("slots", "mean"), [(4, 1.0), (20, 5.0)], ids=["4 slots", "20 slots"])
def test_a_small_upstream_is_used_as_well(slots, mean):
    """Here a slot comes free four times a second: critical calls wait for that, at most for the queue's 2 s."""
    run = at_three_times(Server(slots, mean)).run()
    print(run.report(slots))
    assert run.goodput(slots) >= 0.9
    assert run.share(CRITICAL) >= 0.98
    assert run.at_the_door >= 0.9


# --- bursts, and load that falls back ---


def burst_of(count: int, priorities: Sequence[Priority]) -> Callable[[Overload], Coroutine[Any, Any, None]]:
    async def arrive(run: Overload) -> None:
        async with asyncio.TaskGroup() as group:
            for place in range(count):
                priority = priorities[place % len(priorities)]
                group.create_task(run.client(priority, TOKENS, run.server.law(run.rng)))

    return arrive


def test_a_burst_that_drains_in_time_is_served_whole():
    run = Overload(Server(60, 0.3), 10.0, lambda _: 0.0).run(burst_of(150, [DEFAULT]))
    assert len(run.served) == 150
    print(f"waited: {quantiles(run.waits())}")
    assert 0.3 < quantile(run.waits(), 1.0) < 1.0


def test_of_a_burst_too_large_the_rest_is_refused_at_once():
    run = Overload(Server(60, 0.3), 10.0, lambda _: 0.0).run(burst_of(1000, list(Priority)))
    print(f"served {Counter(served.priority.name for served in run.served)}")
    assert Counter(turned.cause for turned in run.turned).keys() == {"queue_full", "queue_evicted"}
    assert all(turned.after < AT_ONCE for turned in run.turned)
    assert len(run.served) == 60 + 100
    assert len(run.waits(CRITICAL)) == 60 // 4 + 100


def test_when_the_load_falls_back_the_queue_empties_and_nobody_is_refused_any_more():
    server = Server(100, 1.0)
    run = Overload(server, 60.0, lambda now: (3.0 if now < 30.0 else 0.6) * 100, mix={DEFAULT: 1.0}).run()
    during = [turned for turned in run.turned if turned.at < 30.0]
    after = [turned for turned in run.turned if turned.at >= 30.0]
    calm = [served.waited for served in run.served if served.at >= 32.0]
    print(
        f"refused {len(during)} in 30 s at 3 x capacity, {len(after)} after it; waited then: {quantiles(sorted(calm))}"
    )
    assert len(during) > 5000
    assert not [turned for turned in after if turned.at > 31.0]
    assert not any(calm)


@pytest.mark.parametrize(("busy_for", "newest_first"), [(0.5, False), (3.0, True)], ids=["a burst", "a standing queue"])
def test_while_a_queue_stands_the_newest_goes_first_and_then_it_is_first_come_first_served_again(
    busy_for, newest_first
):
    async def arrive(run: Overload) -> None:
        loop = asyncio.get_running_loop()

        async def three() -> list[float]:
            """When each of three came, in the order in which they went."""
            tasks = []
            for _ in range(3):
                tasks.append(asyncio.create_task(run.client(DEFAULT, TOKENS, 0.002)))
                await asyncio.sleep(0.0001)
            served = [task for task in await asyncio.gather(*tasks) if task is not None]
            assert len(served) == 3
            return [each.at for each in sorted(served, key=lambda each: each.at + each.waited)]

        async with asyncio.TaskGroup() as group:
            while loop.time() < busy_for:  # one slot, 500 a second, and twice as many that want it
                group.create_task(run.client(DEFAULT, TOKENS, 0.002))
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            came = await three()
            assert came == sorted(came, reverse=newest_first)
        await asyncio.sleep(1.0)
        came = await three()
        assert came == sorted(came)

    Overload(Server(1, 0.002), 10.0, lambda _: 0.0).run(arrive)


# --- two routes ---


def test_a_route_whose_upstream_hangs_costs_another_nothing():
    """One takes all of its calls and ends none; the other is asked for 90 % of what it can do."""
    well, hung = Server(50, 0.5), Server(20, 1e4)
    run = Overload(well, 60.0, lambda _: 0.9 * 100, mix={DEFAULT: 1.0})
    other = Overload(hung, 60.0, lambda _: 200.0, mix={CRITICAL: 1.0})
    other.gate, other.route = run.gate, Route("hung", ())

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(run.arrive())
            group.create_task(other.arrive())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(both())
    late = sorted(turned.after for turned in other.turned if turned.after >= AT_ONCE)
    print(f"well: {len(run.served)} served, {len(run.turned)} refused, waited {quantiles(run.waits())}")
    print(f"hung: {len(other.served)} served, {len(other.turned)} refused, {len(late)} of them after {quantiles(late)}")
    assert len(other.served) == 20
    assert len(late) <= 0.01 * len(other.turned)
    assert len(run.turned) <= 0.01 * len(run.served)
    assert quantile(run.waits(), 0.99) < 0.3
