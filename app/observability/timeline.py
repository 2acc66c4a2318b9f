"""The log's line for each turn of a target: its breaker moved, it answers nobody, an operator or its upstream took it out,
weights changed, a fault began or ended.

What needs a person is an error: a target that is disabled stays so until somebody mends it.
"""

from __future__ import annotations

import structlog

from router.events import BreakerMoved, Events, FaultStarted, FaultStopped, StandingChanged, Unanswered, WeightsChanged

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")


class Timeline:
    """Listens for as long as the process lives."""

    def __init__(self, events: Events) -> None:
        events.listen(self._moved, BreakerMoved)
        events.listen(self._unanswered, Unanswered)
        events.listen(self._standing, StandingChanged)
        events.listen(self._weights, WeightsChanged)
        events.listen(self._fault_started, FaultStarted)
        events.listen(self._fault_stopped, FaultStopped)

    def _moved(self, event: BreakerMoved) -> None:
        say = log.info if event.after in ("closed", "half_open") else log.warning
        say(
            "breaker",
            target=event.target,
            before=event.before,
            after=event.after,
            reason=event.reason,
            calls=event.calls,
            failures=event.failures,
            slow=event.slow,
            ejections=event.ejections,
            open_seconds=round(event.open_until - event.at, 1) if event.open_until > event.at else None,
        )

    def _unanswered(self, event: Unanswered) -> None:
        seconds = round(event.seconds, 1)
        log.warning(
            "unanswered",
            target=event.target,
            seconds=seconds,
            waiting=event.waiting,
            in_flight=event.in_flight,
            drowned=event.drowned,
            again=event.again,
        )

    def _standing(self, event: StandingChanged) -> None:
        say = log.error if event.standing == "disabled" else log.warning
        seconds = None if event.until is None else round(event.until - event.at, 1)
        say("target", target=event.target, standing=event.standing, reason=event.reason, seconds=seconds)

    def _weights(self, event: WeightsChanged) -> None:
        log.info("weights", route=event.route, weights=dict(event.weights))

    def _fault_started(self, event: FaultStarted) -> None:
        log.warning(
            "fault started",
            fault=event.fault,
            kind=event.kind,
            targets=event.targets,
            seconds=round(event.ends - event.at, 1),
            reason=event.reason or None,
        )

    def _fault_stopped(self, event: FaultStopped) -> None:
        log.warning(
            "fault stopped",
            fault=event.fault,
            kind=event.kind,
            targets=event.targets,
            why=event.why,
            told=event.told,
            injected=event.injected,
        )
