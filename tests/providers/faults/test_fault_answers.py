"""What the reader of a real upstream sees of each fault: over real sockets, on both loops."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, NamedTuple

import pytest
from faulted import Attempt, Seen, events_of, fault_of, upstream
from file_server import Exchange
from loops import LOOPS, on_loop
from worlds import request

from providers import Endpoint
from providers.errors import Disconnected
from providers.faults import FAULTS
from providers.openai_compatible import DONE, HttpOptions, OpenAICompatible
from providers.shapes import Answer, steps
from tests.e2e.harness import eventually

pytestmark = pytest.mark.usefixtures("only_own_garbage")

ASKED = {
    stream: request(stream=stream, **({"stream_options": {"include_usage": True}} if stream else {}))
    for stream in (True, False)
}
# Role, four words, the end, usage, [DONE].
EVENTS = events_of(ASKED[True])
EMPTY = [step.chunk.raw for step in steps(ASKED[True], Answer("empty-r1", "m", []), 0.0, iter(()))[0]]
BODY = b"".join(events_of(ASKED[False]))
NOTHING = b""


def first(count: int) -> bytes:
    return b"".join(EVENTS[:count])


def but(*places: int) -> bytes:
    return b"".join(event for place, event in enumerate(EVENTS) if place not in places)


class Case(NamedTuple):
    """What is read before ``error`` (none: the answer is whole), of a stream and of a plain answer."""

    kind: str
    knobs: dict[str, Any]
    events: bytes
    error: str = ""
    body: bytes = NOTHING
    body_error: str = ""


WHOLE = first(8)


def untouched(kind: str, **knobs: Any) -> Case:
    return Case(kind, knobs, WHOLE, "", BODY, "")


def refused(kind: str, error: str, **knobs: Any) -> Case:
    return Case(kind, knobs, NOTHING, error, NOTHING, error)


CASES = [
    refused("http_429", "RateLimited"),
    refused("quota_exhausted", "QuotaExhausted"),
    refused("http_5xx", "ServerFault", statuses=[500]),
    refused("http_5xx", "Overloaded", statuses=[503]),
    refused("overloaded_529", "Overloaded"),
    refused("overloaded_529", "Overloaded", where="inside"),
    Case("overloaded_529", {"where": "inside", "after": 3}, first(3), "Overloaded", NOTHING, "Overloaded"),
    untouched("slow_ttft", delay=0.01),
    untouched("slow_ttft", factor=1.5),
    untouched("slow_tokens", tokens_per_second=1000),
    untouched("slow_tokens", bytes_per_second=100_000),
    untouched("stall", hold=0.01, pings=False),
    Case("stall", {"hold": 0.01}, first(3) + b": ping\n\n" + b"".join(EVENTS[3:]), "", BODY),
    untouched("stall", hold=0.01, after=99),
    Case("truncate", {}, first(3), "Disconnected", NOTHING, "Disconnected"),
    Case("truncate", {"after": 0}, NOTHING, "Disconnected", NOTHING, "Disconnected"),
    Case("truncate", {"form": "eof"}, first(3), "Truncated", NOTHING, "Malformed"),
    Case("truncate", {"form": "eof", "after": 0}, NOTHING, "Disconnected", NOTHING, "Malformed"),
    Case("truncate", {"form": "clean"}, first(3), "Truncated", NOTHING, "Malformed"),
    # After the finish reason nothing is missing but the marker, and that is supplied; the usage is lost.
    Case("truncate", {"form": "clean", "after": 6}, first(6) + DONE, "", NOTHING, "Malformed"),
    # The reader drops a bad event; when it was the last one of a choice, the answer is not complete.
    Case("malformed_sse", {"form": "bad_json"}, NOTHING, "Truncated", NOTHING, "Malformed"),
    Case("malformed_sse", {"form": "bad_json", "every": 5}, but(4), "", NOTHING, "Malformed"),
    # One event without its blank line takes the next one with it.
    Case("malformed_sse", {"form": "missing_blank_line"}, NOTHING, "Disconnected", BODY),
    Case("malformed_sse", {"form": "missing_blank_line", "every": 4}, but(3, 4), "", BODY),
    untouched("malformed_sse", form="split_utf8"),
    Case("malformed_sse", {"form": "crlf"}, first(7).replace(b"\n", b"\r\n") + DONE, "", BODY),
    Case("malformed_sse", {"form": "giant_line"}, NOTHING, "Malformed", BODY),
    Case("malformed_sse", {"form": "giant_line", "every": 3}, first(2), "Malformed", BODY),
    Case("malformed_sse", {"form": "interleaved", "every": 3}, but(2, 3), "", BODY),
    Case("wrong_content_length", {}, NOTHING, "Disconnected", NOTHING, "Malformed"),
    # Whoever knows where an answer ends, by [DONE], never comes to the end that is announced.
    Case("wrong_content_length", {"delta": 10}, WHOLE, "", NOTHING, "Disconnected"),
    refused("conn_reset", "Disconnected"),
    Case("conn_reset", {"where": "after_bytes"}, first(1), "Disconnected", NOTHING, "Disconnected"),
    Case("conn_reset", {"where": "after_bytes", "bytes": 99_999}, WHOLE, "", BODY),
    refused("connect_refused", "Unreachable"),
    refused("connect_refused", "TimedOut", mode="blackhole"),
    refused("dns_failure", "Unreachable"),
    refused("dns_failure", "Unreachable", mode="empty"),
    refused("dns_failure", "TimedOut", mode="timeout"),
    untouched("dns_failure", cached_for=1),
    refused("tls_error", "Untrusted"),
    refused("tls_error", "Untrusted", certificate="wrong_host"),
    untouched("gray_slow"),
    Case("empty_200", {}, b"".join(EMPTY[:-1]), "Empty", NOTHING, "Empty"),
    refused("correlated_outage", "Overloaded"),
    refused("correlated_outage", "Unreachable", mode="refused"),
    refused("flap", "Overloaded"),
    refused("flap", "Unreachable", mode="refused"),
    untouched("brownout"),
    untouched("brownout", rate=1000),
    untouched("limit_ramp"),
    untouched("slow_close", delay=0.01),
    refused("slow_close", "Disconnected", mode="half_open", delay=0.01),
    refused("auth_revoked", "Misconfigured"),
    refused("auth_revoked", "Misconfigured", status=403),
    Case("duplicate_events", {"p": 1}, b"".join(event * 2 for event in EVENTS[:-1]) + DONE, "", BODY),
    Case(
        "duplicate_events",
        {"p": 1, "mode": "out_of_order"},
        b"".join(EVENTS[place] for place in (1, 0, 3, 2, 4, 5, 6, 7)),
        "",
        BODY,
    ),
]


def named(case: Case) -> str:
    return "-".join([case.kind, *(f"{name}={value}" for name, value in case.knobs.items())])


def meet(loop_name: str, case: Case, *, stream: bool) -> Seen:
    """One attempt, after which everything is as it was: the upstream's connections idle, or closed."""
    met: list[Seen] = []

    async def scenario() -> None:
        async with upstream() as server:
            provider = OpenAICompatible("up", HttpOptions(server.url))
            attempt = Attempt(fault_of(case.kind, **case.knobs), provider, ASKED[stream], connect_timeout=0.05)
            met.append(await attempt.seen())
            pool = provider._upstream
            assert pool._open == set(pool._idle)
            await provider.aclose()

    on_loop(loop_name, scenario())
    gc.collect()
    return met[0]


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_stream(case: Case, loop_name: str) -> None:
    seen = meet(loop_name, case, stream=True)
    assert seen.label == case.error, seen.error
    assert seen.raw == case.events


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_plain_answer(case: Case, loop_name: str) -> None:
    seen = meet(loop_name, case, stream=False)
    assert seen.label == case.body_error, seen.error
    assert seen.raw == case.body


