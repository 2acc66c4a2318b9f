"""S16 and S20: clients that stop reading, and clients that send more than they wait for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.e2e.faulty import ROLE, Exchange, completion, delta
from tests.e2e.harness import eventually
from tests.e2e.outside import MB, Stage, ask, memory, open_stage, replies
from tests.e2e.wire_http import Wire, head, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = delta({"content": "x" * 16_384})


class Torrent:
    """A stream without an end, as fast as it is taken once it is ``loose``; ``sent`` bytes so far.

    ``thin``: the kernel keeps little of it on its way.
    """

    def __init__(self, *, thin: bool = False) -> None:
        self._thin = thin
        self.sent = 0
        self.loose = asyncio.Event()

    async def __call__(self, x: Exchange) -> None:
        if self._thin:
            x.keep_little()
        await x.begin()
        await x.say(ROLE, delta({"content": "go"}))
        await self.loose.wait()
        while True:
            await x.say(LONG)
            self.sent += len(LONG)

    async def held_back(self) -> bool:
        """Nothing has gone out for a while."""
        loop = asyncio.get_running_loop()
        before, until = self.sent, loop.time() + 0.3
        await eventually(lambda: loop.time() >= until)
        return self.sent == before


async def test_s16_a_reader_that_stops_is_cut_off_in_time_and_its_upstream_with_it(strict: Stage) -> None:
    loop = asyncio.get_running_loop()
    torrent = Torrent()
    torrent.loose.set()
    model = strict.play(torrent)
    async with Wire(strict.gateway.url, receive_bytes=4096) as wire:
        await wire.send(post(ask(model, stream=True), "X-Request-ID: stalled"))
        await wire.more(await wire.begun(), b"xxx")
        wire.stop_reading()
        began = loop.time()
        (call,) = strict.calls(model)
        await eventually(lambda: call.abandoned_at, within=4)
    assert call.abandoned_at is not None
    assert 0.8 < call.abandoned_at - began < 2.5
    line = await strict.gateway.log_line("stalled")
    assert line["end"] not in ("complete", "cut"), "it was the client's doing"
    assert line["status"] == 499
    await eventually(strict.quiet)
    assert all(one["last_failure"] is None for one in await states(strict) if one["model"] == model)


async def test_s16_a_plain_answer_that_nobody_takes_is_dropped_too(strict: Stage) -> None:
    model = strict.play(replies(completion("x" * 8 * MB)))
    async with Wire(strict.gateway.url, receive_bytes=4096) as wire:
        await wire.send(post(ask(model), "X-Request-ID: untaken"))
        await wire.begun()
        wire.stop_reading()
        line = await eventually(lambda: lines_of(strict, "untaken"), within=4)
    assert len(line) == 1
    await eventually(strict.quiet)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def patient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path_factory.mktemp("patient"), {"send_timeout_s": 60}) as one:
        yield one


@pytest.mark.parametrize(("count", "thin"), [(60, False), (500, True)], ids=["60 on wide pipes", "500"])
async def test_s16_stalled_readers_cost_no_more_than_their_buffers(patient: Stage, count: int, thin: bool) -> None:
    torrent = Torrent(thin=thin)
    model = patient.play(torrent)
    before = memory(patient.gateway.pid)
    async with AsyncExitStack() as readers:

        async def stall() -> None:
            wire = await readers.enter_async_context(Wire(patient.gateway.url, receive_bytes=4096))
            await wire.send(post(ask(model, stream=True)))
            await wire.begun()
            wire.stop_reading()

        await asyncio.gather(*(stall() for _ in range(count)))
        torrent.loose.set()
        await eventually(torrent.held_back, within=20)
        assert (await patient.ask(ask("m"))).status == 200, "the others are served"
        await eventually(torrent.held_back, within=20)
        grown = memory(patient.gateway.pid) - before
        each = torrent.sent / count / MB
        print(
            f"{count} stalled readers: {grown / count:.2f} MB each here, {each:.1f} MB with the kernel's, then held back"
        )
        # uvloop reads 256 KiB at a time: one such piece on the way in, one in hand, one on the way out.
        assert grown < count * 1.2
        assert each < 8, "the upstream is not held back"
    await eventually(patient.quiet, within=10)
    await eventually(lambda: all(call.abandoned_at for call in patient.calls(model)), within=5)
    answer = await patient.ask(ask(patient.play(replies(completion("still here")))))
    assert answer.json["choices"][0]["message"]["content"] == "still here"


@pytest.mark.parametrize("count", [5, 60])
async def test_s20_pipelined_requests_are_answered_in_order(strict: Stage, count: int) -> None:
    async def numbered(x: Exchange) -> None:
        await x.reply(200, completion(x.fields["messages"][0]["content"]))

    model = strict.play(numbered)
    requests = [post(ask(model) | {"messages": [{"role": "user", "content": str(n)}]}) for n in range(count)]
    async with Wire(strict.gateway.url) as wire:
        await wire.send(b"".join(requests))
        said = [(await wire.response()).json["choices"][0]["message"]["content"] for _ in range(count)]
    assert said == [str(n) for n in range(count)]


async def test_s20_a_pipeline_without_an_end_is_not_heard_without_an_end(strict: Stage) -> None:
    """Behind a request that waits: what is not answered yet must not pile up."""
    go_on = asyncio.Event()

    async def waits(x: Exchange) -> None:
        await go_on.wait()
        await x.reply(200, completion("first"))

    model = strict.play(waits)
    more = post({"model": "m", "messages": [{"role": "user", "content": "x" * 500_000}]})
    before = memory(strict.gateway.pid)
    calls = len(strict.up.exchanges)
    async with Wire(strict.gateway.url) as wire:
        await wire.send(post(ask(model)))
        await eventually(lambda: strict.calls(model))
        flooding = asyncio.create_task(flood(wire, more))
        await eventually(lambda: not wire.takes_more, within=5)
        assert memory(strict.gateway.pid) - before < 10
        go_on.set()
        assert (await wire.response()).json["choices"][0]["message"]["content"] == "first"
        flooding.cancel()
        await asyncio.wait({flooding})
    await eventually(strict.quiet)
    assert len(strict.up.exchanges) - calls < 100


async def flood(wire: Wire, data: bytes) -> None:
    for _ in range(200):
        await wire.send(data)


async def states(stage: Stage) -> list[dict[str, object]]:
    async with Wire(stage.gateway.url) as wire:
        await wire.send(head("GET /ready"))
        targets: list[dict[str, object]] = json.loads((await wire.response()).body)["targets"]
        return targets


def lines_of(stage: Stage, request_id: str) -> list[dict[str, object]]:
    return [line for line in stage.gateway.log_lines() if line.get("request_id") == request_id]
