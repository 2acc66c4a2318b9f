"""Every kind of fault, streamed and not, on real sockets: each row as the catalogue demands. The measuring is ``bench.faults``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

import pytest

from bench.broken import DONE, TEXT, USAGE, WORDS
from bench.fault_rows import ROWS, Row
from bench.faults import Measured, attempts, outcomes, run
from providers.faults import FAULTS

OPEN_SECONDS = 0.5  # of a breaker that opens for the first time; half as long again by chance
# A machine that is busy with other tests.
SLACK_SECONDS = 3.0
Demand = Callable[[Measured], None]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, bool], Measured]:
    told = asyncio.run(run(ROWS, tmp_path_factory.mktemp("faults"), OPEN_SECONDS))
    return {(one.row.name, one.stream): one for one in told}


def hidden(label: str, *, reached: bool = False, calls: int = 5) -> Demand:
    """The spare answers; after five failures in a row the breaker opens, and no call meets the fault any more."""

    def demand(one: Measured) -> None:
        assert outcomes(one) == "6 × 200 from the spare"
        assert re.fullmatch(f"a:{label},b:200", attempts(one))
        assert (one.injected, one.upstream, one.state) == (calls, calls if reached else 0, "ejected")
        # Later a probe may have met it too.
        assert one.breaker["reason"].startswith(("5 failures in a row", "probe: "))
        assert one.recovered is not None
        assert one.recovered < 1.5 * OPEN_SECONDS + SLACK_SECONDS

    return demand


def cut(code: str = "upstream_error") -> Demand:
    """Too late for another target: the client is told inside the stream, and it never looks complete. Each counts."""

    def demand(one: Measured) -> None:
        assert outcomes(one) == f"5 × cut: {code}, then 1 × 200 from the spare"
        assert attempts(one) == "a:200"
        assert (one.injected, one.upstream, one.state) == (5, 5, "ejected")
        for seen, line in zip(one.seen[:5], one.lines[:5], strict=True):
            assert not seen.whole
            assert DONE not in seen.data
            assert (line["status"], line["end"], line["error"]) == (200, "cut", code)

    return demand


def survived(one: Measured) -> None:
    """The client gets all that could be read, to its proper end; that it has a hole counts against the target."""
    assert outcomes(one) == "5 × 200, other words, then 1 × 200 from the spare"
    assert all(seen.done and set(seen.text.split()) < set(TEXT.split()) for seen in one.seen[:5])
    assert (one.injected, one.upstream, one.state) == (5, 5, "ejected")


def unharmed(one: Measured) -> None:
    """Nobody notices."""
    assert outcomes(one) == f"{one.row.calls} × 200"
    assert attempts(one) == "a:200"
    green(one)


def green(one: Measured) -> None:
    """As far as HTTP goes all is well."""
    assert (one.upstream, one.spare, one.state) == (one.row.calls, 0, "ok")
    assert (one.breaker["state"], one.breaker["failures"]) == ("closed", 0)
    assert all(line["end"] == "complete" for line in one.lines)


def untouched(one: Measured) -> None:
    """It has nothing to do to a plain answer."""
    unharmed(one)
    assert one.injected == 0


def rests(one: Measured) -> None:
    """It is left alone for as long as it said, and no failure in a row is counted."""
    assert outcomes(one) == "6 × 200 from the spare"
    assert attempts(one) == "a:429,b:200"
    assert (one.injected, one.upstream, one.state) == (1, 0, "resting")
    assert (one.breaker["state"], one.breaker["consecutive_failures"]) == ("closed", 0)


def disabled(status: int, *, by_hand: bool) -> Demand:
    """Out of use at once, with an alarm, until its reset or a person."""

    def demand(one: Measured) -> None:
        assert outcomes(one) == "6 × 200 from the spare"
        assert attempts(one) == f"a:{status},b:200"
        assert (one.injected, one.upstream, one.state, one.alarms) == (1, 0, "disabled", 1)
        assert one.breaker["failures"] == 0
        assert one.by_hand is by_hand

    return demand


def slow_but_well(one: Measured) -> None:
    unharmed(one)
    assert min(seen.seconds for seen in one.seen) > (0.8 if one.stream else 0.2)


def gray_slow(one: Measured) -> None:
    """A few are slow, and the breaker does not trip for them."""
    unharmed(one)
    assert 0 < one.injected < one.row.calls / 2
    slow = [seen for seen in one.seen if "x-fault" in seen.headers]
    assert min(seen.seconds for seen in slow) > 0.3
    assert len(slow) == one.injected


def gray_wrong(one: Measured) -> None:
    """Everything is green, and every word is wrong."""
    assert outcomes(one) == "6 × 200, other words"
    assert {len(seen.text.split()) for seen in one.seen} == {len(WORDS)}
    assert {seen.text.strip(" wrong") for seen in one.seen} == {""}
    green(one)


def outage(one: Measured) -> None:
    """Nobody is left. Clients are told so, and not to come back at once; upstreams are asked less than twice for a call."""
    assert {seen.status for seen in one.seen} <= {502, 503}
    assert one.seen[-1].headers["x-should-retry"] == "false"
    assert len(one.lines[-1]["attempts"]) <= 1
    asked = sum(len(line["attempts"]) for line in one.lines)
    assert asked < 2 * one.row.calls
    assert one.state == "ejected"


def flaps(one: Measured) -> None:
    """It stays out longer each time, instead of coming and going with the fault."""
    assert all(seen.done and seen.text == TEXT for seen in one.seen)
    assert one.breaker["ejections_in_a_row"] >= 2
    assert one.injected < one.row.calls


def limited(one: Measured) -> None:
    """What is too much goes to the spare, and it gets nothing for as long as it said."""
    assert all(seen.done and seen.text == TEXT for seen in one.seen)
    assert 5 < one.upstream < one.row.calls - 5
    assert one.upstream + one.spare == one.row.calls
    assert one.injected <= one.upstream + 3
    assert one.breaker["consecutive_failures"] == 0


def idempotent(one: Measured) -> None:
    """What is counted is counted once."""
    green(one)
    assert {line["tokens_out"] for line in one.lines} == {USAGE["completion_tokens"]}
    assert all(seen.done and len(seen.text) >= len(TEXT) for seen in one.seen)


DEMANDED: Mapping[str, tuple[Demand, Demand]] = {
    "429": (rests, rests),
    "quota": (disabled(429, by_hand=False), disabled(429, by_hand=False)),
    "5xx": (hidden("50[0234]"), hidden("50[0234]")),
    "529-before": (hidden("529"), hidden("529")),
    "529-inside": (cut(), hidden("overloaded")),
    "slow-ttft": (hidden("first_token_timeout"), hidden("attempt_timeout")),
    "slow-tokens": (slow_but_well, slow_but_well),
    "stall": (cut("deadline_exceeded"), hidden("attempt_timeout", reached=True)),
    "cut": (cut(), hidden("disconnected", reached=True)),
    "cut-eof": (cut(), hidden("malformed", reached=True)),
    "cut-clean": (cut(), hidden("malformed", reached=True)),
    "bad-json": (hidden("truncated", reached=True), hidden("malformed", reached=True)),
    "bad-json-late": (survived, hidden("malformed", reached=True)),
    "no-blank-line": (hidden("disconnected", reached=True), unharmed),
    "interleaved": (cut(), unharmed),
    "giant-line": (cut(), unharmed),
    "crlf": (unharmed, unharmed),
    "split-utf8": (unharmed, unharmed),
    "short-length": (hidden("disconnected", reached=True), hidden("malformed", reached=True)),
    "long-length": (unharmed, hidden("disconnected", reached=True)),
    "reset": (hidden("disconnected"), hidden("disconnected")),
    "reset-early": (hidden("disconnected", reached=True), hidden("disconnected", reached=True)),
    "reset-late": (cut(), hidden("disconnected", reached=True)),
    "refused": (hidden("unreachable"), hidden("unreachable")),
    "blackhole": (hidden("connect_timeout"), hidden("connect_timeout")),
    "dns": (hidden("unreachable"), hidden("unreachable")),
    "tls": (hidden("unreachable"), hidden("unreachable")),
    "gray-slow": (gray_slow, gray_slow),
    "gray-wrong": (gray_wrong, gray_wrong),
    "empty": (hidden("empty"), hidden("empty")),
    "outage": (outage, outage),
    "flap": (flaps, flaps),
    "brownout": (unharmed, unharmed),
    "limit-ramp": (limited, limited),
    "slow-close": (unharmed, unharmed),
    "half-open": (hidden("first_token_timeout"), hidden("attempt_timeout")),
    "auth": (disabled(401, by_hand=True), disabled(401, by_hand=True)),
    "duplicates": (idempotent, untouched),
    "out-of-order": (idempotent, untouched),
}
CASES = [
    pytest.param(name, stream, id=f"{name}-{'stream' if stream else 'plain'}")
    for name in DEMANDED
    for stream in (True, False)
]


def test_the_whole_catalogue_is_in_the_table() -> None:
    assert {row.kind for row in ROWS} == set(FAULTS)
    assert [row.name for row in ROWS] == list(DEMANDED)


@pytest.mark.parametrize(("name", "stream"), CASES)
def test_each_fault_provokes_what_the_catalogue_demands(
    measured: Mapping[tuple[str, bool], Measured], name: str, stream: bool
) -> None:
    one = measured[name, stream]
    DEMANDED[name][0 if stream else 1](one)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_it_is_told_in_header_log_and_metric_alike(
    measured: Mapping[tuple[str, bool], Measured], row: Row, stream: bool
) -> None:
    one = measured[row.name, stream]
    marked = 0
    for seen, line in zip(one.seen, one.lines, strict=True):
        injected = [fault for fault in line.get("faults", []) if fault["target"] == one.target]
        assert {(fault["fault"], fault["kind"]) for fault in injected} <= {(one.route, one.row.kind)}
        assert ("x-fault" in seen.headers) == ("faults" in line)
        assert seen.headers.get("x-fault", one.route) == one.route
        shown = [f"{tried['target']}:{tried['outcome']}" for tried in line["attempts"]]
        assert seen.headers.get("x-attempts", "") == ",".join(shown)
        marked += len(injected)
    assert marked == one.injected


def test_what_was_cut_never_looks_complete(measured: Mapping[tuple[str, bool], Measured]) -> None:
    broken = [seen for one in measured.values() for seen in one.seen if seen.error is not None]
    assert len(broken) > 50
    assert not [seen for seen in broken if seen.status == 200 and (seen.whole or DONE in seen.data)]


def test_each_target_serves_again_when_its_fault_is_over(measured: Mapping[tuple[str, bool], Measured]) -> None:
    late = {one.route: one.recovered for one in measured.values() if one.recovered is None}
    assert not late
