from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from worlds import call_for, now, on_virtual_clock, until_cancelled_at

from router.config import Queue, Shedding
from router.errors import Shed, UnknownPin
from router.events import Admitted, Events
from router.events import Shed as TurnedAway
from router.gate import Gate
from router.policy import IGNORED, OK, Ticket
from router.types import Call, Pin, Priority, Route

BATCH, SHEDDABLE, DEFAULT, CRITICAL = Priority
ROUTE = Route("m", ())


class Slots:
    """An upstream that takes so many at once. ``asked`` counts how often anybody looked for room."""

    def __init__(self, free: int = 1_000_000) -> None:
        self.free = free
        self.asked = 0

    def has_room(self) -> bool:
        self.asked += 1
        return self.free > 0


class Door:
    """A gate, one upstream behind it, and what came to pass."""

    def __init__(self, most: float = 1000, *, free: int = 1_000_000, length: int = 100, timeout: float = 2.0) -> None:
        self.events = Events()
        self.seen: list[Any] = []
        self.events.listen(self.seen.append, Admitted, TurnedAway)
        self.gate = Gate(Shedding(True, most, Queue(length, timeout)), self.events)
        self.slots = Slots(free)
        self.came = 0

    async def ticket(self, priority: Priority = DEFAULT, tokens: int = 100, *, deadline: float = 600.0) -> Ticket:
        """As the dispatcher does it, and with the slot taken in the same breath."""
        self.came += 1
        call = call_for(f"r{self.came}")._replace(priority=priority)
        loop = asyncio.get_running_loop()
        ticket = self.gate.enter(call, ROUTE, tokens, self.slots.has_room, loop.time())
        if ticket is None:
            ticket = await self.gate.wait(call, ROUTE, tokens, self.slots.has_room, deadline, loop)
        assert self.slots.free > 0
        self.slots.free -= 1
        return ticket

    def comes(self, priority: Priority = DEFAULT, tokens: int = 100, **how: Any) -> asyncio.Task[Ticket]:
        return asyncio.create_task(self.ticket(priority, tokens, **how))

    def ends(self, ticket: Ticket) -> None:
        self.slots.free += 1
        ticket.settle(OK, now())

    @property
    def waiting(self) -> int:
        return sum(self.gate.describe(now())["waiting"].values())

    def is_at_rest(self) -> bool:
        return not (self.gate.tokens_in_flight or self.waiting or self.gate._seats or self.gate._shedder._called)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- waiting ---


@on_virtual_clock
async def test_with_room_nobody_waits():
    door = Door()
    tickets = [await door.ticket() for _ in range(10)]
    assert door.gate.tokens_in_flight == 1000
    for ticket in tickets:
        ticket.begun(0.1, now())
        ticket.settle(OK, now())
    assert door.is_at_rest()


@on_virtual_clock
async def test_who_waits_goes_when_tokens_come_back():
    door = Door()
    first = await door.ticket(tokens=1000)
    second = door.comes(tokens=1000)
    await asyncio.sleep(1.5)
    assert not second.done()
    door.ends(first)
    ticket = await second
    assert now() == pytest.approx(1.5)
    assert door.gate.tokens_in_flight == 1000
    door.ends(ticket)
    assert door.is_at_rest()


@on_virtual_clock
async def test_who_waits_goes_when_there_is_room_upstream():
    door = Door(free=0)
    call = door.comes()
    await asyncio.sleep(1.0)
    door.slots.free = 1
    assert not call.done()
    door.gate.poke(now())
    door.ends(await call)
    assert door.is_at_rest()


@on_virtual_clock
async def test_with_nobody_waiting_a_poke_does_nothing():
    door = Door()
    door.ends(await door.ticket())
    asked = door.slots.asked
    for _ in range(1000):
        door.gate.poke(now())
    await turns()
    assert door.slots.asked == asked
    assert not door.gate._calling_up


