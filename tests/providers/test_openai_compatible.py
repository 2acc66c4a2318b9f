"""The adapter over a response that is played from memory; over real sockets it is tested end to end."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import on_virtual_clock, request

from providers.base import Endpoint, Usage
from providers.errors import (
    Disconnected,
    Empty,
    Malformed,
    Misconfigured,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Rejected,
    ServerFault,
    Truncated,
)
from providers.failures import travelling
from providers.openai_compatible import DONE, HttpOptions, OpenAICompatible


def sse(payload, *, end=b"\n", name=None):
    head = b"event: " + name.encode() + end if name else b""
    return head + b"data: " + (payload if isinstance(payload, bytes) else orjson.dumps(payload)) + end + end


def delta(content=None, finish=None, **members):
    said = {"role": "assistant", "content": ""} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": {} if finish else said, "finish_reason": finish}], **members}


ROLE, HI, STOP = sse(delta()), sse(delta("hé")), sse(delta(finish="stop"))
USAGE = sse({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}})
PING = b": ping\n\n"
BAD = b'data: {"choices": [\n\n'
BROKE = sse({"error": {"message": "engine dead", "code": 500}})
WHOLE = [ROLE, HI, STOP, DONE]


class Response:
    """An Answer of an upstream; ``reads`` is what each read of its body brings."""

    def __init__(self, *reads, status=200, headers=None, content_type="text/event-stream"):
        self.headers = {"content-type": content_type} | (headers or {})
        self.status = status
        self.media_type = content_type
        self.closed = False
        self._reads = list(reads)

    async def read(self):
        return self._reads.pop(0) if self._reads else b""

    def leave(self):
        self.closed = True

    def close(self):
        self.closed = True


class Wire:
    """In place of the pool of connections: gives out ``response`` and remembers the body sent."""

    def __init__(self, response):
        self.response = response
        self.sent = None

    async def post(self, path, body, headers, connect_timeout, *, final=False):
        self.sent = (path, body)
        return self.response


async def opened(response, endpoint=Endpoint.CHAT, *, stream=True, model="m"):
    provider = OpenAICompatible("up", HttpOptions("http://unused/v1"))
    provider._upstream = Wire(response)
    return await provider.open(request(endpoint=endpoint, stream=stream), model, 5.0)


async def read(stream):
    """All chunks, and the error that ended them."""
    chunks = []
    try:
        async for chunk in stream:
            chunks += [chunk]
    except Exception as error:  # noqa: BLE001 - the test says which
        return chunks, error
    return chunks, None


async def forwarded(*reads, endpoint=Endpoint.CHAT):
    chunks, error = await read(await opened(Response(*reads), endpoint))
    return b"".join(chunk.raw for chunk in chunks), type(error) if error else None


COMPLETED = sse(
    {"type": "response.completed", "response": {"status": "completed", "output": [{"type": "message"}]}},
    name="response.completed",
)
CREATED = sse({"type": "response.created", "response": {"id": "r"}}, name="response.created")
TEXT = sse({"type": "response.output_text.delta", "delta": "hi"}, name="response.output_text.delta")
FAILED = sse({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}})
INCOMPLETE = sse({"type": "response.incomplete", "response": {"status": "incomplete", "output": []}})

# Endpoint, what the upstream sends, what goes on, and how it ends.
ENDINGS = {
    "whole": (WHOLE, WHOLE, None),
    "usage before the end": ([ROLE, HI, STOP, USAGE, DONE], [ROLE, HI, STOP, USAGE, DONE], None),
    "done is supplied": ([ROLE, HI, STOP], WHOLE, None),
    "nothing after done": ([*WHOLE, HI, BROKE], WHOLE, None),
    "done once": ([*WHOLE, DONE], WHOLE, None),
    "last blank line missing": ([ROLE, HI, STOP, b"data: [DONE]"], WHOLE, None),
    "last blank line missing before done": ([ROLE, HI, STOP[:-2]], WHOLE, None),
    "a malformed event is dropped": ([ROLE, BAD, HI, BAD, STOP, DONE], WHOLE, None),
    "not objects": ([ROLE, sse([1]), sse(None), HI, STOP, DONE], WHOLE, None),
    "comments pass": ([PING, ROLE, PING, HI, PING, STOP, DONE], [PING, ROLE, PING, HI, PING, STOP, DONE], None),
    "empty data is dropped": ([ROLE, b"data:\n\n", HI, b"data\n\n", STOP, DONE], WHOLE, None),
    "events without data are dropped": ([b"event: ping\n\n", ROLE, b"retry: 3000\n\n", HI, STOP, DONE], WHOLE, None),
    "id is dropped": ([b"id: 1\n" + ROLE, HI, b"id: 2\n" + STOP, DONE], WHOLE, None),
    "blank lines": ([b"\n\n", ROLE, b"\n\n\n\n", HI, STOP, DONE], WHOLE, None),
    "cut before anything": ([], [], Disconnected),
    "cut before content": ([PING, ROLE], [PING, ROLE], Disconnected),
    "cut after content": ([ROLE, HI], [ROLE, HI], Truncated),
    "cut in an event": ([ROLE, HI, HI[:9]], [ROLE, HI], Truncated),
    "done before the finish reason": ([ROLE, HI, DONE], [ROLE, HI], Truncated),
    "done at once": ([DONE], [], Truncated),
    "a bare stop": ([ROLE, STOP, DONE], [ROLE, STOP], Empty),
    "a bare stop and the end": ([ROLE, STOP], [ROLE, STOP], Empty),
    "a bare stop with tokens counted": ([ROLE, STOP, USAGE, DONE], [ROLE, STOP, USAGE, DONE], None),
    "an error at once": ([BROKE, DONE], [], ServerFault),
    "an error after the role": ([ROLE, BROKE, DONE], [ROLE], ServerFault),
    "an error after content": ([ROLE, HI, BROKE, DONE], [ROLE, HI], ServerFault),
    "an error that is a string": ([ROLE, sse({"error": "boom"})], [ROLE], ServerFault),
    "a quota error": ([ROLE, sse({"error": {"code": "insufficient_quota"}})], [ROLE], QuotaExhausted),
}
RESPONSES = {
    "whole": ([CREATED, TEXT, COMPLETED], [CREATED, TEXT, COMPLETED], None),
    "nothing after the terminal event": ([CREATED, TEXT, COMPLETED, TEXT, DONE], [CREATED, TEXT, COMPLETED], None),
    "incomplete": ([CREATED, INCOMPLETE], [CREATED, INCOMPLETE], None),
    "the terminal event without its blank line": ([CREATED, TEXT, COMPLETED[:-2]], [CREATED, TEXT, COMPLETED], None),
    "failed before content": ([CREATED, FAILED], [CREATED], ServerFault),
    "failed after content": ([CREATED, TEXT, FAILED], [CREATED, TEXT], ServerFault),
    "an error event": ([CREATED, sse({"type": "error", "code": "rate_limit_exceeded"})], [CREATED], RateLimited),
    "cut before content": ([CREATED], [CREATED], Disconnected),
    "cut after content": ([CREATED, TEXT], [CREATED, TEXT], Truncated),
    "completed with nothing": (
        [CREATED, sse({"type": "response.completed", "response": {"output": []}})],
        [CREATED],
        Empty,
    ),
}
CASES = [(Endpoint.CHAT, case) for case in ENDINGS] + [(Endpoint.RESPONSES, case) for case in RESPONSES]


@pytest.mark.parametrize(("endpoint", "case"), CASES, ids=lambda value: str(value).replace("/", "-"))
@pytest.mark.parametrize("size", [1, 13, 10**6])
@on_virtual_clock
async def test_how_a_stream_goes_on_and_ends_whatever_the_reads(endpoint, case, size):
    sent, passed, error = (ENDINGS if endpoint is Endpoint.CHAT else RESPONSES)[case]
    stream = b"".join(sent)
    reads = [stream[at : at + size] for at in range(0, len(stream), size)]
    raw, raised = await forwarded(*reads, endpoint=endpoint)
    assert raised is error
    assert raw.strip() == b"".join(passed).strip()


async def to_the_end(stream):
    while True:
        await anext(stream)


@pytest.mark.parametrize(("sent", "flawed"), [(WHOLE, False), ([ROLE, HI, BAD, STOP, DONE], True)])
@on_virtual_clock
async def test_what_had_to_be_left_out_is_told_when_the_answer_is_complete(sent, flawed):
    stream = await opened(Response(*sent))
    with pytest.raises(StopAsyncIteration) as end:
        await to_the_end(stream)
    assert [type(flaw) for flaw in end.value.args] == [Malformed] * flawed


@examples(100)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.sampled_from([b"\n", b"\r\n", b"\r"]))
@on_virtual_clock
async def test_bytes_pass_as_they_came_however_they_are_read(sizes, end):
    payloads = [
        delta(),
        delta("hé🌊\u2028"),
        delta("x", usage={"prompt_tokens": 1, "completion_tokens": 1}),
        delta(finish="stop"),
    ]
    events = [b": ping" + end + end, *(sse(payload, end=end) for payload in payloads), sse(b"[DONE]", end=end)]
    stream, reads, turn = b"".join(events), [], 0
    at = 0
    while at < len(stream):
        reads.append(stream[at : at + sizes[turn % len(sizes)]])
        at, turn = at + len(reads[-1]), turn + 1
    chunks, error = await read(await opened(Response(*reads)))
    assert error is None
    raw = b"".join(chunk.raw for chunk in chunks)
    assert raw == stream or (end == b"\r\n" and raw == stream[:-1])  # the last LF is not waited for
    assert sum(chunk.events for chunk in chunks) == 5
    assert [chunk.usage for chunk in chunks if chunk.usage] == [Usage(1, 1)]


@on_virtual_clock
async def test_a_comment_is_a_ping_and_only_content_is_content():
    chunks, _ = await read(await opened(Response(PING, ROLE, HI, STOP, USAGE, DONE)))
    assert [(chunk.events, chunk.content) for chunk in chunks] == [
        (0, False),
        (1, False),
        (1, True),
        (1, False),
        (1, False),
        (1, False),
    ]


@on_virtual_clock
async def test_what_came_in_one_read_goes_on_in_one_chunk_and_its_error_after_it():
    chunks, error = await read(await opened(Response(PING + ROLE + HI + BROKE)))
    assert [(chunk.raw, chunk.events, chunk.content) for chunk in chunks] == [(PING + ROLE + HI, 2, True)]
    assert isinstance(error, ServerFault)


@pytest.mark.parametrize("comment", [": keep-alive\nevent: ping\n\n", ":\nevent: x\nid: 1\n\n"])
@on_virtual_clock
async def test_a_comment_does_not_carry_an_event_without_data_along(comment):
    """W1: the official SDKs break on an event without data; once one passed behind a comment."""
    raw, _ = await forwarded(ROLE, comment.encode(), HI, STOP, DONE)
    assert b"event:" not in raw
    assert raw.replace(comment.encode().split(b"\n")[0] + b"\n\n", b"") == b"".join(WHOLE)


@on_virtual_clock
async def test_an_oversized_event_is_malformed_and_closing_closes_the_connection(monkeypatch):
    response = Response(ROLE, b"data: " + b"x" * (4 * 1024 * 1024 + 1))
    stream = await opened(response)
    chunks, error = await read(stream)
    assert [chunk.raw for chunk in chunks] == [ROLE]
    assert isinstance(error, Malformed)
    await stream.aclose()
    assert response.closed


@on_virtual_clock
async def test_the_end_may_be_asked_for_again():
    stream = await opened(Response(*WHOLE))
    assert [len((await read(stream))[0]) for _ in range(2)] == [4, 0]


# --- what the status and the headers say ------------------------------------------------------------------------

JSON = "application/json"


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (Response(b'{"error":"Unauthorized"}', status=401, content_type=JSON), Misconfigured),
        (Response(b"Loading model", status=503, content_type=JSON), Overloaded),
        (Response(b'{"error":{"code":"insufficient_quota"}}', status=429, content_type=JSON), QuotaExhausted),
        (Response(b'{"error":{"message":"too long"}}', status=400, content_type=JSON), Rejected),
        (Response(b"x" * 100_000, status=500), ServerFault),
        (Response(status=302, headers={"location": "http://elsewhere"}), Misconfigured),
        (Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}), Malformed),
        (Response(b"<html>", content_type="text/html"), Malformed),
        (Response(b'{"error":{"code":429}}', content_type=JSON), RateLimited),
        (Response(b'{"choices":[]}', content_type=JSON), Malformed),
    ],
    ids=lambda value: f"{value.status} {value.media_type}" if isinstance(value, Response) else value.__name__,
)
@on_virtual_clock
async def test_a_stream_that_does_not_begin_closes_its_response(response, error):
    with pytest.raises(error):
        await opened(response)
    assert response.closed


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (Response(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}', content_type=JSON), None),
        (Response(b'{"choices":[{"message":{"content":"hi"},', b'"finish_reason":"stop"}]}', content_type=JSON), None),
        (Response(b'{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}', content_type=JSON), Empty),
        (Response(b'{"choices":[', content_type=JSON), Malformed),
        (Response(b"<html>", content_type="text/html"), Malformed),
        (Response(b"[]", content_type=JSON), Malformed),
        (Response(b"", content_type=JSON), Malformed),
        (Response(b'{"error":{"code":503}}', content_type=JSON), Overloaded),
        (Response(b'{"choices":[]}', content_type=JSON), Malformed),
    ],
    ids=range(9),
)
@on_virtual_clock
async def test_a_plain_answer_is_one_chunk_as_it_came_or_an_error(response, error):
    sent = b"".join(response._reads)
    stream = await opened(response, stream=False)
    chunks, raised = await read(stream)
    assert type(raised) is (error or type(None))
    if error is None:
        assert [(chunk.raw, chunk.content) for chunk in chunks] == [(sent, True)]
        assert await read(stream) == ([], None)
    await stream.aclose()
    assert response.closed


@pytest.mark.parametrize(("model", "same"), [("m", True), ("other", False)])
@on_virtual_clock
async def test_the_body_goes_as_it_came_unless_the_model_has_another_name(model, same):
    provider = OpenAICompatible("up", HttpOptions("http://unused/v1"))
    provider._upstream = wire = Wire(Response(*WHOLE))
    asked = request()
    await provider.open(asked, model, 5.0)
    path, body = wire.sent
    assert path == "chat/completions"
    assert (body is asked.body) is same
    assert orjson.loads(body) == asked.fields | {"model": model}


def test_headers_that_travel_to_the_client():
    headers = {
        "retry-after": "7",
        "retry-after-ms": "7000",
        "x-should-retry": "false",
        "openai-processing-ms": "12",
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-tokens": "9",
        "x-ratelimit-remaining-tokens": "5",
        "x-request-id": "up-1",
        "set-cookie": "secret",
        "openai-organization": "ours",
        "content-length": "3",
        "connection": "close, X-RateLimit-Limit-Tokens",
    }
    assert travelling(headers) == {
        "retry-after": "7",
        "retry-after-ms": "7000",
        "x-should-retry": "false",
        "openai-processing-ms": "12",
        "openai-version": "2020-10-01",
        "x-ratelimit-remaining-tokens": "5",
        "x-upstream-request-id": "up-1",
    }


@pytest.mark.parametrize(
    ("wanted", "marker", "error"), [(1, b"", None), (2, b"", Truncated), (2, DONE, None)], ids=["one", "cut", "done"]
)
async def test_without_done_every_choice_that_was_asked_for_must_have_ended(wanted, marker, error):
    """Once: cut between two choices, the end looked complete, because the second had not begun."""
    provider = OpenAICompatible("up", HttpOptions("http://unused/v1"))
    provider._upstream = Wire(Response(ROLE, HI, STOP, *filter(None, [marker])))
    asked = request(stream=True)
    asked = asked._replace(fields={**asked.fields, "n": wanted})
    chunks, broke = await read(await provider.open(asked, "m", 5.0))
    assert (type(broke) if broke else None) is error
    assert (chunks[-1].raw == DONE) is (error is None)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-a": "a\r\nb"}, "line break"),
        ({"x-a": "a\0"}, "line break"),
        ({"x-a": "é"}, "ASCII"),
        ({"x a": "b"}, "not a header"),
        ({"Content-Length": "3"}, "not a header"),
        ({"transfer-encoding": "chunked"}, "not a header"),
    ],
)
def test_headers_that_would_break_every_request_are_refused_at_the_start(headers, said):
    with pytest.raises(ValueError, match=said):
        HttpOptions("http://unused/v1", headers=headers)
