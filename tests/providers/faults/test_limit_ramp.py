"""A limit that moves: what is let through is what the line allows, and the 429 tells the truth."""

from __future__ import annotations

import pytest
from faulted import Attempt, fault_of
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import on_virtual_clock, request

from providers.errors import RateLimited
from providers.faults.limit_ramp import LimitRamp, cost_of
from providers.law import Law
from providers.mock import Mock, MockOptions

AT_ONCE = Law("constant", 0.0)
ASKED = request(max_tokens=990)
limits = st.floats(100, 100_000)


def upstream() -> Mock:
    return Mock("up", MockOptions(ttft=AT_ONCE, token_interval=AT_ONCE))


async def at(fault: LimitRamp, since: float) -> RateLimited | None:
    seen = await Attempt(fault, upstream(), ASKED, since).seen()
    error = seen.error
    assert error is None or isinstance(error, RateLimited)
    return error


@on_virtual_clock
async def test_a_full_bucket_is_a_minutes_worth_and_fills_as_the_limit_says() -> None:
    cost = cost_of(ASKED)
    fault = fault_of("limit_ramp", start=3 * cost, end=3 * cost, over=0)
    assert [await at(fault, 0.0) is None for _ in range(4)] == [True, True, True, False]
    refused = await at(fault, 0.0)
    assert refused is not None
    assert refused.retry_after == pytest.approx(20.0)
    assert refused.headers == {
        "x-ratelimit-limit-tokens": str(3 * cost),
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "20.000s",
    }
    assert await at(fault, 19.9) is not None
    assert await at(fault, 20.0) is None
    assert await at(fault, 1000.0) is None  # never more than a minute's worth is saved up
    assert [await at(fault, 1000.0) is None for _ in range(3)] == [True, True, False]


@on_virtual_clock
async def test_a_request_larger_than_the_bucket_goes_when_it_is_full_and_is_paid_for_afterwards() -> None:
    cost = cost_of(ASKED)
    fault = fault_of("limit_ramp", start=cost / 2, end=cost / 2, over=0)
    assert await at(fault, 0.0) is None
    assert await at(fault, 119.9) is not None
    assert await at(fault, 120.0) is None


@given(limits, limits, st.floats(0, 600), st.lists(st.floats(0, 30), min_size=1, max_size=30))
@examples(60)
def test_what_it_tells_is_true_to_the_millisecond(start: float, end: float, over: float, gaps: list[float]) -> None:
    fault = LimitRamp(start, end, over)

    @on_virtual_clock
    async def scenario() -> None:
        since = 0.0
        for gap in gaps:
            since += gap
            refused = await at(fault, since)
            if refused is None:
                continue
            assert refused.retry_after is not None
            since += refused.retry_after - 0.002
            if refused.retry_after > 0.002:
                assert await at(fault, since) is not None
            since += 0.002
            assert await at(fault, since) is None

    scenario()


@given(limits, limits, st.floats(1, 600))
@examples(60)
def test_what_is_let_through_follows_the_line(start: float, end: float, over: float) -> None:
    fault = LimitRamp(start, end, over)

    @on_virtual_clock
    async def scenario() -> None:
        cost, passed, since = cost_of(ASKED), 0, 0.0
        while since <= over:
            refused = await at(fault, since)
            passed += refused is None
            since += 0.0 if refused is None else (refused.retry_after or 0)
        allowed = start + over * (start + end) / 2 / 60
        assert passed * cost <= allowed + cost + 1
        # What a bucket that shrinks spills was nobody's, and it starts full: it is empty from the first second on.
        assert passed * cost >= allowed - cost - start / 60 - 1

    scenario()
