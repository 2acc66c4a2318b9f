"""What a call has been through, and why: made on the way, read afterwards.

Everything that costs something to say is said by whoever reads it; here are only references and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from router.select.choose import Choice
from router.types import Call, Route, Target, Tried


class Step:
    """One attempt. ``began`` and ``seconds`` (to its first content, or its failure) on the stopwatch; ``label`` as in
    x-attempts, None while it runs; ``refusal`` is the policy's reason if it was never sent. ``in_flight`` and ``limit``
    of its target are from just before it.
    """

    __slots__ = (
        "barred",
        "began",
        "choice",
        "hedge",
        "in_flight",
        "label",
        "limit",
        "number",
        "paused",
        "refusal",
        "seconds",
        "sent",
        "target",
    )

    def __init__(self, number: int, target: Target, choice: Choice, barred: Mapping[Target, str], began: float) -> None:
        self.number = number
        self.target = target
        self.choice = choice
        self.barred = barred
        self.began = began
        self.hedge = self.sent = False
        self.paused = self.seconds = 0.0
        self.label: str | None = None
        self.refusal: str | None = None
        self.in_flight = target.live.in_flight
        self.limit = target.live.limit


class Decision:
    """Of one call. ``began`` on the stopwatch; ``queued`` seconds in the gate's queue, ``waited`` for upstreams; ``reason`` as in x-route-reason. ``last`` is
    the choice that found nobody, and ``verdict`` the reason why there was no answer; None otherwise.
    """

    route: Route | None = None
    last: Choice | None = None
    reason: str | None = None
    verdict: str | None = None
    queued = 0.0
    waited = 0.0

    def __init__(self) -> None:
        """Until ``begin`` there is nothing but this: the call has not found its route."""
        self.steps: list[Step] = []
        self.tried: list[Tried] = []

    def begin(self, call: Call, route: Route, tokens: int, began: float) -> None:
        self.request_id = call.request.id
        self.model = call.model
        self.stream = call.request.stream
        self.pin = call.pin
        self.priority = call.priority
        self.session = call.request.session
        self.route = route
        self.tokens = tokens
        self.began = began
