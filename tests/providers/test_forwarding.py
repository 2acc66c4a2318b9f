"""Forwarding over real sockets: framing, what travels, what holds back what, and every way to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from file_server import Exchange, FileServer

from providers.echo import Echo
from providers.errors import Disconnected, Misconfigured, Overloaded, ServerFault, TimedOut, Unreachable
from providers.forwarding import Forwarding, Forwards, Outgoing, Patience
from providers.openai_compatible import HttpOptions, OpenAICompatible
from tests.e2e.harness import eventually

PATIENCE = Patience(connect=5, first=5, idle=5)
SHORT = 0.1


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with FileServer() as running:
        yield running


@pytest.fixture
async def provider(server: FileServer) -> AsyncIterator[OpenAICompatible]:
    options = HttpOptions(server.url, api_key="sk-ours", headers={"x-team": "blue"})
    one = OpenAICompatible("up", options)
    yield one
    await one.aclose()


Begin = Callable[..., Awaitable[Forwarding]]


@pytest.fixture
async def begin(provider: OpenAICompatible) -> AsyncIterator[Begin]:
    """Starts one; closes them all."""
    begun: list[Forwarding] = []

    async def start(
        method: str = "GET",
        target: str = "/thing",
        headers: dict[str, str] | None = None,
        length: int | None = 0,
        **patience: float,
    ) -> Forwarding:
        outgoing = Outgoing(method, target, headers or {}, length)
        begun.append(await provider.forward(outgoing, PATIENCE._replace(**patience)))
        return begun[-1]

    yield start
    for one in begun:
        one.close()


async def rest(forwarding: Forwarding) -> bytes:
    parts = []
    while part := await forwarding.read():
        parts.append(part)
    return b"".join(parts)


async def silent(exchange: Exchange) -> None:
    await exchange.until_gone()


def test_a_provider_over_http_can_forward_and_one_that_is_none_cannot(provider):
    assert isinstance(provider, Forwards)
    assert not isinstance(Echo("echo", None), Forwards)


async def test_path_and_query_go_up_byte_for_byte_with_our_headers_over_the_clients(begin, server):
    async def ok(exchange):
        await exchange.reply(200, b"hi")

    server.plays["GET /v1/a%20b/c:d"] = ok
    forwarding = await begin(
        target="/a%20b/c:d?x=%2F&y&x=1&z=a+b",
        headers={"accept": "text/x", "authorization": "Bearer sk-theirs", "x-team": "red", "accept-encoding": "gzip"},
    )
    assert (await forwarding.head()).status == 200
    assert await rest(forwarding) == b"hi"
    assert server.last.target == "/v1/a%20b/c:d?x=%2F&y&x=1&z=a+b"
    assert sorted(server.last.lines) == [
        ("accept", "text/x"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer sk-ours"),
        ("host", server.url.removeprefix("http://").removesuffix("/v1")),
        ("x-team", "blue"),
    ]


@pytest.mark.parametrize(
    ("method", "length", "framing"),
    [
        ("GET", 0, {}),
        ("DELETE", 0, {}),
        ("OPTIONS", 0, {}),
        ("POST", 0, {"content-length": "0"}),
        ("PATCH", 0, {"content-length": "0"}),
        ("PUT", 6, {"content-length": "6"}),
        ("DELETE", 6, {"content-length": "6"}),
        ("POST", None, {"transfer-encoding": "chunked"}),
        ("GET", None, {"transfer-encoding": "chunked"}),
    ],
)
async def test_the_body_is_framed_as_the_client_framed_it(begin, server, method, length, framing):
    async def mirror(exchange):
        await exchange.reply(200, await exchange.body())

    server.plays[f"{method} /v1/thing"] = mirror
    for _ in range(2):
        forwarding = await begin(method, length=length)
        if length != 0:
            await forwarding.write(b"", more=True)
            await forwarding.write(b"abc", more=True)
            await forwarding.write(b"def", more=False)
        else:
            await forwarding.write(b"", more=False)
        assert (await forwarding.head()).status == 200
        assert await rest(forwarding) == (b"" if length == 0 else b"abcdef")
        names = ("content-length", "transfer-encoding")
        assert {name: value for name, value in server.last.lines if name in names} == framing
    assert server.connections == 1, "a connection between two requests is used again"


async def test_of_the_answers_headers_only_those_that_describe_it_come_down(begin, server):
    sent = {
        "content-type": "text/plain",
        "content-disposition": 'attachment; filename="a.txt"',
        "content-range": "bytes 0-1/9",
        "content-encoding": "gzip",
        "etag": '"1"',
        "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT",
        "cache-control": "no-store",
        "retry-after": "7",
        "x-ratelimit-remaining-requests": "5",
        "openai-processing-ms": "12",
        "x-request-id": "theirs",
        "expires": "0",
    }
    kept = {**sent, "content-length": "2", "x-upstream-request-id": "theirs"}
    del kept["x-request-id"], kept["expires"]
    private = {
        "set-cookie": "a=b",
        "openai-organization": "org",
        "openai-project": "p",
        "server": "nginx",
        "via": "1.1 x",
        "location": "http://10.0.0.1/",
        "access-control-allow-origin": "*",
        "www-authenticate": "Basic",
        "keep-alive": "timeout=5",
        "x-internal": "1",
        "connection": "keep-alive, Expires",
    }

    async def play(exchange):
        await exchange.begin(201, {"content-length": "2"} | sent | private)
        await exchange.say(b"hi")

    server.plays["GET /v1/thing"] = play
    forwarding = await begin()
    head = await forwarding.head()
    assert head.status == 201
    assert head.headers == kept


@pytest.mark.parametrize("status", [200, 202, 206, 304, 400, 404, 409, 416, 422, 429])
async def test_the_status_is_the_answer(begin, server, status):
    async def play(exchange):
        await exchange.reply(status, b"words")

    server.plays["GET /v1/thing"] = play
    forwarding = await begin()
    head = await forwarding.head()
    assert head.status == status
    assert await rest(forwarding) == (b"" if status == 304 else b"words")
    assert ("content-length" in head.headers) is (status != 304)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Misconfigured), (402, Misconfigured), (403, Misconfigured), (407, ServerFault)]
    + [(status, Misconfigured) for status in (300, 301, 302, 303, 307, 308)]
    + [(500, ServerFault), (502, ServerFault), (503, Overloaded)],
)
async def test_what_is_about_our_key_or_leads_elsewhere_or_is_its_own_failure_is_no_answer(begin, server, status, kind):
    async def play(exchange):
        await exchange.reply(status, b"sk-ours is wrong", location="http://10.0.0.1/secret")

    server.plays["GET /v1/thing"] = play
    forwarding = await begin()
    with pytest.raises(kind) as failure:
        await forwarding.head()
    assert failure.value.status == status
    assert "sk-ours" not in failure.value.message
    assert "10.0.0.1" not in failure.value.message


async def test_an_answer_to_head_has_its_length_and_no_body(begin, server):
    server.files["f"] = b"x" * 1000
    forwarding = await begin("HEAD", "/files/f/content")
    head = await forwarding.head()
    assert head.headers["content-length"] == "1000"
    assert await forwarding.read() == b""


async def test_an_upstream_that_answers_early_is_heard_and_its_connection_never_used_again(begin, server):
    """Else the rest of this upload would be read as the next request on that connection."""

    async def refuse(exchange):
        await exchange.reply(413, b"too large")
        await exchange.body()

    server.plays["POST /v1/thing"] = refuse
    server.files["f"] = b"fine"
    forwarding = await begin("POST", length=1000)
    await forwarding.write(b"x" * 10, more=True)
    assert (await forwarding.head()).status == 413
    assert await rest(forwarding) == b"too large"
    await forwarding.write(b"x" * 990, more=False)  # goes nowhere
    other = await begin(target="/files/f/content")
    assert (await other.head()).status == 200
    assert await rest(other) == b"fine"
    assert server.connections == 2
    await eventually(lambda: server.seen[0].gone)


async def test_a_request_without_a_body_writes_nothing_into_a_connection_that_serves_another_by_now(begin, server):
    async def refuse(exchange):
        await exchange.reply(413)
        await exchange.body()

    server.plays["POST /v1/thing"] = refuse
    server.files["f"] = b"fine"
    first = await begin(target="/files/f/content")
    assert (await first.head()).status == 200
    assert await rest(first) == b"fine"
    second = await begin("POST", length=1000)
    await first.write(b"", more=False)  # its client's body, which is none, ends late
    assert (await second.head()).status == 413
    assert await rest(second) == b""
    third = await begin(target="/files/f/content")
    assert (await third.head()).status == 200
    assert server.connections == 2


async def test_both_directions_run_at_once(begin, server):
    async def mirror(exchange):
        await exchange.begin()
        async for part in exchange.parts():
            await exchange.say(part)
        await exchange.end()

    server.plays["POST /v1/thing"] = mirror
    forwarding = await begin("POST", length=None)
    for word in (b"one", b"two", b"three"):
        await forwarding.write(word, more=True)
        if word == b"one":
            assert (await forwarding.head()).status == 200
        assert await forwarding.read() == word
    await forwarding.write(b"", more=False)
    assert await forwarding.read() == b""


async def test_an_upstream_that_reads_nothing_holds_the_writer_back_and_then_fails_it(begin, server):
    async def play(exchange):
        await asyncio.get_running_loop().create_future()

    server.plays["POST /v1/thing"] = play
    forwarding = await begin("POST", length=None, idle=SHORT)
    written = 0

    async def flood():
        nonlocal written
        while written < 1 << 30:
            await forwarding.write(bytes(1 << 16), more=True)
            written += 1 << 16

    with pytest.raises(TimedOut) as failure:
        await flood()
    assert failure.value.phase == "idle"
    assert written < 50 << 20, "what the sockets' own buffers take, and no more"


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_no_answer_in_time_is_the_attempts_timeout_counted_from_the_end_of_the_body(begin, server, body):
    async def play(exchange):
        await exchange.body()
        await exchange.until_gone()

    server.plays["POST /v1/thing"] = play
    forwarding = await begin("POST", length=len(body), first=SHORT)
    waiting = asyncio.create_task(forwarding.head())
    if body:
        done, _ = await asyncio.wait({waiting}, timeout=2 * SHORT)
        assert not done, "while the body is still going up nothing is late"
        await forwarding.write(body, more=False)
    with pytest.raises(TimedOut) as failure:
        await waiting
    assert failure.value.phase == "attempt"
    forwarding.close()
    await eventually(lambda: server.last.gone)


@pytest.mark.parametrize(("said", "phase"), [((), "attempt"), ((b"one",), "idle")])
async def test_a_body_that_does_not_begin_or_does_not_go_on_is_late(begin, server, said, phase):
    async def play(exchange):
        await exchange.begin()
        await exchange.say(*said)
        await exchange.until_gone()

    server.plays["GET /v1/thing"] = play
    forwarding = await begin(first=SHORT, idle=SHORT)
    assert (await forwarding.head()).status == 200
    for word in said:
        assert await forwarding.read() == word
    with pytest.raises(TimedOut) as failure:
        await forwarding.read()
    assert failure.value.phase == phase


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize("length", [{}, {"content-length": "100"}], ids=["chunked", "length"])
async def test_an_upstream_that_dies_in_its_answer_is_no_end_of_it(begin, server, length, reset):
    heard = asyncio.Event()

    async def play(exchange):
        await exchange.begin(headers=length)
        await exchange.say(b"half")
        await heard.wait()
        exchange.close(reset=reset)

    server.plays["GET /v1/thing"] = play
    forwarding = await begin()
    assert (await forwarding.head()).status == 200
    assert await forwarding.read() == b"half"
    heard.set()
    with pytest.raises(Disconnected):
        await forwarding.read()


async def test_an_upstream_that_hangs_up_in_the_upload_is_told_by_its_answer_and_not_by_the_write(begin, server):
    async def play(exchange):
        exchange.close(reset=True)

    server.plays["POST /v1/thing"] = play
    forwarding = await begin("POST", length=None)
    with pytest.raises(Disconnected):
        await forwarding.head()
    await forwarding.write(b"more", more=True)


async def test_closing_hangs_up_at_once(begin, server):
    server.plays["GET /v1/thing"] = silent
    forwarding = await begin()
    await eventually(lambda: server.seen)
    forwarding.close()
    forwarding.close()
    await eventually(lambda: server.last.gone)


async def test_nobody_there():
    provider = OpenAICompatible("up", HttpOptions("http://127.0.0.1:9/v1"))
    with pytest.raises(Unreachable):
        await provider.forward(Outgoing("GET", "/files", {}, 0), PATIENCE)
