from __future__ import annotations

import asyncio

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import on_virtual_clock, request

from providers.base import Endpoint, Request
from providers.errors import Overloaded, ServerFault
from providers.law import Law
from providers.mock import Mock, MockOptions
from providers.sse import parse


async def transcript(provider, asked):
    """(seconds since the start, bytes) of every chunk."""
    now = asyncio.get_running_loop().time
    start = now()
    stream = await provider.open(asked, "m", 5.0)
    return [(round(now() - start, 6), chunk.raw) async for chunk in stream]


def text_of(raws):
    datas = [data for raw in raws if (data := parse(raw)[1]) != b"[DONE]"]
    deltas = [choice["delta"] for data in datas for choice in orjson.loads(data)["choices"]]
    return "".join(delta.get("content", "") for delta in deltas)


@on_virtual_clock
async def test_the_same_request_behaves_the_same_in_every_run_and_order():
    ids = [f"r{number}" for number in range(5)]

    async def run(order):
        provider = Mock("mock", MockOptions(seed=3))
        return {key: await transcript(provider, request(key)) for key in order}

    first = await run(ids)
    assert first == await run(reversed(ids))
    assert len({repr(lines) for lines in first.values()}) == len(ids)


@pytest.mark.parametrize(
    "other", [Mock("mock", MockOptions(seed=2)), Mock("other", MockOptions(seed=1))], ids=["seed", "name"]
)
@on_virtual_clock
async def test_another_seed_or_name_behaves_otherwise(other):
    one = Mock("mock", MockOptions(seed=1))
    assert await transcript(one, request()) != await transcript(other, request())


@examples(50)
@given(st.integers(0, 10**6), st.integers(1, 50) | st.none())
@on_virtual_clock
async def test_streamed_or_not_the_same_text_ends_at_the_same_time(seed, limit):
    provider = Mock("mock", MockOptions(seed=seed))
    caps = {} if limit is None else {"max_tokens": limit}
    streamed = await transcript(provider, request(**caps))
    ((ended, plain),) = await transcript(provider, request(stream=False, **caps))
    body = orjson.loads(plain)
    assert text_of(raw for _, raw in streamed) == body["choices"][0]["message"]["content"]
    assert streamed[-1][0] == pytest.approx(ended, abs=1e-5)
    assert body["usage"]["completion_tokens"] == len(body["choices"][0]["message"]["content"].split())
    assert limit is None or body["usage"]["completion_tokens"] <= limit


@on_virtual_clock
async def test_the_law_sets_the_pace():
    law = MockOptions(ttft=Law("constant", 2.0), token_interval=Law("constant", 0.5), tokens=Law("constant", 3))
    times = [time for time, _ in await transcript(Mock("mock", law), request())]
    assert times == [0.0, 2.0, 2.5, 3.0, 3.0, 3.0]  # role, three tokens, finish, [DONE]


@pytest.mark.parametrize(
    ("limit", "tokens", "finish"),
    [(None, 5, "stop"), (9, 5, "stop"), (5, 5, "stop"), (4, 4, "length"), (1, 1, "length")],
)
@on_virtual_clock
async def test_a_client_s_cap_ends_the_answer(limit, tokens, finish):
    provider = Mock("mock", MockOptions(tokens=Law("constant", 5)))
    ((_, raw),) = await transcript(provider, request(stream=False, max_completion_tokens=limit))
    body = orjson.loads(raw)
    assert (body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"]) == (tokens, finish)


@on_virtual_clock
async def test_a_law_of_no_tokens_still_says_a_word():
    ((_, raw),) = await transcript(Mock("mock", MockOptions(tokens=Law("constant", 0))), request(stream=False))
    assert orjson.loads(raw)["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize(("rate", "low", "high"), [(0.0, 0, 0), (0.3, 552, 648), (1.0, 2000, 2000)])
@on_virtual_clock
async def test_it_fails_as_often_as_its_error_rate_says(rate, low, high):
    provider = Mock("mock", MockOptions(error_rate=rate, error_status=502))  # 600 of 2,000 in a 98 % interval
    failed = 0
    for number in range(2000):
        try:
            await (await provider.open(request(f"r{number}"), "m", 5.0)).aclose()
        except ServerFault as error:
            failed += error.status == 502
    assert low <= failed <= high
    assert provider.in_flight == 0


async def drain(stream):
    async for _ in stream:
        pass


async def close_unread(stream):
    await stream.aclose()


async def close_twice(stream):
    await anext(stream)
    await stream.aclose()
    await stream.aclose()


async def cancel(stream):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await drain(stream)
    await stream.aclose()


@pytest.mark.parametrize("leave", [drain, close_unread, close_twice, cancel])
@pytest.mark.parametrize("stream", [True, False])
@on_virtual_clock
async def test_beyond_its_capacity_it_is_overloaded_until_one_leaves(leave, stream):
    provider = Mock("mock", MockOptions(capacity=2))
    first, second = [await provider.open(request(key, stream=stream), "m", 5.0) for key in "ab"]
    with pytest.raises(Overloaded) as full:
        await provider.open(request("c", stream=stream), "m", 5.0)
    assert (full.value.status, full.value.retry_after) == (503, 1.0)
    await leave(first)
    third = await provider.open(request("c", stream=stream), "m", 5.0)
    assert provider.in_flight == 2
    for left in (first, second, third):
        await left.aclose()
    assert provider.in_flight == 0


@pytest.mark.parametrize("endpoint", list(Endpoint))
@on_virtual_clock
async def test_every_endpoint_answers(endpoint):
    asked = request(endpoint=endpoint, stream=False, input="a b", prompt="a b")
    assert len(await transcript(Mock("mock", MockOptions()), asked)) == 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"error_rate": -0.1}, "error_rate"),
        ({"error_rate": 1.1}, "error_rate"),
        ({"error_rate": float("nan")}, "error_rate"),
        ({"error_status": 200}, "error_status"),
        ({"error_status": 429}, "error_status"),
        ({"error_status": 600}, "error_status"),
        ({"capacity": 0}, "capacity"),
        ({"capacity": -1}, "capacity"),
    ],
    ids=repr,
)
def test_options_out_of_range_are_named(options, field):
    with pytest.raises(ValueError, match=f"^{field}: must be"):
        MockOptions(**options)


async def test_a_request_that_failed_draws_anew_when_it_is_tried_again():
    """Once: the draw was the request id's alone, so that no retry on the same mock could ever help."""
    flaky = Mock("flaky", MockOptions(ttft=Law("constant", 0), error_rate=0.5, seed=3))
    answered = 0
    for number in range(200):
        request = Request(f"r{number}", Endpoint.CHAT, b"{}", {"messages": []}, stream=False, headers={})
        for _ in range(10):
            try:
                stream = await flaky.open(request, "m", 1.0)
            except ServerFault:
                continue
            await stream.aclose()
            answered += 1
            break
    assert answered == 200
