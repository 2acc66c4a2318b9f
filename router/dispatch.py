"""Dispatcher.open: every decision about a call, made before the commit point.

    open ─► next target ─► rules ─► pause ─► guards ─► provider.open ─► hold back ─► Reply
                 ▲                                          │ failed, and another attempt may help
                 └──────────────────────────────────────────┘

It returns only with content in hand, so a failure before that is never seen by the client. After it there is
only forwarding. No decision is made here by a special case: choosing is ``router.select``, admitting and refusing
are policies, and what a failure means is said by its class.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from providers import Chunk, Outcome, ProviderError, Stream
from providers.errors import Empty, Rejected, TimedOut
from router.errors import DeadlineExceeded, Exhausted, NoTarget, Refused, RequestRejected, RouterError
from router.policy import Policy, Settle, admit_all, settle_all
from router.reply import Reply
from router.routes import Routes
from router.select.chance import unit
from router.select.choose import choose
from router.time_limit import TimeLimit
from router.types import Attempt, Call, Route, Target, Tried

# Held back at most before an answer is passed on without content: lifecycle events may repeat a whole prompt.
HOLD_BACK_CHUNKS = 256
HOLD_BACK_BYTES = 1024 * 1024
# Beyond this no client waits either: the official SDKs give up. Another target may still serve the call.
MAX_RETRY_AFTER_SECONDS = 120.0


class Dispatcher:
    """``rules`` decide whether there is another attempt, ``guards`` whether its target may take it.

    ``stopwatch`` measures how long upstreams take, in seconds; picks depend on ``seed`` and the request id alone.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        rules: Sequence[Policy],
        guards: Sequence[Policy],
        seed: int = 0,
        stopwatch: Callable[[], float] | None = None,
    ) -> None:
        self.routes = routes
        self._rules = rules
        self._guards = guards
        self._seed = seed
        self._stopwatch = stopwatch
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, call: Call) -> Reply:
        """Raises ``RouterError`` if no target answered; cancelling it closes whatever is open upstream."""
        route = self.routes.find(call.model)
        # Looked up once: on Python 3.11 each look-up is a system call.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        journey = Journey(call, route, self._seed, loop, self._stopwatch or loop.time)
        try:
            while True:
                reply = await self._attempt(journey, journey.next_attempt())
                if reply is not None:
                    return reply
        except RouterError as error:
            error.attempts = tuple(journey.tried)
            error.waited = journey.waited
            raise

    async def _attempt(self, journey: Journey, attempt: Attempt) -> Reply | None:
        """A reply, or None if another attempt may help."""
        loop = journey.loop
        tickets: list[Settle] = []
        outcome = Outcome.IGNORED
        journey.start()
        try:
            tickets += admit_all(self._rules, attempt, loop.time())
            await journey.pause(attempt)
            tickets += admit_all(self._guards, attempt, loop.time())
            stream, held = await begin(attempt, loop)
        except Refused as refusal:
            journey.refused(attempt, refusal)
            return None
        except ProviderError as failure:
            outcome = failure.outcome
            journey.failed(attempt, failure)
            return None
        except DeadlineExceeded:
            journey.note(attempt, "deadline")
            raise
        else:
            journey.note(attempt, "200")
            reply = Reply(attempt, stream, held, tickets, tuple(journey.tried), journey.waited, loop)
            tickets = []  # the reply's from here on
            return reply
        finally:
            settle_all(tickets, outcome, loop.time())


