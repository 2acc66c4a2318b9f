"""How an exchange ended, in labels: a few words, never more."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple


class Ending(NamedTuple):
    """``outcome``: ok, error (a status), truncated (cut after it had begun) or cancelled (the client left, or stopped reading).

    ``source``: whose fault; gateway, provider or client, and empty if ok. ``error_type`` is OpenTelemetry's: the
    status, or the error's code where the status had left already; empty if ok.
    """

    outcome: str
    source: str
    error_type: str


OK = Ending("ok", "", "")
OTHER = "other"
# An upstream may answer with any number for a status.
_STATUSES = {str(status.value) for status in HTTPStatus} | {"529"}
_OWN = ("draining", "internal_error")


def ending_of(status: int, end: str, error: str | None, *, tried: bool) -> Ending:
    """``tried``: some target had its chance. Then what ends in 429 or 5xx is the provider's, unless we say otherwise."""
    if end.startswith("client_"):
        return Ending("cancelled", "client", "499")
    own = error in _OWN or not tried
    if end == "cut":
        return Ending("truncated", "gateway" if own else "provider", error or "truncated")
    if 200 <= status < 400:
        return OK
    if 400 <= status < 500 and status != 429:
        return Ending("error", "client", str(status))
    return Ending("error", "gateway" if own else "provider", str(status))


def outcome_of(label: str) -> str:
    """An attempt's label, as in x-attempts, as a label of a metric."""
    return OTHER if label.isdigit() and label not in _STATUSES else label
