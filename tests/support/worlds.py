"""Small worlds on a virtual clock: scripted upstreams, a policy that keeps books, and calls. Nothing here waits."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, Self, TypeVar

import orjson

from providers import Chunk, Endpoint, Outcome, ProviderError, Request
from router import Call, Dispatcher, Live, Pin, Reply, Retry, Route, Routes, Target, Timeouts
from router.config import Hedge, Shedding
from router.errors import Refused
from router.gate import Gate
from router.policies.attempt_cap import AttemptCap
from router.policies.deadline import Deadline
from router.policies.load import Load
from router.policy import Ending, Guard
from router.sim import VirtualLoop
from router.types import Attempt

P = ParamSpec("P")
T = TypeVar("T")

# --- the clock --------------------------------------------------------------------------------------------------


def on_virtual_clock(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Turn an async test into a plain one that runs on a ``VirtualLoop``, from second 0.

    What goes wrong where nobody waits for it (in a timer, in a task without an owner) fails the test too.
    """

    @functools.wraps(scenario)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        unseen: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: unseen.append(context))
            runner.run(scenario(*args, **kwargs))
        assert not unseen, unseen

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def pending() -> list[asyncio.TimerHandle]:
    """The timers of the virtual loop that are set."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.pending()


async def until_cancelled_at(coroutine: Coroutine[Any, Any, T], point: int, *, late: bool) -> tuple[T | None, bool]:
    """Run ``coroutine`` and cancel it where it suspends for the ``point``-th time: (result, was it cancelled).

    ``late`` cancels when what it waits for is there already, just before it would go on.
    """
    task = asyncio.create_task(_suspends(coroutine, point, late=late))
    try:
        return await task, False
    except asyncio.CancelledError:
        assert task.cancelled()
        return None, True


@dataclass
class _Suspends(Generic[T]):
    coroutine: Coroutine[Any, Any, T]
    point: int
    late: bool

    def __await__(self) -> Generator[Any, None, T]:
        task = asyncio.current_task()
        assert task is not None
        passed = 0
        resume: Callable[[], Any] = functools.partial(self.coroutine.send, None)
        while True:
            try:
                waits_for = resume()
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            passed += 1
            if passed == self.point:
                if self.late and waits_for is not None:
                    waits_for.add_done_callback(lambda _: task.cancel())
                else:
                    asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield waits_for
                resume = functools.partial(self.coroutine.send, None)
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in belongs to the coroutine
                resume = functools.partial(self.coroutine.throw, error)


async def _suspends(coroutine: Coroutine[Any, Any, T], point: int, *, late: bool) -> T:
    return await _Suspends(coroutine, point, late)


# --- chunks -----------------------------------------------------------------------------------------------------


def event(payload: Mapping[str, Any], *, content: bool = False) -> Chunk:
    return Chunk(b"data: " + orjson.dumps(payload) + b"\n\n", content=content)


def said(text: str = "hi") -> Chunk:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}, content=True)


ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
CREATED = event({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}})
FINISH = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, content=True)
DONE = Chunk(b"data: [DONE]\n\n")
PING = Chunk(b": ping\n\n", events=0)
BODY = Chunk(b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}', content=True)


# --- upstreams --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Script:
    """What one attempt meets, in this order; times in seconds.

    ``opens`` passes, then ``fails`` is raised; else ``chunks`` come, ``every`` apart; then ``breaks`` is raised, or
    nothing more comes (``stalls``), or a ping comes each ``pings`` for ever; else the answer is complete.
    """

    chunks: Sequence[Chunk] = ()
    every: float = 0.0
    opens: float = 0.0
    fails: ProviderError | None = None
    breaks: ProviderError | None = None
    stalls: bool = False
    pings: float = 0.0


def healthy(*words: str, opens: float = 0.0, every: float = 0.0) -> Script:
    return Script([ROLE, *map(said, words or ("hi",)), FINISH, DONE], every, opens)


def fails(error: ProviderError, after: float = 0.0) -> Script:
    return Script(opens=after, fails=error)


STUCK = Script(opens=1e9)
SILENT = Script(stalls=True)


class PlayedStream:
    """One attempt's answer. ``closed`` counts ``aclose``; reading after it is a mistake and says so."""

    def __init__(self, script: Script) -> None:
        self.headers: Mapping[str, str] = {"x-upstream-request-id": "up-1"}
        self.media_type = "text/event-stream"
        self.closed = 0
        self.ended = False
        self._script = script
        self._place = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        assert not self.closed, "read after aclose"
        script = self._script
        if self._place < len(script.chunks):
            if script.every:
                await asyncio.sleep(script.every)
            self._place += 1
            return script.chunks[self._place - 1]
        if script.pings:
            await asyncio.sleep(script.pings)
            return PING
        if script.stalls:
            await asyncio.get_running_loop().create_future()
        if script.breaks is not None:
            raise script.breaks
        self.ended = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


