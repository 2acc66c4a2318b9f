"""How long each fault takes, to the microsecond: on the virtual clock, in front of a mock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faulted import Attempt, Seen, events_of, fault_of, upstream
from file_server import Exchange
from loops import LOOPS, on_loop
from worlds import now, on_virtual_clock, request

from providers import Chunk
from providers.law import Law
from providers.mock import Mock, MockOptions
from providers.openai_compatible import HttpOptions, OpenAICompatible

# The role at 0, words at 1.0, 1.1, 1.2, 1.3, and the end.
FIRST, APART = 1.0, 0.1


def mock(**options: Any) -> Mock:
    laws = {"ttft": Law("constant", FIRST), "token_interval": Law("constant", APART), "tokens": Law("constant", 4.0)}
    return Mock("up", MockOptions(**laws | options))


async def timed(attempt: Attempt) -> list[tuple[float, Chunk]]:
    """Each chunk, and when it came."""
    stream = await attempt.open()
    chunks = [(round(now(), 6), chunk) async for chunk in stream]
    await stream.aclose()
    return chunks


async def times(kind: str, *, stream: bool = True, since: float = 0.0, **knobs: Any) -> list[float]:
    chunks = await timed(Attempt(fault_of(kind, **knobs), mock(), request(stream=stream), since))
    return [at for at, _ in chunks]


def settled(kind: str, **knobs: Any) -> Attempt:
    return Attempt(fault_of(kind, **knobs), mock())


# What has been asked for, and when the chunks of a stream come, and the one of a plain answer.
TIMES: dict[str, tuple[str, dict[str, Any], list[float], float]] = {
    "nothing": ("flap", {"duty": 0.5, "period": 1.0}, [0.0, 1.0, 1.1, 1.2, 1.3, 1.3, 1.3], 1.3),
    "a delay": ("slow_ttft", {"delay": 5}, [5.0, 6.0, 6.1, 6.2, 6.3, 6.3, 6.3], 6.3),
    "the first three times as long": ("slow_ttft", {"factor": 3}, [0.0, 3.0, 3.1, 3.2, 3.3, 3.3, 3.3], 3.9),
    "gray": ("gray_slow", {}, [0.0, 20.0, 20.1, 20.2, 20.3, 20.3, 20.3], 26.0),
    "everything twice as long": ("brownout", {}, [0.0, 2.0, 2.2, 2.4, 2.6, 2.6, 2.6], 2.6),
    "everything four times": ("brownout", {"factor": 0.25}, [0.0, 4.0, 4.4, 4.8, 5.2, 5.2, 5.2], 5.2),
    "two tokens a second": ("slow_tokens", {}, [0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5], 1.3 + 278 / 8),
    "a stall": ("stall", {"pings": False}, [0.0, 1.0, 1.1, 61.2, 61.3, 61.3, 61.3], 61.3),
    "a stall with pings": (
        "stall",
        {"hold": 2.5},
        [0.0, 1.0, 1.1, 2.2, 3.2, 3.7, 3.7, 3.8, 3.8, 3.8],
        3.8,
    ),
    "a stall at once": (
        "stall",
        {"after": 0, "hold": 9, "pings": False},
        [9.0, 10.0, 10.1, 10.2, 10.3, 10.3, 10.3],
        10.3,
    ),
    "slow to close": ("slow_close", {}, [0.0, 1.0, 1.1, 1.2, 1.3, 1.3, 1.3], 11.3),
}


@pytest.mark.parametrize(("kind", "knobs", "expected", "plain"), TIMES.values(), ids=TIMES)
def test_when_things_come(kind: str, knobs: dict[str, Any], expected: list[float], plain: float) -> None:
    @on_virtual_clock
    async def streamed() -> None:
        got = await times(kind, since=0.6, **knobs)
        assert sorted(set(got)) == pytest.approx(sorted(set(expected)))

    @on_virtual_clock
    async def whole() -> None:
        assert await times(kind, stream=False, since=0.6, **knobs) == pytest.approx([plain])

    streamed()
    whole()


@on_virtual_clock
async def test_bytes_come_at_their_pace() -> None:
    at_once = mock(ttft=Law("constant", 0.0), token_interval=Law("constant", 0.0))
    right = await settled("stall", after=99).seen()
    began = now()
    chunks = await timed(Attempt(fault_of("slow_tokens", bytes_per_second=100), at_once))
    assert b"".join(chunk.raw for _, chunk in chunks) == right.raw
    sent = 0
    for at, chunk in chunks:
        sent += len(chunk.raw)
        assert at - began == pytest.approx(sent / 100)


# Kind, what comes of it, and when; the connect timeout is 5 s.
HELD = [
    ("connect_refused", {"mode": "blackhole"}, "TimedOut", 5.0),
    ("dns_failure", {"mode": "timeout"}, "TimedOut", 5.0),
    ("slow_close", {"mode": "half_open", "delay": 7}, "Disconnected", 7.0),
    ("connect_refused", {}, "Unreachable", 0.0),
    ("dns_failure", {}, "Unreachable", 0.0),
    ("conn_reset", {}, "Disconnected", 0.0),
]


@pytest.mark.parametrize(("kind", "knobs", "error", "after"), HELD)
def test_when_it_is_refused(kind: str, knobs: dict[str, Any], error: str, after: float) -> None:
    @on_virtual_clock
    async def scenario() -> None:
        seen = await settled(kind, **knobs).seen()
        assert (seen.label, now()) == (error, after)

    scenario()


# How long the fault acts already, and whether the upstream is there.
SCHEDULES = [
    ("flap", {}, [(0.0, False), (4.999, False), (5.0, True), (9.999, True), (10.0, False), (25.0, True)]),
    ("flap", {"period": 4, "duty": 0.25, "mode": "refused"}, [(0.5, False), (1.0, True), (3.9, True), (4.5, False)]),
    ("dns_failure", {"cached_for": 60}, [(0.0, True), (59.9, True), (60.0, False)]),
]


@pytest.mark.parametrize(("kind", "knobs", "states"), SCHEDULES)
def test_a_schedule_goes_by_how_long_the_fault_acts(
    kind: str, knobs: dict[str, Any], states: list[tuple[float, bool]]
) -> None:
    @on_virtual_clock
    async def scenario() -> None:
        fault = fault_of(kind, **knobs)
        for since, up in states:
            seen = await Attempt(fault, mock(), since=since).seen()
            assert (seen.error is None) == up, since

    scenario()


@on_virtual_clock
async def test_a_brownout_begins_so_many_a_second_in_the_order_of_arrival() -> None:
    fault = fault_of("brownout", rate=2)
    provider = mock(ttft=Law("constant", 0.0), tokens=Law("constant", 1.0))
    ended: list[tuple[int, float]] = []

    async def one(number: int) -> None:
        await Attempt(fault, provider, request(f"r{number}")).seen()
        ended.append((number, now()))

    await asyncio.gather(*map(one, range(4)))
    assert ended == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5)]
    await asyncio.sleep(10)
    await one(4)
    assert ended[-1] == (4, 11.5)  # a time without requests is not saved up


@on_virtual_clock
async def test_whoever_stands_in_line_for_too_long_gets_a_503_and_whoever_leaves_it_takes_no_place() -> None:
    fault = fault_of("brownout", rate=0.5, patience=3)
    provider = mock(ttft=Law("constant", 0.0), tokens=Law("constant", 1.0))
    seen: dict[int, tuple[str, float]] = {}

    async def one(number: int) -> None:
        label = (await Attempt(fault, provider, request(f"r{number}")).seen()).label
        seen[number] = (label, now())

    calls = [asyncio.create_task(one(number)) for number in range(4)]
    await asyncio.sleep(1)
    calls[1].cancel()
    await asyncio.wait(calls)
    assert seen == {0: ("", 0.0), 2: ("", 2.0), 3: ("Overloaded", 3.0)}


# --- letting go ---------------------------------------------------------------------------------------------------

# Kind, and how much earlier than by itself all is over when the fault ends at 0.5 s.
RELEASED = [
    ("slow_ttft", {"delay": 60}, 0.5 + 1.3),
    ("slow_tokens", {"tokens_per_second": 0.1}, 1.3),
    ("slow_tokens", {"bytes_per_second": 1}, 0.5 + 1.3),
    ("stall", {"after": 0}, 0.5 + 1.3),
    ("stall", {"after": 0, "pings": False}, 0.5 + 1.3),
    ("gray_slow", {"factor": 1000}, 1.3),
    ("brownout", {}, 1.3),
    ("connect_refused", {"mode": "blackhole"}, 0.5 + 1.3),
    ("dns_failure", {"mode": "timeout"}, 0.5 + 1.3),
    ("slow_close", {"mode": "half_open"}, 0.5 + 1.3),
    ("truncate", {}, 1.3),
    ("overloaded_529", {"where": "inside", "after": 1}, 1.3),
    ("malformed_sse", {"every": 2}, 1.3),
    ("malformed_sse", {"every": 2, "form": "interleaved"}, 1.3),
    ("conn_reset", {"where": "after_bytes"}, 1.3),
    ("gray_wrong", {}, 1.3),
    ("duplicate_events", {"p": 1, "mode": "out_of_order"}, None),
]


@pytest.mark.parametrize(("kind", "knobs", "over"), RELEASED)
def test_a_fault_that_ends_lets_go_at_once_and_the_rest_is_untouched(
    kind: str, knobs: dict[str, Any], over: float | None
) -> None:
    @on_virtual_clock
    async def scenario() -> None:
        right = await settled("stall", after=99).seen()
        began = now()
        attempt = settled(kind, **knobs)
        asyncio.get_running_loop().call_later(0.5, attempt.hold.release)
        seen = await attempt.seen()
        assert seen.error is None
        assert seen.raw.replace(b": ping\n\n", b"").split(b"\n\n")[2:] == right.raw.split(b"\n\n")[2:]
        if over is not None:
            assert now() - began == pytest.approx(over)

    scenario()


@on_virtual_clock
async def test_all_who_stand_in_line_are_let_go() -> None:
    fault = fault_of("brownout", rate=0.01, patience=99)
    attempts = [Attempt(fault, mock(), request(f"r{number}")) for number in range(5)]
    for attempt in attempts[1:]:
        attempt.hold = attempts[0].hold
    asyncio.get_running_loop().call_later(3.0, attempts[0].hold.release)
    seen: list[Seen] = await asyncio.gather(*(attempt.seen() for attempt in attempts))
    assert [each.error for each in seen] == [None] * 5
    assert now() == pytest.approx(3.0 + 1.3)


@pytest.mark.parametrize("loop_name", LOOPS)
def test_what_a_real_upstream_sends_meanwhile_is_stretched_too(loop_name: str) -> None:
    """It does not wait for us: what has lain in a buffer while we did has not been fast."""
    events = events_of(request())

    async def trickles(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.begin(headers={"content-type": "text/event-stream"})
        for event in events:
            await asyncio.sleep(0.02)
            await exchange.say(event)
        await exchange.end()

    async def scenario() -> None:
        async with upstream() as server:
            server.plays["POST /v1/chat/completions"] = trickles
            provider = OpenAICompatible("up", HttpOptions(server.url))
            loop = asyncio.get_running_loop()
            began = loop.time()
            seen = await Attempt(fault_of("brownout", factor=0.25), provider).seen()
            # Loops that count in milliseconds may be early by one for each timer.
            assert loop.time() - began >= 4 * len(events) * 0.02 - 0.02
            assert [chunk.raw for chunk in seen.chunks] == events
            await provider.aclose()

    on_loop(loop_name, scenario())