@on_virtual_clock
async def test_a_thousand_pokes_look_through_the_queue_once():
    door = Door(free=0, length=10)
    calls = [door.comes() for _ in range(10)]
    await turns()
    asked = door.slots.asked
    for _ in range(1000):
        door.gate.poke(now())
    await turns()
    assert door.slots.asked == asked + 1
    await cancelled(calls)
    assert door.is_at_rest()


@on_virtual_clock
async def test_a_slot_that_comes_free_wakes_one_of_a_hundred():
    door = Door(100_000, free=1)
    ticket = await door.ticket()
    calls = [door.comes() for _ in range(100)]
    await turns()
    asked = door.slots.asked
    door.ends(ticket)
    await turns(10)
    assert [call.done() for call in calls] == [True] + [False] * 99
    assert door.slots.asked == asked + 3  # when it is called up, when it wakes, when the next is looked for
    await cancelled(calls[1:])
    door.ends(await calls[0])
    assert door.is_at_rest()


@on_virtual_clock
async def test_what_ends_at_once_lets_as_many_in_at_once():
    door = Door(100_000, free=60)
    tickets = [await door.ticket() for _ in range(60)]
    calls = [door.comes() for _ in range(80)]
    await turns()
    for ticket in tickets:
        door.ends(ticket)
    await turns(3)
    assert [call.done() for call in calls] == [True] * 60 + [False] * 20
    await cancelled(calls[60:])


@on_virtual_clock
async def test_one_large_call_that_ends_lets_all_the_small_ones_in():
    door = Door(1000)
    large = await door.ticket(tokens=1000)
    calls = [door.comes(tokens=10) for _ in range(100)]
    await turns()
    assert door.waiting == 100
    door.ends(large)
    for ticket in await asyncio.gather(*calls):
        door.ends(ticket)
    assert now() == 0
    assert door.is_at_rest()


@on_virtual_clock
async def test_who_finds_no_room_when_it_wakes_waits_on_in_its_place():
    """On a route with hedges a slot is taken a turn of the loop after the gate was passed."""
    door = Door(100_000, free=0)
    first, second = door.comes(), door.comes()
    await turns()
    door.slots.free = 1
    door.gate.poke(now())
    await asyncio.sleep(0)  # it is called up, and another takes its room
    door.slots.free = 0
    await turns(10)
    assert not first.done()
    assert door.waiting == 2
    assert door.gate.tokens_in_flight == 0
    await asyncio.sleep(0.5)
    door.slots.free = 1
    door.gate.poke(now())
    ticket = await first
    assert not second.done()
    door.ends(ticket)
    door.ends(await second)
    assert door.is_at_rest()


@on_virtual_clock
async def test_a_higher_priority_that_comes_takes_the_room_of_one_that_is_called_up():
    door = Door(100_000, free=0)
    waiting = door.comes(DEFAULT)
    await turns()
    door.slots.free = 1
    door.gate.poke(now())
    critical = door.comes(CRITICAL)
    ticket = await critical
    await turns()
    assert not waiting.done()
    door.ends(ticket)
    door.ends(await waiting)


@on_virtual_clock
async def test_a_mistake_of_the_client_is_told_to_it_and_to_nobody_else():
    door = Door()

    def wrong() -> bool:
        raise UnknownPin("x", "m", ["a"])

    ticket = await door.ticket(tokens=1000)
    assert door.gate.enter(call_for(), ROUTE, 10, wrong, now()) is None
    with pytest.raises(UnknownPin):
        await door.gate.wait(call_for(), ROUTE, 10, wrong, 600.0, asyncio.get_running_loop())
    door.ends(ticket)
    await turns()
    assert door.is_at_rest()


# --- turned away ---


@on_virtual_clock
async def test_after_its_time_in_the_queue_a_call_is_turned_away():
    door = Door(free=0, timeout=0.7)
    with pytest.raises(Shed) as shed:
        await door.ticket()
    assert now() == pytest.approx(0.7)
    assert (shed.value.reason, shed.value.cause) == ("overloaded", "queue_timeout")
    assert door.is_at_rest()