class Upstream:
    """A provider that plays one script an attempt, the last one again and again, and remembers its calls."""

    def __init__(self, name: str, *scripts: Script) -> None:
        self.name = name
        self.calls: list[float] = []
        self.models: list[str] = []
        self.requests: list[Request] = []
        self.connect_timeouts: list[float] = []
        self.streams: list[PlayedStream] = []
        self._scripts = scripts

    async def open(self, request: Request, model: str, connect_timeout: float) -> PlayedStream:
        self.calls.append(now())
        self.models.append(model)
        self.requests.append(request)
        self.connect_timeouts.append(connect_timeout)
        script = self._scripts[min(len(self.calls), len(self._scripts)) - 1]
        if script.opens:
            await asyncio.sleep(script.opens)
        if script.fails is not None:
            raise script.fails
        stream = PlayedStream(script)
        self.streams.append(stream)
        return stream

    async def aclose(self) -> None:
        pass


# --- policies ---------------------------------------------------------------------------------------------------


class Page:
    """A ticket that is kept: when it began, and how it was settled, each time."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.endings: list[Ending] = []

    def begun(self, seconds: float, now: float) -> None:
        self.began.append(seconds)

    def settle(self, ending: Ending, now: float) -> None:
        self.endings.append(ending)


class Books:
    """A policy that writes down who came and how each ended; ``refuse`` may say no."""

    name = "books"

    def __init__(self, refuse: Callable[[Attempt], Refused | None] = lambda _: None) -> None:
        self.settled: list[Page] = []
        self._refuse = refuse

    def admit(self, attempt: Attempt, now: float) -> Page:
        if (refusal := self._refuse(attempt)) is not None:
            raise refusal
        page = Page()
        self.settled.append(page)
        return page

    def refusal(self, call: Call, now: float) -> str | None:
        return None

    def until(self, now: float) -> float | None:
        return None

    def describe(self, now: float) -> Mapping[str, Any]:
        return {"attempts": len(self.settled)}

    @property
    def outcomes(self) -> list[Outcome]:
        """One a ticket, in the order of admission. Fails unless each was settled exactly once."""
        assert all(len(page.endings) == 1 for page in self.settled), [page.endings for page in self.settled]
        return [page.endings[0].outcome for page in self.settled]


# --- the whole --------------------------------------------------------------------------------------------------


def alive(*guards: Guard) -> Live:
    """A target's live numbers, counted, and guarded by these."""
    live = Live()
    live.guarded_by(*guards, counters=[Load(live)])
    return live


@dataclass
class World:
    """A dispatcher over ``upstreams``, each a tier of its own unless ``weights`` are given."""

    upstreams: Sequence[Upstream]
    max_attempts: int = 3
    total: float = 600.0
    timeouts: Timeouts = field(default_factory=Timeouts)
    weights: Sequence[float] = ()
    seed: int = 0
    rules: Sequence[Any] = ()
    guards: Sequence[Any] = ()
    shedding: Shedding = field(default_factory=lambda: Shedding(enabled=False))
    model: str | None = "m"
    hedge: Hedge | None = None

    def __post_init__(self) -> None:
        self.books = Books()
        self.targets = tuple(
            Target(
                upstream,
                self.model,
                weight=self.weights[place] if self.weights else 1.0,
                tier=0 if self.weights else place,
                timeouts=self.timeouts,
                live=alive(self.books, *self.guards),
            )
            for place, upstream in enumerate(self.upstreams)
        )
        route = Route("m", self.targets, self.total, Retry(self.max_attempts), hedge=self.hedge)
        rules = [AttemptCap(), Deadline(), *self.rules]
        self.dispatcher = Dispatcher(
            Routes({"m": route}),
            gate=Gate(self.shedding),
            rules=rules,
            retry_rules=rules,
            seed=self.seed,
        )

    def open(self, call: Call | None = None) -> Coroutine[Any, Any, Reply]:
        return self.dispatcher.open(call or call_for())

    async def answer(self, call: Call | None = None) -> list[Chunk]:
        """Open, read to the end, close."""
        async with await self.open(call) as reply:
            return [chunk async for chunk in reply]

    @property
    def calls(self) -> list[int]:
        """How often each upstream was called."""
        return [len(upstream.calls) for upstream in self.upstreams]

    @property
    def in_flight(self) -> list[int]:
        return [target.live.in_flight for target in self.targets]

    def is_at_rest(self) -> bool:
        """Every ticket settled once, nothing in flight, every upstream closed."""
        streams = [stream for upstream in self.upstreams for stream in upstream.streams]
        return bool(
            len(self.books.outcomes) == len(self.books.settled)
            and not any(self.in_flight)
            and all(stream.closed for stream in streams)
        )


def request(
    request_id: str = "r1",
    *,
    endpoint: Endpoint = Endpoint.CHAT,
    stream: bool = True,
    created: int = 0,
    **fields: Any,
) -> Request:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream} | fields
    return Request(request_id, endpoint, orjson.dumps(asked), asked, stream, {}, created)


def call_for(
    request_id: str = "r1",
    *,
    stream: bool = True,
    pin: str | None = None,
    timeout: float | None = None,
    endpoint: Endpoint = Endpoint.CHAT,
    model: str = "m",
) -> Call:
    asked = request(request_id, stream=stream, endpoint=endpoint)
    return Call(asked, model, Pin.parse(pin) if pin else None, timeout)
