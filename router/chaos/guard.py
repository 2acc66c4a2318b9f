"""The guard of a fault: two arms of calls, those that it hit and those that it did not, and when either says stop."""

from __future__ import annotations

from router.chaos.rule import Guard
from router.measures.window import Window

_OK, _BAD, _CONTROL_OK, _CONTROL_BAD = range(4)
SLICES = 10


class Watch:
    """Counts calls that are over; looks when it is asked."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._calls = Window(guard.window, SLICES, 4)

    def saw(self, *, ok: bool, hit: bool, now: float) -> None:
        self._calls.add(now, _OK if ok else _BAD)
        if not hit:
            self._calls.add(now, _CONTROL_OK if ok else _CONTROL_BAD)

    def verdict(self, now: float) -> str | None:
        """Why the fault has to end; None if it may go on."""
        guard = self._guard
        self._calls.advance(now)
        ok, bad, control_ok, control_bad = self._calls.totals
        if self._below(ok, bad, guard.availability):
            return f"availability {ok / (ok + bad):.1%} of {ok + bad} calls, below {guard.availability:.1%}"
        if self._below(control_ok, control_bad, guard.control):
            share = control_ok / (control_ok + control_bad)
            return f"the control arm: {share:.1%} of {control_ok + control_bad} calls, below {guard.control:.1%}"
        return None

    def arms(self, now: float) -> dict[str, int]:
        self._calls.advance(now)
        ok, bad, control_ok, control_bad = self._calls.totals
        return {"ok": ok, "failed": bad, "control_ok": control_ok, "control_failed": control_bad}

    def _below(self, ok: int, bad: int, least: float | None) -> bool:
        calls = ok + bad
        return least is not None and calls >= self._guard.min_calls and ok / calls < least
