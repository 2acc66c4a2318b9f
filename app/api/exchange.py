"""One request and its answer: what the edge learns on the way, for the response headers and the access log."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from time import perf_counter

from app.api.asgi import Scope
from providers import Usage
from providers.base import Injected
from router.chaos import Acting
from router.decision import Decision
from router.types import Tried

# Unique by the process's own random part and a count: asking the kernel for each id would cost more than the rest.
_PREFIX = f"req_{os.urandom(8).hex()}"
_COUNTER = itertools.count(1)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Exchange:
    """Times are seconds on the stopwatch (``perf_counter``). ``decision`` is what inference adds: why it went where it
    went; ``experiment`` is name=arm; ``faults`` are those injected into its attempts, ``own_fault`` is one that it
    brought itself.
    """

    status = 0
    bytes_in = 0
    bytes_out = 0
    model: str | None = None
    stream = False
    target: str | None = None
    decision: Decision | None = None
    experiment: str | None = None
    own_fault: Acting | None = None
    first_byte: float | None = None
    usage: Usage | None = None
    error: str | None = None
    end = "complete"  # or: cut, client_closed, client_stalled

    def __init__(self, scope: Scope) -> None:
        self.started = self.ended = perf_counter()
        self.headers = headers_of(scope["headers"])
        self.request_id = request_id(self.headers.get(b"x-request-id"))
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.client: str = scope["client"][0] if scope.get("client") else ""
        self.faults: list[Injected] = []

    @property
    def attempts(self) -> Sequence[Tried]:
        return () if self.decision is None else self.decision.tried

    @property
    def waited(self) -> float:
        """Seconds that were spent waiting for upstreams, up to the first content."""
        return 0.0 if self.decision is None else self.decision.waited

    @property
    def route_reason(self) -> str | None:
        return None if self.decision is None else self.decision.reason

    def left(self, *, stalled: bool) -> None:
        """The client has gone, or was cut off since it took nothing: nobody saw the rest."""
        self.status = 499
        self.end = self.error = "client_stalled" if stalled else "client_closed"

    def routing_headers(self) -> list[tuple[bytes, bytes]]:
        """The same for plain answers, streams and errors."""
        total_ms = (perf_counter() - self.started) * 1000
        decision = self.decision
        waited_ms = 0.0 if decision is None else decision.waited * 1000
        overhead_ms = max(0.0, total_ms - waited_ms)
        headers = [
            (b"x-request-id", self.request_id.encode()),
            (b"x-cache", b"off"),
            (b"x-overhead-ms", b"%.2f" % overhead_ms),
            (b"server-timing", b"gateway;dur=%.2f, upstream;dur=%.2f" % (overhead_ms, waited_ms)),
        ]
        if decision is None:
            return headers
        if decision.tried:
            headers.append((b"x-attempts", ",".join([f"{t.name}:{t.label}" for t in decision.tried]).encode()))
        if self.target is not None and decision.reason is not None:
            headers += [
                (b"x-provider", self.target.partition("/")[0].encode()),
                (b"x-target", self.target.encode()),
                (b"x-route-reason", decision.reason.encode()),
            ]
        if self.experiment is not None:
            headers.append((b"x-experiment", self.experiment.encode()))
        if self.faults:
            headers.append((b"x-fault", ",".join(dict.fromkeys(each.fault for each in self.faults)).encode()))
        return headers


def headers_of(raw: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By name; what was sent twice is joined by commas, as RFC 9110 has it for lists."""
    headers = dict(raw)
    if len(headers) != len(raw):
        headers.clear()
        for name, value in raw:
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def request_id(given: bytes | None) -> str:
    """The client's id if it is sane, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_PREFIX}{next(_COUNTER):08x}"