def test_every_kind_is_in_the_table() -> None:
    assert {case.kind for case in CASES} | {"gray_wrong"} == FAULTS.keys()


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_wrong_answer_is_as_long_and_as_well_formed_as_the_right_one(endpoint: Endpoint, stream: bool) -> None:
    if stream and endpoint is Endpoint.EMBEDDINGS:
        return
    asked = request(endpoint=endpoint, stream=stream, input="x")
    right = b"".join(events_of(asked))
    async with upstream() as server:
        provider = OpenAICompatible("up", HttpOptions(server.url))
        seen = await Attempt(fault_of("gray_wrong", text="no"), provider, asked).seen()
        await provider.aclose()
    assert seen.error is None
    wrong = right
    for word in ("Grüße", "aus", "dem", "Hafen"):
        wrong = wrong.replace(word.encode(), b"no")
    assert seen.raw == wrong
    assert (seen.raw == right) == (endpoint is Endpoint.EMBEDDINGS)


async def test_half_an_emoji_survives_a_wrong_answer() -> None:
    """As servers send it that cut by token, where a fault leaves it alone: in a tool call."""
    call = rb'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\ud83d"}}]}}]}'

    async def plays(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.begin(headers={"content-type": "text/event-stream"})
        await exchange.say(b"data: %b\n\n" % call, *EVENTS)
        await exchange.end()

    async with upstream() as server:
        server.plays["POST /v1/chat/completions"] = plays
        provider = OpenAICompatible("up", HttpOptions(server.url))
        seen = await Attempt(fault_of("gray_wrong"), provider, ASKED[True]).seen()
        await provider.aclose()
    assert seen.error is None
    assert call in seen.raw


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_empty_answer_is_seen_to_be_empty(endpoint: Endpoint, stream: bool) -> None:
    asked = request(endpoint=endpoint, stream=stream and endpoint is not Endpoint.EMBEDDINGS)
    async with upstream() as server:
        provider = OpenAICompatible("up", HttpOptions(server.url))
        seen = await Attempt(fault_of("empty_200"), provider, asked).seen()
        await provider.aclose()
        assert (seen.label, server.seen) == ("Empty", [])


async def test_usage_that_comes_twice_counts_once_and_is_hidden_from_who_did_not_ask() -> None:
    asked = request()._replace(metered=True)
    async with upstream() as server:
        provider = OpenAICompatible("up", HttpOptions(server.url))
        plain = await Attempt(fault_of("stall", after=99), provider, asked).seen()
        twice = await Attempt(fault_of("duplicate_events", p=1), provider, asked).seen()
        await provider.aclose()
    told = [[chunk.usage for chunk in seen.chunks if chunk.usage] for seen in (plain, twice)]
    assert told[0][-1] == told[1][-1]
    assert b'"usage"' not in twice.raw


async def test_headers_travel_through_a_fault() -> None:
    async with upstream() as server:
        provider = OpenAICompatible("up", HttpOptions(server.url))
        for kind in ("stall", "slow_ttft", "brownout"):
            knobs = {"stall": {"hold": 0}, "slow_ttft": {"delay": 0}, "brownout": {}}[kind]
            stream = await Attempt(fault_of(kind, **knobs), provider).open()
            assert stream.headers == {"x-upstream-request-id": "up-1"}
            await stream.aclose()
        await provider.aclose()


@pytest.mark.parametrize("kind", ["truncate", "stall", "gray_wrong", "brownout", "slow_ttft"])
async def test_where_the_upstream_itself_fails_that_is_the_failure(kind: str) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.json({"error": {"message": "no"}}, 400)

    async with upstream() as server:
        server.plays["POST /v1/chat/completions"] = refuses
        provider = OpenAICompatible("up", HttpOptions(server.url))
        seen = await Attempt(fault_of(kind), provider).seen()
        await provider.aclose()
    assert seen.label == "Rejected"


@pytest.mark.parametrize("kind", ["truncate", "stall", "gray_wrong", "brownout"])
async def test_where_the_upstream_breaks_off_that_is_the_failure(kind: str) -> None:
    async def breaks(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.begin(headers={"content-type": "text/event-stream"})
        await exchange.say(*EVENTS[:2])
        exchange.close()

    async with upstream() as server:
        server.plays["POST /v1/chat/completions"] = breaks
        provider = OpenAICompatible("up", HttpOptions(server.url))
        seen = await Attempt(fault_of(kind), provider).seen()
        await provider.aclose()
    assert (seen.label, str(seen.error)) == ("Disconnected", "up ended its answer before it was complete")
    assert len(seen.raw.split(b"\n\n")) == 3


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("kind", ["stall", "gray_wrong", "brownout", "slow_ttft", "duplicate_events"])
def test_a_reader_who_leaves_an_upstream_that_hangs_takes_its_connection_along(kind: str, loop_name: str) -> None:
    async def hangs(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.begin(headers={"content-type": "text/event-stream"})
        await exchange.say(*EVENTS[:2])
        await exchange.until_gone()

    async def scenario() -> None:
        async with upstream() as server:
            server.plays["POST /v1/chat/completions"] = hangs
            provider = OpenAICompatible("up", HttpOptions(server.url))
            knobs: dict[str, Any] = {"factor": 1.01} if kind == "slow_ttft" else {}
            stream = await Attempt(fault_of(kind, **knobs), provider).open()
            assert (await anext(stream)).events
            await stream.aclose()
            await eventually(lambda: server.last.gone)
            await provider.aclose()

    on_loop(loop_name, scenario())


@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_reader_who_is_slow_sees_what_a_fast_one_sees(loop_name: str) -> None:
    """Meanwhile whoever plays the fault finds nobody at the other end, which is not the upstream's failure."""
    begun = asyncio.Event()

    async def plays(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.begin(headers={"content-type": "text/event-stream"})
        await exchange.say(EVENTS[0])
        await begun.wait()
        await exchange.say(*EVENTS[1:])
        await exchange.end()

    async def scenario() -> None:
        async with upstream() as server:
            server.plays["POST /v1/chat/completions"] = plays
            provider = OpenAICompatible("up", HttpOptions(server.url))
            stream: Any = await Attempt(fault_of("wrong_content_length"), provider).open()
            await eventually(lambda: stream._line.answer.complete)
            begun.set()
            await eventually(stream._playing.done)
            with pytest.raises(Disconnected, match="before any content"):
                await anext(stream)
            await stream.aclose()
            await provider.aclose()

    on_loop(loop_name, scenario())


async def test_nothing_changes_places_after_the_end_of_a_choice() -> None:
    more = [EVENTS[6].replace(b'"completion_tokens":4', b'"completion_tokens":%d' % number) for number in (5, 6, 7)]

    async def plays(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.begin(headers={"content-type": "text/event-stream"})
        await exchange.say(*EVENTS[:6], *more, EVENTS[7])
        await exchange.end()

    async with upstream() as server:
        server.plays["POST /v1/chat/completions"] = plays
        provider = OpenAICompatible("up", HttpOptions(server.url))
        seen = await Attempt(fault_of("duplicate_events", p=1, mode="out_of_order"), provider, ASKED[True]).seen()
        await provider.aclose()
    assert seen.raw.endswith(b"".join([*EVENTS[4:6], *more, EVENTS[7]]))