@on_virtual_clock
async def test_a_call_is_turned_away_at_its_deadline():
    door = Door(free=0)
    with pytest.raises(Shed):
        await door.ticket(deadline=0.3)
    assert now() == pytest.approx(0.3)


@on_virtual_clock
async def test_each_is_turned_away_at_its_own_time():
    door = Door(free=0)
    ends: list[float] = []

    async def shed_at(after: float) -> None:
        await asyncio.sleep(after)
        with pytest.raises(Shed):
            await door.ticket()
        ends.append(now() - after)

    await asyncio.gather(*(shed_at(after) for after in (0.0, 0.1, 0.2)))
    assert ends == pytest.approx([2.0] * 3, abs=0.01)


@on_virtual_clock
async def test_one_that_is_evicted_is_told_at_once():
    door = Door(free=0, length=1)
    batch = door.comes(BATCH)
    await turns()
    critical = door.comes(CRITICAL)
    with pytest.raises(Shed) as shed:
        await batch
    assert now() == 0
    assert shed.value.cause == "queue_evicted"
    await cancelled([critical])
    assert door.is_at_rest()


@on_virtual_clock
async def test_a_full_queue_refuses_at_once():
    door = Door(free=0, length=1)
    call = door.comes()
    await turns()
    with pytest.raises(Shed) as shed:
        await door.ticket()
    assert now() == 0
    assert shed.value.cause == "queue_full"
    await cancelled([call])


@on_virtual_clock
async def test_who_has_room_goes_when_the_one_before_it_gives_up():
    door = Door(1000)
    running = await door.ticket(tokens=600)
    large, small = door.comes(tokens=500, deadline=0.5), door.comes(tokens=100)
    ticket = await small
    assert now() == pytest.approx(0.5)
    with pytest.raises(Shed):
        await large
    door.ends(ticket)
    door.ends(running)
    assert door.is_at_rest()


@on_virtual_clock
async def test_one_that_is_evicted_as_its_time_ends_is_turned_away_once():
    door, loop = Door(free=0, length=1, timeout=0.7), asyncio.get_running_loop()
    batch = door.comes(BATCH)
    await turns()
    critical = call_for("c")._replace(priority=CRITICAL)
    waiting = door.gate.wait(critical, ROUTE, 100, door.slots.has_room, 600.0, loop)
    loop.call_at(0.7 - 1e-7, waiting.send, None)  # the same turn of the loop, just before
    with pytest.raises(Shed, match="place"):
        await batch
    waiting.close()
    assert door.gate.shed == {("queue_evicted", BATCH): 1}
    await turns()
    assert door.is_at_rest()


@on_virtual_clock
async def test_nobody_small_passes_one_on_another_route_that_waits_for_tokens():
    door, other = Door(1000), Route("other", ())
    running = await door.ticket(tokens=700)
    large = door.comes(tokens=500)
    await turns()
    assert door.gate.enter(call_for("small"), other, 10, door.slots.has_room, now()) is None
    door.ends(running)
    door.ends(await large)
    assert door.is_at_rest()


# --- clients that leave ---


async def cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@on_virtual_clock
async def test_who_leaves_is_out_of_the_queue():
    door = Door(free=0)
    calls = [door.comes() for _ in range(5)]
    await turns()
    assert door.waiting == 5
    await cancelled(calls)
    assert door.is_at_rest()
    assert [event for event in door.seen if isinstance(event, TurnedAway)] == []


