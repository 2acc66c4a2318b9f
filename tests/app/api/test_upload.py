"""The body on its way up, on a virtual clock: pauses, drips, sizes, and the client that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from worlds import now, on_virtual_clock

from app.api import upload
from app.api.client_watch import ClientGone
from app.api.errors import ApiError
from app.api.exchange import Exchange
from app.api.upload import SLOWEST_BYTES_PER_SECOND, carry_up

PAUSE = 10.0
GONE = {"type": "http.disconnect", "stalled": False}


class Client:
    """Sends ``parts``, each after its seconds; then the body ends, or else nothing more comes; then it ``leaves``."""

    def __init__(
        self, parts: Iterable[tuple[float, bytes]], *, ends: bool = True, leaves: float | None = 1000.0
    ) -> None:
        self._messages = [(wait, {"type": "http.request", "body": part, "more_body": True}) for wait, part in parts]
        if ends:
            self._messages.append((0.0, {"type": "http.request", "body": b"", "more_body": False}))
        if leaves is not None:
            self._messages.append((leaves, GONE))

    async def receive(self):
        wait, message = self._messages.pop(0) if self._messages else (1e9, GONE)
        await asyncio.sleep(wait)
        return message


class Provider:
    """Takes each part in so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.got = b""
        self.whole = False
        self._seconds = seconds

    async def write(self, part, *, more):
        await asyncio.sleep(self._seconds)
        self.got += part
        self.whole = not more


async def carried(client: Client, provider: Provider) -> Exception:
    """How it ended."""
    exchange = Exchange({"headers": [], "method": "POST", "path": "/v1/x"})
    with pytest.raises((ApiError, ClientGone)) as ended:
        await carry_up(exchange, client.receive, provider.write, PAUSE)
    assert exchange.bytes_in >= len(provider.got)
    return ended.value


@on_virtual_clock
async def test_the_whole_body_goes_up_and_then_the_client_is_watched_until_it_leaves():
    provider = Provider()
    ended = await carried(Client([(1, b"a"), (8.9, b"b" * 10_000), (9.9, b"c")]), provider)
    assert isinstance(ended, ClientGone)
    assert provider.got == b"a" + b"b" * 10_000 + b"c"
    assert provider.whole
    assert now() == pytest.approx(1019.8)


@on_virtual_clock
async def test_a_client_that_leaves_in_its_body_has_sent_no_whole_one():
    provider = Provider()
    assert isinstance(await carried(Client([(0, b"a")], ends=False, leaves=1), provider), ClientGone)
    assert (provider.got, provider.whole) == (b"a", False)


@pytest.mark.parametrize(
    ("parts", "at"),
    [
        ([], 10),
        ([(9.5, b"a" * 9000)], 19),  # 10 s, and what 9000 bytes are worth
        ([(1, b"a" * 1_000_000)], 11),  # what came fast buys no longer pause
        ([(1, b"a")] * 1000, 10.01),  # a drip: 10 s and what its few bytes are worth
    ],
    ids=["nothing", "stops", "stops_after_much", "drips"],
)
@on_virtual_clock
async def test_a_body_that_does_not_come_is_a_408(parts, at):
    provider = Provider()
    ended = await carried(Client(parts, ends=False, leaves=None), provider)
    assert isinstance(ended, ApiError)
    assert (ended.answer.status, ended.answer.code) == (408, "request_timeout")
    assert now() == pytest.approx(at)
    assert not provider.whole


@on_virtual_clock
async def test_a_body_that_comes_as_fast_as_it_must_is_carried_for_as_long_as_it_takes():
    parts = [(1.0, bytes(SLOWEST_BYTES_PER_SECOND))] * 200
    assert isinstance(await carried(Client(parts), Provider()), ClientGone)


@on_virtual_clock
async def test_the_time_that_the_provider_takes_is_not_the_clients():
    provider = Provider(60.0)
    assert isinstance(await carried(Client([(1, b"a")] * 5), provider), ClientGone)
    assert provider.whole


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
def test_what_is_larger_than_any_file_is_a_413(monkeypatch, size, fits):
    monkeypatch.setattr(upload, "MAX_UPLOAD_BYTES", 1000)

    @on_virtual_clock
    async def scenario():
        provider = Provider()
        ended = await carried(Client([(0, b"x" * (size - 100)), (0, b"x" * 100)]), provider)
        assert isinstance(ended, ClientGone if fits else ApiError)
        assert provider.whole is fits
        assert fits or ended.answer.status == 413

    scenario()


@on_virtual_clock
async def test_a_body_that_is_not_http_ends_with_the_servers_reason():
    refusal = ApiError(400, "not HTTP")

    async def receive():
        return {"type": "http.disconnect", "refusal": refusal}

    client = Client([])
    client.receive = receive
    assert await carried(client, Provider()) is refusal