class Journey:
    """What one call has been through so far. Lives as long as ``open``; attempts see nothing of it."""

    def __init__(
        self,
        call: Call,
        route: Route,
        seed: int,
        loop: asyncio.AbstractEventLoop,
        stopwatch: Callable[[], float],
    ) -> None:
        self.loop = loop
        self.tried: list[Tried] = []
        self.waited = 0.0
        self._call = call
        self._route = route
        self._seed = seed
        self._stopwatch = stopwatch
        self._now = loop.time
        total = route.total if call.timeout is None else min(route.total, call.timeout)
        self._deadline = self._now() + total
        self._tries: dict[Target, int] = {}
        self._barred: set[Target] = set()
        self._not_before: dict[Target, float] = {}
        self._failures: list[ProviderError] = []
        self._started = 0.0

    def next_attempt(self) -> Attempt:
        """Raises ``RouterError`` if there is nothing more to try."""
        number = len(self.tried) + 1
        draw = f"pick {number}" if not self._barred else f"pick {number} without {len(self._barred)}"
        chance = unit(self._seed, self._call.request.id, draw)
        target = choose(self._call, self._route, self._tries, self._barred, self._not_before, chance)
        if target is None:
            raise self._verdict()
        starts = self._not_before.get(target, 0.0)
        return Attempt(self._call, self._route, target, number, starts, self._deadline)

    def start(self) -> None:
        self._started = self._stopwatch()

    async def pause(self, attempt: Attempt) -> None:
        """Wait until the attempt may start. The wait is on its target's account, but not part of the attempt."""
        seconds = attempt.starts - self._now()
        if seconds <= 0:
            return
        await asyncio.sleep(seconds)
        began = self._stopwatch()
        self.waited += began - self._started
        self._started = began

    def note(self, attempt: Attempt, label: str) -> None:
        """An attempt is over, or has reached its commit point."""
        seconds = self._stopwatch() - self._started
        self.waited += seconds
        target = attempt.target
        self.tried.append(Tried(target, target.name_for(self._call.model), label, seconds))

    def failed(self, attempt: Attempt, failure: ProviderError) -> None:
        """Raises ``RequestRejected`` if no other target could do better."""
        self.note(attempt, failure.label)
        if isinstance(failure, Rejected):
            raise RequestRejected(failure) from failure
        self._failures.append(failure)
        target = attempt.target
        pause = failure.retry_after
        if not failure.same_target or (pause is not None and pause > MAX_RETRY_AFTER_SECONDS):
            self._barred.add(target)
            return
        tries = self._tries[target] = self._tries.get(target, 0) + 1
        if pause is None:
            backoff = self._route.retry.backoff
            chance = unit(self._seed, self._call.request.id, f"pause {len(self.tried)}")
            pause = chance * min(backoff.cap, backoff.base * 2.0 ** (tries - 1))
        starts = self._not_before[target] = self._now() + pause
        if starts >= self._deadline:
            self._barred.add(target)

    def refused(self, attempt: Attempt, refusal: Refused) -> None:
        """Raises ``RouterError`` if the refusal ends the call."""
        if refusal.final:
            raise self._verdict(refusal) from refusal
        self._barred.add(attempt.target)

    def _verdict(self, refusal: Refused | None = None) -> RouterError:
        if self._failures:
            return Exhausted(self._failures)
        if refusal is not None and refusal.reason == "deadline":
            return DeadlineExceeded("the call's time was over before an attempt could start")
        return NoTarget(f"no target can serve {self._call.model!r} now")


async def begin(attempt: Attempt, loop: asyncio.AbstractEventLoop) -> tuple[Stream, list[Chunk]]:
    """Open the upstream and read up to the first content, within the time that this phase has."""
    request, target = attempt.call.request, attempt.target
    timeouts = target.timeouts
    phase, seconds = ("first_token", timeouts.first_token) if request.stream else ("attempt", timeouts.attempt)
    own_limit = loop.time() + seconds
    stream: Stream | None = None
    try:
        with TimeLimit(loop, min(own_limit, attempt.deadline)) as limit:
            stream = await target.provider.open(request, target.model or attempt.call.model, timeouts.connect)
            return stream, await hold_back(stream)
    except BaseException as error:
        if stream is not None:
            await stream.aclose()
        if not isinstance(error, TimeoutError) or not limit.expired:
            raise
        if attempt.deadline <= own_limit:
            raise DeadlineExceeded("the call's time was over before an answer began") from None
        raise TimedOut(phase, seconds) from None


async def hold_back(stream: Stream) -> list[Chunk]:
    """The chunks up to the first that bears content, pings left out. Fewer only if the answer is complete."""
    held: list[Chunk] = []
    size = 0
    async for chunk in stream:
        if not chunk.events:
            continue
        held.append(chunk)
        size += len(chunk.raw)
        if chunk.content or size > HOLD_BACK_BYTES or len(held) >= HOLD_BACK_CHUNKS:
            return held
    if not held:
        raise Empty("the answer holds nothing")
    return held