@on_virtual_clock
async def test_one_that_leaves_makes_way_for_the_next():
    door = Door(1000)
    running = await door.ticket(tokens=600)
    large, small = door.comes(tokens=500), door.comes(tokens=100)
    await turns()
    assert not small.done()
    large.cancel()
    door.ends(await small)
    assert now() == 0
    door.ends(running)
    assert door.is_at_rest()


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "in the very moment it may go"])
@pytest.mark.parametrize("point", [1, 2])
def test_a_slot_granted_to_one_that_leaves_goes_to_the_next(point, late):
    @on_virtual_clock
    async def scenario() -> None:
        door = Door(free=0)
        leaving = asyncio.create_task(until_cancelled_at(door.ticket(), point, late=late))
        await turns(1)
        staying = door.comes()
        await asyncio.sleep(0.5)
        door.slots.free = 1
        door.gate.poke(now())
        ticket, was_cancelled = await leaving
        assert was_cancelled == (point == 1)  # it waits once only
        if ticket is not None:
            door.ends(ticket)
        door.ends(await staying)
        assert now() == pytest.approx(0.5)
        assert door.is_at_rest()

    scenario()


@on_virtual_clock
async def test_who_leaves_as_it_is_evicted_leaves_nothing_behind():
    door = Door(free=0, length=1)
    batch = door.comes(BATCH)
    await turns()
    critical = door.comes(CRITICAL)
    await asyncio.sleep(0)
    await cancelled([batch, critical])
    assert door.is_at_rest()


# --- facts ---


@on_virtual_clock
async def test_what_happens_is_told_to_listeners():
    door = Door(free=1, length=1)
    first = await door.ticket(CRITICAL, 10)
    evicted = door.comes(BATCH)
    await asyncio.sleep(0.25)
    second = door.comes(DEFAULT, 20)
    await turns()
    with pytest.raises(Shed):
        await door.ticket(SHEDDABLE)
    await asyncio.sleep(0.5)
    door.ends(first)
    door.ends(await second)
    assert evicted.exception() is not None
    assert door.seen == [
        Admitted(0.0, "r1", "m", "critical", 10, 0.0),
        TurnedAway(0.25, "r2", "m", "batch", "queue_evicted"),
        TurnedAway(0.25, "r4", "m", "sheddable", "queue_full"),
        Admitted(0.75, "r3", "m", "default", 20, 0.5),
    ]
    assert door.gate.shed == {("queue_evicted", BATCH): 1, ("queue_full", SHEDDABLE): 1}


@on_virtual_clock
async def test_what_is_turned_away_by_rank_is_told_too():
    door = Door(1000)
    running = await door.ticket(tokens=1000)
    with pytest.raises(Shed, match="priority"):
        await door.ticket(BATCH)
    assert door.seen[1:] == [TurnedAway(0.0, "r2", "m", "batch", "progressive")]
    door.ends(running)


@on_virtual_clock
async def test_without_listeners_it_works_as_well():
    gate, loop = Gate(Shedding(True, 100, Queue(0))), asyncio.get_running_loop()
    ticket = gate.enter(call_for(), ROUTE, 100, lambda: True, now())
    assert ticket is not None
    assert gate.enter(call_for(), ROUTE, 100, lambda: True, now()) is None
    with pytest.raises(Shed):
        await gate.wait(call_for(), ROUTE, 100, lambda: True, 600.0, loop)
    ticket.settle(IGNORED, now())
    assert gate.describe(now())["tokens_in_flight"] == 0


# --- whatever happens ---


