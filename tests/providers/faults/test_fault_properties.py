"""For every fault and every kind of answer: wherever its reader leaves, nothing is left of it; and the same seed does the same."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from faulted import Attempt, fault_of, upstream
from hypothesis import given
from hypothesis import strategies as st
from loops import LOOPS, on_loop
from props import examples
from worlds import now, on_virtual_clock, request, until_cancelled_at

from providers import Endpoint, ProviderError
from providers.faults import FAULTS, Hold
from providers.law import Law
from providers.mock import Mock, MockOptions
from providers.openai_compatible import HttpOptions, OpenAICompatible
from tests.e2e.harness import eventually

pytestmark = pytest.mark.usefixtures("only_own_garbage")

# What each kind has to be asked for in order to do its worst.
KNOBS: dict[str, list[dict[str, Any]]] = {
    "overloaded_529": [{}, {"where": "inside"}, {"where": "inside", "after": 2}],
    "slow_ttft": [{}, {"factor": 5}],
    "slow_tokens": [{}, {"bytes_per_second": 50}],
    "truncate": [{"form": form} for form in ("cut", "eof", "clean")],
    "malformed_sse": [
        {"form": form} for form in ("bad_json", "missing_blank_line", "split_utf8", "crlf", "giant_line", "interleaved")
    ],
    "wrong_content_length": [{}, {"delta": 100}],
    "conn_reset": [{}, {"where": "after_bytes"}],
    "connect_refused": [{}, {"mode": "blackhole"}],
    "dns_failure": [{}, {"mode": "timeout"}],
    "brownout": [{}, {"rate": 0.1}],
    "slow_close": [{}, {"mode": "half_open"}],
    "duplicate_events": [{"p": 0.5}, {"p": 0.5, "mode": "out_of_order"}],
    "limit_ramp": [{}, {"start": 1, "end": 1}],
}
VARIANTS = [(kind, knobs) for kind in FAULTS for knobs in KNOBS.get(kind, [{}])]
MOCK = MockOptions(ttft=Law("constant", 1.0), token_interval=Law("constant", 0.25), tokens=Law("constant", 6.0))
requests = st.builds(
    lambda endpoint, stream: request(endpoint=endpoint, stream=stream and endpoint is not Endpoint.EMBEDDINGS),
    st.sampled_from(Endpoint),
    st.booleans(),
)


def sockets() -> int:
    return sum(each.is_socket() for each in Path("/proc/self/fd").iterdir())


async def read(attempt: Attempt, chunks: int) -> None:
    """So many chunks of it, or all."""
    try:
        stream = await attempt.open()
    except ProviderError:
        return
    try:
        async for _ in stream:
            chunks -= 1
            if chunks <= 0:
                break
    except ProviderError:
        pass
    finally:
        await stream.aclose()


@given(st.sampled_from(VARIANTS), requests, st.integers(0, 12), st.none() | st.floats(0, 5))
@examples(150)
def test_nothing_is_left_of_an_attempt_wherever_its_reader_leaves(
    variant: tuple[str, dict[str, Any]], asked: Any, chunks: int, ends: float | None
) -> None:
    kind, knobs = variant

    @on_virtual_clock
    async def scenario() -> None:
        provider = Mock("up", MOCK)
        hold = Hold()
        before = sockets()
        if ends is not None:
            asyncio.get_running_loop().call_later(ends, hold.release)
        await read(Attempt(fault_of(kind, **knobs), provider, asked, hold=hold), chunks)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert provider.in_flight == 0
        assert not hold._waiting
        await asyncio.sleep(0.001)
        assert sockets() == before

    scenario()
    gc.collect()


@given(st.sampled_from(VARIANTS), requests, st.integers(1, 40), st.booleans())
@examples(150)
def test_nothing_is_left_of_an_attempt_wherever_it_is_cancelled(
    variant: tuple[str, dict[str, Any]], asked: Any, point: int, late: bool
) -> None:
    kind, knobs = variant

    @on_virtual_clock
    async def scenario() -> None:
        provider = Mock("up", MOCK)
        before = sockets()
        attempt = Attempt(fault_of(kind, **knobs), provider, asked)
        await until_cancelled_at(read(attempt, 99), point, late=late)
        await asyncio.sleep(0.001)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert provider.in_flight == 0
        assert not attempt.hold._waiting
        assert sockets() == before

    scenario()
    gc.collect()


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize(("kind", "knobs"), VARIANTS)
def test_a_reader_who_leaves_early_leaves_nothing_of_a_real_upstream(
    kind: str, knobs: dict[str, Any], loop_name: str
) -> None:
    async def scenario() -> None:
        before = sockets()
        async with upstream() as server:
            provider = OpenAICompatible("up", HttpOptions(server.url))
            attempt = Attempt(fault_of(kind, **knobs), provider, connect_timeout=0.01)
            asyncio.get_running_loop().call_later(0.05, attempt.hold.release)
            await read(attempt, 2)
            pool = provider._upstream
            assert len(asyncio.all_tasks() - server._tasks) == 1
            await provider.aclose()
            await eventually(lambda: not pool._open)
        await eventually(lambda: sockets() == before)

    on_loop(loop_name, scenario())
    gc.collect()


@given(st.sampled_from(VARIANTS), requests, st.text(max_size=3))
@examples(80)
def test_the_same_seed_and_request_do_the_same(variant: tuple[str, dict[str, Any]], asked: Any, seed: str) -> None:
    kind, knobs = variant
    seen: list[Any] = []

    @on_virtual_clock
    async def scenario() -> None:
        attempt = Attempt(fault_of(kind, **knobs), Mock("up", MOCK), asked, seed=seed)
        met = await attempt.seen()
        seen.append((met.raw, met.label, str(met.error), now()))

    scenario()
    scenario()
    assert seen[0] == seen[1]


def test_another_seed_does_something_else() -> None:
    statuses: set[Any] = set()

    @on_virtual_clock
    async def scenario(seed: str) -> None:
        error = (await Attempt(fault_of("http_5xx"), Mock("up", MOCK), seed=seed).seen()).error
        assert error is not None
        statuses.add(error.status)

    for number in range(40):
        scenario(f"{number}")
    assert statuses == {500, 502, 503, 504}
