"""Who calls: each request as its client sees it, whatever clients and gateway do for it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from providers import Endpoint, ProviderError, Request
from providers.law import Law
from router.decision import Decision
from router.dispatch import Dispatcher
from router.errors import RouterError
from router.reply import Reply
from router.select.chance import unit
from router.shared_timer import SharedTimer
from router.sim.arrivals import Arrival, in_tokens
from router.sim.results import OK, Called, Results
from router.sim.retries import NO_RETRIES, Client, Retries, Telling, Told, tell_nothing
from router.sim.service import NOTHING
from router.sim.wording import written
from router.time_limit import TimeLimit
from router.types import Call, Priority

GAVE_UP = "client_timeout"


@dataclass(frozen=True, slots=True)
class Clients:
    """``count`` alike, each with its own memory of what failed. ``name`` begins the ids of their requests: two populations need
    two. ``timeout``: how many seconds they wait for the first content (of a plain call: for the answer) of each call; None:
    for ever. ``sessions``: to how many their requests belong, 0 to none. Raises ValueError that names the field.
    """

    name: str = "client"
    model: str = "m"
    stream: bool = False
    count: int = 1
    timeout: float | None = None
    retries: Retries = NO_RETRIES
    sessions: int = 0
    priority: Priority = Priority.DEFAULT

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count: must be at least 1")
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError("timeout: must be above 0; leave it out for no limit")
        if self.sessions < 0:
            raise ValueError("sessions: must be at least 0")


class Population:
    """Clients of one kind, and the ``gateways`` over which their calls are spread by chance. What came of each request goes to
    ``results``; ``tell`` is what a gateway says to a client whom it could not serve. Times are the loop's.
    """

    def __init__(
        self,
        clients: Clients,
        gateways: Sequence[Dispatcher],
        results: Results,
        *,
        seed: int = 0,
        tell: Telling = tell_nothing,
    ) -> None:
        self._law = clients
        self._gateways = gateways
        self._results = results
        self._seed = seed
        self._tell = tell
        self._clients = [Client(clients.retries) for _ in range(clients.count)]
        self._loop = asyncio.get_running_loop()
        self._timer = None if clients.timeout is None else SharedTimer(self._loop, clients.timeout)
        self.numbers = count(1)

    async def open_loop(self, arrivals: Iterable[Arrival]) -> None:
        """A request at each, however long others take; returns when the last is over."""
        crowd = _Crowd(self, iter(arrivals), self._loop)
        try:
            await crowd.over
        finally:
            await crowd.leave()

    async def closed_loop(self, think: Law, until: float, *, prompt: Law = NOTHING, output: Law | None = None) -> None:
        """Each client thinks, calls, waits for the end, and thinks again; no request begins after ``until``. Who waits does not
        call: what is measured here leaves out those who would have come meanwhile (coordinated omission).
        """
        async with asyncio.TaskGroup() as group:
            for index in range(self._law.count):
                group.create_task(self._live(index, think, until, prompt, output))

    async def _live(self, index: int, think: Law, until: float, prompt: Law, output: Law | None) -> None:
        rng = Random(f"{self._seed}/{self._law.name}/{index}")
        for number in count():
            await asyncio.sleep(think.draw(rng))
            if self._loop.time() >= until:
                return
            limit = None if output is None else max(1, in_tokens(output.draw(rng)))
            await self.request(f"{self._law.name}-{index}-{number}", index, in_tokens(prompt.draw(rng)), limit)

    async def request(self, name: str, number: int, prompt_tokens: int, output_tokens: int | None) -> None:
        """One, with all that its client does until it has its answer or gives up."""
        client = self._clients[number % self._law.count]
        client.begin()
        call = self._written(name, number, prompt_tokens, output_tokens)
        arrived = self._loop.time()
        calls = attempts = 0
        while True:
            calls += 1
            decision = Decision()
            began, reason, told = await self._call(call, decision)
            attempts += len(decision.tried)
            if told is None:
                break
            wait = client.pause(told, calls, unit(self._seed, call.request.id, "client's pause"))
            if wait is None:
                break
            await asyncio.sleep(wait)
            call = call._replace(request=call.request._replace(id=f"{name}.{calls}"), retries=calls)
        target = None if began is None else decision.tried[-1].name
        called = Called(arrived, began, self._loop.time(), reason == OK, calls, attempts, reason, target)
        self._results.add(called)

    def _written(self, name: str, number: int, prompt_tokens: int, output_tokens: int | None) -> Call:
        law = self._law
        body, fields = written(law.model, prompt_tokens, output_tokens, stream=law.stream)
        session = f"{law.name}-{number % law.sessions}" if law.sessions else None
        request = Request(name, Endpoint.CHAT, body, fields, law.stream, {}, session=session)
        return Call(request, law.model, priority=law.priority)

    async def _call(self, call: Call, decision: Decision) -> tuple[float | None, str, Told | None]:
        """When it began, how it ended, and what the client was told if it may try again."""
        began: float | None = None
        try:
            async with await self._opened(call, decision) as reply:
                began = self._loop.time()
                async for _ in reply:
                    pass
        except TimeoutError:
            return None, GAVE_UP, Told(None)
        except RouterError as error:
            return began, error.reason, None if began is not None else self._tell(error)
        except ProviderError as error:  # it broke off
            return began, error.reason, None
        return began, OK, None

    async def _opened(self, call: Call, decision: Decision) -> Reply:
        """Raises ``TimeoutError`` when the client's patience is at its end."""
        gateways = self._gateways
        gateway = gateways[0]
        if len(gateways) > 1:
            gateway = gateways[int(unit(self._seed, call.request.id, "gateway") * len(gateways))]
        if self._timer is None or self._law.timeout is None:
            return await gateway.open(call, decision)
        with TimeLimit(self._loop, self._loop.time() + self._law.timeout, self._timer):
            return await gateway.open(call, decision)

    @property
    def name(self) -> str:
        return self._law.name


class _Crowd:
    """The requests of an open loop. ``over`` when all are, or with the first mistake of ours.

    A task group would ask for three callbacks of each; here a task's last act is to sign off.
    """

    def __init__(self, population: Population, arrivals: Iterator[Arrival], loop: asyncio.AbstractEventLoop) -> None:
        self.over: asyncio.Future[None] = loop.create_future()
        self._population = population
        self._arrivals = arrivals
        self._loop = loop
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next()

    async def leave(self) -> None:
        """Nobody more comes, and whoever is there goes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _next(self) -> None:
        self._timer = None
        try:
            arrival = next(self._arrivals, None)
        except Exception as error:  # noqa: BLE001 - a trace may turn out to be none
            self._end(error)
            return
        if arrival is not None:
            self._timer = self._loop.call_at(arrival.at, self._come, arrival)
        elif not self._tasks:
            self._end(None)

    def _come(self, arrival: Arrival) -> None:
        number = next(self._population.numbers)
        self._tasks[number] = asyncio.Task(self._request(number, arrival), loop=self._loop)
        self._next()

    async def _request(self, number: int, arrival: Arrival) -> None:
        population = self._population
        try:
            await population.request(
                f"{population.name}-{number}", number, arrival.prompt_tokens, arrival.output_tokens
            )
        except Exception as error:  # noqa: BLE001 - whoever waits for the run gets it
            self._end(error)
        finally:
            del self._tasks[number]
        if self._timer is None and not self._tasks:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)