class Crowd:
    """Clients of two routes, with pins, that come, wait, give up and leave at random; the two share one provider's slots.

    Some take their slot a turn of the loop after the gate let them in, as hedged routes do.
    """

    MOST, LENGTH, SLOTS = 1500, 15, 4

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.events = Events()
        self.told: list[Any] = []
        self.events.listen(self.told.append, Admitted, TurnedAway)
        self.gate = Gate(Shedding(True, self.MOST, Queue(self.LENGTH, 1.0)), self.events)
        self.slots = {"a": self.SLOTS, "b": self.SLOTS}
        self.routes = {"one": (Route("one", ()), "ab"), "two": (Route("two", ()), "b")}
        self.running: dict[str, int] = {}
        self.ends: Counter[str] = Counter()
        self.most_held = 0

    async def run(self, calls: int) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                await asyncio.sleep(self.rng.expovariate(150.0 if number % 1000 < 700 else 15.0))
                client = group.create_task(self._client(f"r{number}"))
                if self.rng.random() < 0.3:
                    loop.call_later(self.rng.choice([0.0, 0.0, self.rng.expovariate(3.0)]), client.cancel)
                if self.rng.random() < 0.1:
                    self.gate.poke(loop.time())

    async def _client(self, request_id: str) -> None:
        try:
            await self._call(request_id)
        except Shed as shed:
            self.ends[shed.cause] += 1
        except asyncio.CancelledError:
            self.ends["left"] += 1

    async def _call(self, request_id: str) -> None:
        loop, rng = asyncio.get_running_loop(), self.rng
        route, providers = self.routes[rng.choice(["one", "two"])]
        pin = Pin((rng.choice(providers),)) if rng.random() < 0.3 else None
        names = pin.providers if pin else providers
        call: Call = call_for(request_id)._replace(priority=Priority(rng.randrange(4)), pin=pin)
        tokens = rng.choice([10, 100, 100, 400, 2000])
        self._check()
        has_room: Callable[[], bool] = lambda: any(self.slots[name] for name in names)  # noqa: E731
        ticket = self.gate.enter(call, route, tokens, has_room, loop.time())
        if ticket is None:
            ticket = await self.gate.wait(call, route, tokens, has_room, loop.time() + rng.choice([0.2, 60.0]), loop)
        self.running[request_id] = tokens
        name = None
        try:
            self._check()
            if rng.random() < 0.5:
                await asyncio.sleep(0)
            name = next((name for name in names if self.slots[name]), None)
            if name is None:  # as if a guard refused it
                self.ends["no slot"] += 1
                return
            self.slots[name] -= 1
            await asyncio.sleep(rng.expovariate(10.0))
            self.ends["served"] += 1
        finally:
            if name is not None:
                self.slots[name] += 1
            del self.running[request_id]
            ticket.settle(OK, loop.time())

    def _check(self) -> None:
        held = self.gate.tokens_in_flight  # those that are called up hold theirs too
        assert held >= sum(self.running.values())
        assert held <= self.MOST or len(self.running) == 1
        assert len(self.gate._seats) <= self.LENGTH
        self.most_held = max(self.most_held, held)


@pytest.mark.parametrize("seed", range(5))
def test_tokens_and_places_come_back_whatever_happens(seed):
    calls = 2000

    @on_virtual_clock
    async def scenario() -> None:
        crowd = Crowd(seed)
        await crowd.run(calls)
        print(f"seed {seed}: {dict(crowd.ends.most_common())}")
        # It was a crowd indeed, and met everything.
        assert crowd.most_held > 0.9 * crowd.MOST
        for end in ("served", "left", "queue_full", "queue_evicted", "queue_timeout", "expected_wait", "progressive"):
            assert crowd.ends[end] >= 5, f"seed {seed} {end} {crowd.ends}"
        # Each has one end, and nobody is both let in and turned away.
        assert crowd.ends.total() == calls
        admitted = Counter(event.request_id for event in crowd.told if isinstance(event, Admitted))
        shed = Counter(event.request_id for event in crowd.told if isinstance(event, TurnedAway))
        assert set(admitted.values()) == set(shed.values()) == {1}
        assert not admitted.keys() & shed.keys()
        assert shed.total() == sum(crowd.gate.shed.values())
        # Nothing is left.
        described = crowd.gate.describe(now())
        assert described["tokens_in_flight"] == 0
        assert set(described["waiting"].values()) == {0}
        assert not crowd.gate._seats
        assert not crowd.gate._shedder._called
        assert set(crowd.slots.values()) == {crowd.SLOTS}

    scenario()
