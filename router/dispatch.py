"""Dispatcher.open: every decision about a call, made before the commit point.

    gate ─► next target ─► rules ─► pause ─► guards ─► provider.open ─► hold back ─► Reply
                 ▲                                          │ failed, and another attempt may help
                 └──────────────────────────────────────────┘

It returns only with content in hand, so a failure before that is never seen by the client. After it there is
only forwarding. No decision is made here by a special case: choosing is ``router.select``, admitting and refusing
are policies, and what a failure means is said by its class.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from providers import Chunk, ProviderError, Stream
from providers.errors import Empty, TimedOut
from router.decision import Decision, Step
from router.errors import DeadlineExceeded, Refused, RouterError, Shed
from router.events import AttemptEnded, AttemptStarted, Committed, Events, RetryRefused
from router.events import Shed as TurnedAway
from router.gate import Gate
from router.hedging import hedged
from router.journey import Journey
from router.policies.shed import LABELS
from router.policy import IGNORED, UNSENT, Ending, Policy, Ticket, admit_all, settle_all
from router.reply import Reply
from router.routes import Routes
from router.shared_timer import SharedTimer
from router.time_limit import TimeLimit
from router.types import Attempt, Call

# Held back at most before an answer is passed on without content: lifecycle events may repeat a whole prompt.
HOLD_BACK_CHUNKS = 256
HOLD_BACK_BYTES = 1024 * 1024


class Dispatcher:
    """``gate`` decides whether a call comes in at all, ``rules`` whether it is tried, ``retry_rules`` whether it is tried
    again; the guards of a target, whether it may take it. ``storming`` tells whether retries are most of what fails on a
    route; ``stopwatch`` measures how long upstreams take, in seconds; picks depend on ``seed`` and the request id alone.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        gate: Gate,
        rules: Sequence[Policy],
        retry_rules: Sequence[Policy],
        events: Events | None = None,
        storming: Callable[[str, float], bool] = lambda _model, _now: False,
        seed: int = 0,
        stopwatch: Callable[[], float] | None = None,
    ) -> None:
        self.routes = routes
        self.events = events or Events()
        self.seed = seed
        self._gate = gate
        self._rules = rules
        self._retry_rules = retry_rules
        self.storming = storming
        self._stopwatch = stopwatch
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: dict[float, SharedTimer] = {}

    async def open(self, call: Call, decision: Decision | None = None) -> Reply:
        """Raises ``RouterError`` if no target answered; cancelling it closes whatever is open upstream. ``decision`` is
        filled on the way, and true at any time.
        """
        route = self.routes.find(call.model)
        # Looked up once: on Python 3.11 each look-up is a system call.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        journey = Journey(call, route, self.seed, loop, self._stopwatch or loop.time, decision or Decision())
        held: list[Ticket] = []
        try:  # noqa: PLW0717 - whatever ends a call, here its room is given back
            ticket = self._gate.enter(call, route, journey.tokens, journey.has_room, loop.time())
            held.append(ticket or await self._queue(journey))
            while True:
                attempt = journey.next_attempt()
                if attempt is None:  # somebody else took the last room
                    settle_all(held, UNSENT, loop.time())
                    held.append(await self._queue(journey))
                    continue
                if route.hedge is None:
                    reply = await self._attempt(journey, attempt)
                else:
                    reply = await hedged(journey, attempt, self._attempt)
                if reply is not None:
                    reply.hold(held)
                    return reply
        except RouterError as error:
            journey.over(error)
            if held and isinstance(error, Shed):  # who is not in yet was turned away by the gate, which has told it
                self._emit_shed(call, error, loop.time())
            error.storm = self.storming(route.model, loop.time())
            raise
        finally:
            if held:
                settle_all(held, IGNORED, loop.time())

    async def _queue(self, journey: Journey) -> Ticket:
        began = journey.loop.time()
        try:
            return await self._gate.wait(
                journey.call, journey.route, journey.tokens, journey.has_room, journey.deadline, journey.loop
            )
        finally:
            journey.decision.queued = journey.loop.time() - began

    async def _attempt(self, journey: Journey, attempt: Attempt) -> Reply | None:
        """A reply, or None if another attempt may help."""
        loop = journey.loop
        told = self.events.attempts_wanted
        tickets: list[Ticket] = []
        ending = UNSENT
        step = journey.step(attempt)
        now = loop.time()
        try:  # noqa: PLW0717 - whatever ends an attempt, here is the one place that knows
            tickets += admit_all(self._rules if attempt.after is None else self._retry_rules, attempt, now)
            if attempt.starts > now:
                await journey.pause(step, attempt)
                now = loop.time()
            tickets += admit_all(attempt.target.live.guards, attempt, now)
            journey.sent(step)
            ending = IGNORED
            if told:
                self._emit_started(attempt, now)
            stream, held = await begin(attempt, now, loop, self._timer_of)
        except Refused as refusal:
            self._emit_refused(attempt, refusal, now)
            journey.refused(step, attempt, refusal)
            return None
        except ProviderError as failure:
            ending = Ending(failure.outcome, failure)
            journey.failed(step, attempt, failure)
            return None
        except DeadlineExceeded:
            journey.note(step, "deadline")
            raise
        except asyncio.CancelledError:
            journey.cancelled(step)
            raise
        else:
            reply = self._commit(journey, attempt, step, stream, held, tickets)
            tickets = []  # the reply's from here on
            return reply
        finally:
            if tickets:
                now = loop.time()
                settle_all(tickets, ending, now)
                self._gate.poke(now)
            if told and step.sent and step.label != "200":
                self._emit_ended(attempt.call.request.id, step, ending)

    def _commit(
        self,
        journey: Journey,
        attempt: Attempt,
        step: Step,
        stream: Stream,
        held: list[Chunk],
        tickets: list[Ticket],
    ) -> Reply:
        """There is content in hand: what can be decided has been."""
        loop, decision = journey.loop, journey.decision
        decision.reason = journey.reason(step)
        seconds = journey.note(step, "200")
        now = loop.time()
        for ticket in tickets:
            ticket.begun(seconds, now)
        reply = Reply(attempt, stream, held, tickets, decision, loop)
        if self.events.attempts_wanted:
            request_id = attempt.call.request.id
            self.events.emit(Committed(now, request_id, attempt.target.id, attempt.number, seconds))
            reply.ended = partial(self._emit_ended, request_id, step)  # it ends with its stream
        return reply

    def _timer_of(self, seconds: float) -> SharedTimer:
        """There are as many as there are different time-outs in the configuration."""
        timer = self._timers.get(seconds)
        if timer is None:
            assert self._loop is not None  # noqa: S101 - something runs
            timer = self._timers[seconds] = SharedTimer(self._loop, seconds)
        return timer

    def _emit_shed(self, call: Call, shed: Shed, now: float) -> None:
        self.events.emit(TurnedAway(now, call.request.id, call.model, LABELS[call.priority], shed.cause))

    def _emit_refused(self, attempt: Attempt, refusal: Refused, now: float) -> None:
        if refusal.final and attempt.after is not None:
            self.events.emit(RetryRefused(now, attempt.call.request.id, attempt.after.id, refusal.reason))

    def _emit_started(self, attempt: Attempt, now: float) -> None:
        call = attempt.call
        self.events.emit(AttemptStarted(now, call.request.id, attempt.target.id, attempt.number, attempt.hedge))

    def _emit_ended(self, request_id: str, step: Step, ending: Ending) -> None:
        assert self._loop is not None  # noqa: S101 - something has run
        now, label = self._loop.time(), ending.label or step.label or ""
        target, outcome = step.target.id, ending.outcome.value
        self.events.emit(AttemptEnded(now, request_id, target, step.number, outcome, label, step.seconds))


async def begin(
    attempt: Attempt,
    now: float,
    loop: asyncio.AbstractEventLoop,
    timer_of: Callable[[float], SharedTimer | None] = lambda _seconds: None,
) -> tuple[Stream, list[Chunk]]:
    """Open the upstream and read up to the first content, within the time that this phase has from ``now`` on."""
    request, target = attempt.call.request, attempt.target
    timeouts = target.timeouts
    phase, seconds = ("first_token", timeouts.first_token) if request.stream else ("attempt", timeouts.attempt)
    own_limit = now + seconds
    stream: Stream | None = None
    try:
        shared = timer_of(seconds) if own_limit < attempt.deadline else None
        with TimeLimit(loop, min(own_limit, attempt.deadline), shared) as limit:
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
