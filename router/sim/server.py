"""A provider that exists only on the clock: it works by its ``Service`` and answers in the form of chat completions."""

from __future__ import annotations

import asyncio
import math
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from providers import Chunk, Request, Stream, Usage
from providers.errors import Overloaded, RateLimited, ServerFault
from providers.prompt import output_limit, prompt_tokens
from providers.shapes import EVENTS, JSON
from router.sim.arrivals import in_tokens
from router.sim.line import Job, Line
from router.sim.quota import Quota
from router.sim.service import Service
from router.sim.timed import Timed, TimedStream

_BODY = b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}'
_SAID = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":null}]}\n\n'
_END = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_CONTENT = Chunk(_SAID, content=True)
# Of those that failed here, the latest: a request that is tried again draws anew.
REMEMBERED = 10_000
# Seconds of work. A gateway takes a stream that says nothing for long for one that hangs.
LONGEST_SILENCE = 5.0
_CHANCES = struct.Struct("<4Q")
_CERTAIN = (0.0, 0.0, 0.0, 0.0)


class Work(NamedTuple):
    """What a call asks of a server: seconds to the first token and from there to the last, and its tokens."""

    first: float
    rest: float
    prompt: int
    tokens: int


class Server:
    """Every draw is made from (seed, name, request id, how often it failed here), whatever the order in which calls come.

    ``arrived`` are all that came, ``failed`` those answered with an error, ``refused`` of them by a quota or a full queue.
    """

    def __init__(self, name: str, service: Service, *, seed: int = 0) -> None:
        self.name = name
        self.arrived = self.failed = self.refused = 0
        self._service = service
        self._line = Line(service)
        self._requests = Quota(service.requests_per_minute)
        self._tokens = Quota(service.tokens_per_minute)
        self._metered = service.requests_per_minute is not None or service.tokens_per_minute is not None
        laws = (service.ttft, service.token_interval, service.tokens)
        self._certain = service.error_rate in (0.0, 1.0) and all(law is None or law.shape == "constant" for law in laws)
        self._seed = seed
        self._failures: OrderedDict[str, int] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def queued(self) -> int:
        return self._line.queued

    @property
    def running(self) -> int:
        return self._line.running

    @property
    def served(self) -> int:
        return self._line.served

    @property
    def wasted(self) -> int:
        """Finished for callers who had gone."""
        return self._line.wasted

    async def open(self, request: Request, model: str, connect_timeout: float) -> Stream:
        loop = self._loop = self._loop or asyncio.get_running_loop()
        self.arrived += 1
        service = self._service
        error, *chances = _CERTAIN if self._certain else self._chances(request.id)
        work = self._work(request, chances)
        now = loop.time()
        if self._metered:
            self._charge(work, now)
        if error < service.error_rate:
            self._fail(request.id)
            raise ServerFault(f"{self.name} failed, as its error_rate asks", status=service.error_status)
        if self._line.full:
            self.failed += 1
            self.refused += 1
            message = f"{self.name} has {service.queue} that wait, as many as it takes"
            raise Overloaded(message, status=503, retry_after=service.retry_after)
        if service.rate is not None:
            return await self._in_turn(request, work, 1.0 / service.rate, loop)
        return await self._at_once(request, work, loop)

    async def aclose(self) -> None:
        self._line.close()

    async def _in_turn(self, request: Request, work: Work, seconds: float, loop: asyncio.AbstractEventLoop) -> Stream:
        """Its turn comes and is over, and then the answer takes its time."""
        await self._worked(Job(loop.time(), seconds, streamed=False), loop)
        now = loop.time()
        return TimedStream(self._chunks(request, work, lambda done: now + done), _media_type(request), loop)

    async def _at_once(self, request: Request, work: Work, loop: asyncio.AbstractEventLoop) -> Stream:
        """It runs for as long as its answer takes."""
        job = Job(loop.time(), work.first + work.rest, streamed=request.stream)
        await self._worked(job, loop)
        if not request.stream:
            return TimedStream(self._chunks(request, work, lambda _: 0.0), JSON, loop)
        reached = self._service.capacity.reached
        chunks = self._chunks(request, work, lambda done: reached(done * job.factor, job.begun))
        return TimedStream(chunks, EVENTS, loop, partial(self._read, job, loop))

    async def _worked(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self._line.join(job, loop)
        if job.streamed and job.begun < math.inf:
            return
        turn = job.turn = loop.create_future()
        try:
            await turn
        except asyncio.CancelledError:
            self._line.leave(job, loop)
            raise

    def _read(self, job: Job, loop: asyncio.AbstractEventLoop, *, whole: bool) -> None:
        """Its stream is read, or was closed before its end."""
        if whole:
            self._line.end(job, loop)
        else:
            self._line.leave(job, loop)

    def _chunks(self, request: Request, work: Work, when: Callable[[float], float]) -> Iterator[Timed]:
        """``when`` so many seconds of the work are done, on the loop's clock."""
        usage = Usage(work.prompt, work.tokens)
        if not request.stream:
            return iter(((when(work.first + work.rest), Chunk(_BODY, 1, True, usage)),))
        return _events(work, self._service.chunks, usage, when)

    def _work(self, request: Request, chances: list[float]) -> Work:
        """By ``chances``, each in [0, 1)."""
        service = self._service
        limit = output_limit(request)
        drawn = None if service.tokens is None else max(1, in_tokens(service.tokens.at(chances[1])))
        tokens = drawn or limit or 1 if drawn is None or limit is None else min(drawn, limit)
        first = service.ttft.at(chances[0])
        return Work(first, (tokens - 1) * service.token_interval.at(chances[2]), prompt_tokens(request), tokens)

    def _charge(self, work: Work, now: float) -> None:
        """Raises ``RateLimited``."""
        tokens = work.prompt + work.tokens
        waits = [wait for wait in (self._requests.wait(1, now), self._tokens.wait(tokens, now)) if wait is not None]
        if waits:
            self.failed += 1
            self.refused += 1
            raise RateLimited(f"{self.name} has no more for this minute", status=429, retry_after=max(waits))
        self._requests.take(1)
        self._tokens.take(tokens)

    def _chances(self, request_id: str) -> tuple[float, ...]:
        tries = self._failures.get(request_id, 0)
        key = f"{self._seed}\x1f{self.name}\x1f{request_id}\x1f{tries}".encode()
        numbers: tuple[int, ...] = _CHANCES.unpack(blake2b(key, digest_size=_CHANCES.size).digest())
        return tuple([(number >> 11) * 2.0**-53 for number in numbers])

    def _fail(self, request_id: str) -> None:
        self.failed += 1
        self._failures[request_id] = self._failures.pop(request_id, 0) + 1
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)


def _media_type(request: Request) -> str:
    return EVENTS if request.stream else JSON


def _events(work: Work, least: int, usage: Usage, when: Callable[[float], float]) -> Iterator[Timed]:
    """In ``least`` pieces, or as many as it takes to be silent no longer than real ones are."""
    pieces = max(least, math.ceil(min(work.tokens, work.rest / LONGEST_SILENCE)))
    for number in range(pieces):
        yield when(work.first + work.rest * number / pieces), _CONTENT
    yield when(work.first + work.rest), Chunk(_END, 2, True, usage)
