"""Where calls wait at a server and are worked off: first come, first served, so many at once."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from router.sim.service import Cancelled, Service


class Job:
    """One call's work: ``seconds`` of it at full speed. ``turn``, if anybody waits for it, is done when it has ended or, if it is
    ``streamed``, begins: whoever reads it then tells when it ends. From when it begins ``begun``, ``ends`` (on the loop's clock,
    infinite for never) and ``factor`` are known. ``gone``: its caller is; ``over``: nothing more will be done for it.
    """

    __slots__ = ("begun", "came", "ends", "factor", "gone", "over", "seconds", "streamed", "timer", "turn")

    def __init__(self, came: float, seconds: float, *, streamed: bool) -> None:
        self.came = came
        self.seconds = seconds
        self.turn: asyncio.Future[None] | None = None
        self.streamed = streamed
        self.gone = self.over = False
        self.begun = self.ends = math.inf
        self.factor = 1.0
        self.timer: asyncio.TimerHandle | None = None


class Line:
    """``served`` were finished while their callers were there; ``wasted`` though these had gone."""

    def __init__(self, service: Service) -> None:
        self.running = self.served = self.wasted = 0
        self._places: float = 1 if service.rate is not None else service.slots or math.inf
        self._queue: float = math.inf if service.queue is None else service.queue
        self._patience: float = math.inf if service.patience is None else service.patience
        self._slowdown, self._unhurried = service.slowdown, service.unhurried
        self._reached = service.capacity.reached
        self._stops = service.cancelled is Cancelled.STOPS
        self._waiting: deque[Job] = deque()
        self._left = 0

    @property
    def queued(self) -> int:
        return len(self._waiting) - self._left

    @property
    def full(self) -> bool:
        return self.running >= self._places and self.queued >= self._queue

    def join(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        if self.running < self._places and not self._waiting:
            self._begin(job, loop)
        else:
            self._waiting.append(job)

    def leave(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """Its caller has gone."""
        if job.over:
            return
        job.gone = True
        job.turn = None  # cancelled, it holds the frames of who waited: in a long line, all of them
        if job.begun == math.inf:
            if self._stops:
                job.over = True  # it is passed over when its turn comes
                self._left += 1
        elif self._stops:
            if job.timer is not None:
                job.timer.cancel()
            self.end(job, loop)
        elif job.streamed and job.ends < math.inf:
            loop.call_at(job.ends, self.end, job, loop)

    def end(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """It is done: by its timer, or as its stream is read to the end."""
        job.over = True
        job.timer = None  # it knows the job: a circle that only the garbage collector could break
        if job.gone:
            self.wasted += job.ends <= loop.time()
        else:
            self.served += 1
            if job.turn is not None and not job.turn.done():
                job.turn.set_result(None)
        self.running -= 1
        while self._waiting and self.running < self._places:
            following = self._waiting.popleft()
            if following.over:
                self._left -= 1
            else:
                self._begin(following, loop)

    def close(self) -> None:
        self._waiting.clear()
        self._left = 0

    def _begin(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        beyond = self.running + 1 - self._unhurried
        if beyond > 0:
            job.factor += self._slowdown * beyond
        ends = self._reached(job.seconds * job.factor, now)
        if ends > job.came + self._patience:
            job.over = True  # left out: it would be for nobody
            return
        self.running += 1
        job.begun, job.ends = now, ends
        if job.streamed and not job.gone:
            if job.turn is not None and not job.turn.done():
                job.turn.set_result(None)
        elif ends < math.inf:
            job.timer = loop.call_at(ends, self.end, job, loop)
