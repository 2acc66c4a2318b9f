"""What would happen to a request: asked by POST /admin/explain and by ``breakwater explain``, answered by the core."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import Field

from app.admin.bodies import Body
from app.admin.given import MAX_BYTES
from app.api.body import BodyLimits
from app.api.errors import ApiError
from app.api.exchange import Exchange
from app.api.inference import Inference
from app.api.signed_fault import HeaderFaults
from app.observability.decisions import Json, ms, pin_text, row
from app.wiring import Gateway
from providers import Endpoint
from router import Call
from router.explain import Explanation, Outlook, explain

MAX_BODY_BYTES = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_VALUE = re.compile(r"[\x20-\x7e]{0,4096}")
PATH = f"/v1/{Endpoint.CHAT.value}"


class Question(Body):
    """A chat request that might come. `headers` are the client's; `body` is the whole of what it would send, if more than
    `messages` is of interest. `config` (YAML) asks what would happen under that one; without it, what would happen now.
    """

    model: Annotated[str, Field(min_length=1, max_length=256)]
    headers: dict[str, str] = Field(default_factory=dict, max_length=64)
    stream: bool | None = None
    messages: list[dict[str, Any]] | None = None
    body: dict[str, Any] | None = None
    config: Annotated[str, Field(max_length=MAX_BYTES)] | None = None

    def sent(self) -> bytes:
        """As the client would send it."""
        fields = {"messages": [{"role": "user", "content": ""}], **(self.body or {}), "model": self.model}
        if self.messages is not None:
            fields["messages"] = self.messages
        if self.stream is not None:
            fields["stream"] = self.stream
        return orjson.dumps(fields)


class Asked(NamedTuple):
    """``drawn``: the request id was not given, so it is one of many that might come."""

    call: Call
    experiment: str | None
    drawn: bool


class _Hearing(Inference):
    """The hot endpoint, up to where it would dispatch: what it makes of a request is what it makes of it here."""

    def hear(self, headers: Mapping[str, str], body: bytes) -> Asked:
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        exchange = Exchange({"headers": raw, "method": "POST", "path": PATH})
        call = self._call(exchange, body)
        drawn = exchange.headers.get(b"x-request-id", b"").decode() != exchange.request_id
        return Asked(call, exchange.experiment, drawn)


def answer(gateway: Gateway, question: Question, now: float, live: Gateway | None = None) -> Json:
    """What ``gateway`` would do ``now`` (the loop's clock). ``live``: the one that runs, if ``gateway`` does not itself.

    Raises ``ApiError`` or ``RouterError``, as the endpoint would.
    """
    for name, value in question.headers.items():
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            message = f"headers: {name[:64]!r} must be a header's name, and its value printable ASCII"
            raise ApiError(400, message, code="invalid_field", param="headers")
    limits = BodyLimits(MAX_BODY_BYTES, 0.0)
    hearing = _Hearing(
        Endpoint.CHAT,
        gateway.dispatcher,
        limits,
        lambda _: None,
        mirrors=gateway.mirrors,
        header_faults=HeaderFaults(gateway, None),
    )
    asked = hearing.hear(question.headers, question.sent())
    route = gateway.routes.find(asked.call.model)
    explanation = explain(
        asked.call, route, outlook(gateway, live or gateway, now), seed=gateway.dispatcher.seed, now=now
    )
    return described(asked, explanation)


def outlook(gateway: Gateway, live: Gateway, now: float) -> Outlook:
    """The limits of ``gateway`` over what is going on in ``live``."""
    gate, going_on = gateway.gate.describe(now), live.gate.describe(now)
    gate = {**gate, "tokens_in_flight": going_on["tokens_in_flight"], "waiting": going_on["waiting"]}
    return Outlook(gate, live.dispatcher.storming, live.budgets.balance_of)


def described(asked: Asked, explanation: Explanation) -> Json:
    call, route = asked.call, explanation.route
    first = explanation.chain[0] if explanation.chain else None
    return {
        "model": call.model,
        "route": route.model,
        "strategy": route.strategy,
        "request_id": call.request.id,
        "drawn": asked.drawn,
        "stream": call.request.stream,
        "pin": pin_text(call.pin),
        "sticky": call.pin is not None and call.pin.sticky,
        "experiment": asked.experiment,
        "priority": call.priority.name.lower(),
        "estimated_tokens": explanation.tokens,
        "gate": {"verdict": explanation.gate, "why": explanation.gate_reason},
        "target": None if first is None else first.target.name_for(call.model),
        "chain": [
            {
                "number": link.number,
                "target": link.target.name_for(call.model),
                "starts_ms": ms(link.starts),
                "reason": link.reason,
                "forced": link.forced,
                "targets": [row(seen) for seen in link.seen],
            }
            for link in explanation.chain
        ],
        "end": {"reason": explanation.end, "message": explanation.message},
        "nobody": [row(seen) for seen in explanation.nobody] or None,
    }
