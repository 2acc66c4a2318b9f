"""The catalogue: one row for each kind of fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from providers.faults.auth_revoked import AuthRevoked
from providers.faults.brownout import Brownout
from providers.faults.conn_reset import ConnReset
from providers.faults.connect_refused import ConnectRefused
from providers.faults.correlated_outage import CorrelatedOutage
from providers.faults.dns_failure import DnsFailure
from providers.faults.duplicate_events import DuplicateEvents
from providers.faults.empty_200 import Empty200
from providers.faults.flap import Flap
from providers.faults.gray_slow import GraySlow
from providers.faults.gray_wrong import GrayWrong
from providers.faults.hit import Refuses, Tampers
from providers.faults.http_5xx import Http5xx
from providers.faults.http_429 import Http429
from providers.faults.limit_ramp import LimitRamp
from providers.faults.malformed_sse import MalformedSse
from providers.faults.overloaded_529 import Overloaded529
from providers.faults.quota_exhausted import QuotaExhausted
from providers.faults.slow_close import SlowClose
from providers.faults.slow_tokens import SlowTokens
from providers.faults.slow_ttft import SlowTtft
from providers.faults.stall import Stall
from providers.faults.tls_error import TlsError
from providers.faults.truncate import Truncate
from providers.faults.wrong_content_length import WrongContentLength

Fault = Refuses | Tampers
# What one draw decides: an attempt, all attempts of a request, or all requests of a session.
Per = Literal["attempt", "request", "session"]


@dataclass(frozen=True, slots=True)
class Row:
    """``number`` in the catalogue; ``fault`` is a dataclass whose fields are the knobs, one instance for each that acts. ``does``
    in a few words. ``streams``: it has nothing to do to an answer that is not streamed, and leaves those alone.
    ``share``, ``per``: what is assumed where nobody says.
    """

    number: str
    fault: type[Any]
    does: str
    streams: bool = False
    share: float = 1.0
    per: Per = "attempt"


FAULTS: Mapping[str, Row] = {
    "http_429": Row("F01", Http429, "answers that it limits the rate"),
    "quota_exhausted": Row("F02", QuotaExhausted, "answers that the account has nothing left"),
    "http_5xx": Row("F03", Http5xx, "answers with server errors"),
    "overloaded_529": Row("F04", Overloaded529, "says that it is overloaded, before an answer or inside it"),
    "slow_ttft": Row("F05", SlowTtft, "takes long until the first token"),
    "slow_tokens": Row("F06", SlowTokens, "lets tokens trickle"),
    "stall": Row("F07", Stall, "begins, and then sends nothing for a long time"),
    "truncate": Row("F08", Truncate, "ends the answer before it is complete"),
    "malformed_sse": Row("F09", MalformedSse, "sends events that are framed badly, or unusually"),
    "wrong_content_length": Row("F10", WrongContentLength, "announces a length that is not the body's"),
    "conn_reset": Row("F11", ConnReset, "resets the connection"),
    "connect_refused": Row("F12", ConnectRefused, "takes no connection"),
    "dns_failure": Row("F13", DnsFailure, "has a name that does not resolve"),
    "tls_error": Row("F14", TlsError, "cannot prove who it is"),
    "gray_slow": Row("F15", GraySlow, "is far slower for a few", share=0.01),
    "gray_wrong": Row("F16", GrayWrong, "answers well-formed nonsense", per="session"),
    "empty_200": Row("F17", Empty200, "answers 200 with nothing in it"),
    "correlated_outage": Row("F18", CorrelatedOutage, "is down together with others"),
    "flap": Row("F19", Flap, "is down and up in turns"),
    "brownout": Row("F20", Brownout, "can do less than it could"),
    "limit_ramp": Row("F21", LimitRamp, "moves its limit on tokens"),
    "slow_close": Row("F22", SlowClose, "does not end connections as it should"),
    "auth_revoked": Row("F23", AuthRevoked, "does not take our key any more"),
    "duplicate_events": Row("F24", DuplicateEvents, "sends events twice, or in another order", streams=True),
}
