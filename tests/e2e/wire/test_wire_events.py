"""W1 to W4 and W7: what a client reads of a stream is what it would have read from the upstream itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from tests.e2e.faulty import DONE, ROLE, USAGE, Exchange, delta, event
from tests.e2e.outside import Stage, ask, dice, says
from tests.e2e.wire_http import Event, Wire, events, frames, post

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAID = delta({"content": "hello"})
END = delta({}, "stop")


async def test_w01_heartbeats_never_become_data(stage: Stage) -> None:
    noise = [b": ping\n\n", b":\n\n", b"retry: 3000\n\n", b"event: ping\n\n", b"data:\n\n", b"data: \n\n", b"id: 7\n\n"]
    numbered = b"id: 8\nretry: 1\n: with a comment\n" + SAID
    model = stage.play(says(*noise, ROLE, *noise, SAID, *noise, numbered, *noise, b"id\n" + END, *noise, DONE))
    answer = await stage.ask(ask(model, stream=True))
    assert answer.whole
    assert events(answer.body) == [Event("message", one[6:-2].decode()) for one in (ROLE, SAID, SAID, END, DONE)]
    for lines in frames(answer.body):
        # A data line that says something, or nothing but comments: all else breaks an official client.
        assert any(line.startswith("data: ") and line[6:].strip() for line in lines) or all(
            line.startswith(":") for line in lines
        ), lines
        assert not any(line.startswith(("id", "retry")) for line in lines), lines


UNICODE = [
    "café ",
    "日本語",
    "\U0001f30a\U0001f9d1\u200d\U0001f680",
    "\u2028 \u0085 \x7f",
    '\\n \\\\ "quoted"',
    "x" * 5000,
]


def payloads(rng: Random) -> list[str]:
    """A whole answer's payloads as JSON texts, each spelled in some way."""
    said = [delta({"content": rng.choice(UNICODE)}) for _ in range(rng.randint(1, 6))]
    spelled = []
    for one in (ROLE, *said, END):
        parsed = json.loads(one[6:])
        spelled.append(json.dumps(parsed, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 1])))
    return [*spelled, "[DONE]"]


def rendered(payload: str, rng: Random) -> bytes:
    """One event in some legal spelling."""
    newline = rng.choice(["\n", "\r\n", "\r"])
    space = rng.choice(["", " "])
    lines = [f"data:{space}{line}" for line in payload.split("\n")]
    if rng.random() < 0.3:
        lines.insert(rng.randint(0, len(lines)), ": a comment")
    if rng.random() < 0.2:
        lines.insert(0, "event: message")
    return newline.join([*lines, "", ""]).encode()


def cut(data: bytes, rng: Random) -> Iterator[bytes]:
    most = rng.choice([1, 2, 7, 100, 4096, len(data)])
    at = 0
    while at < len(data):
        size = rng.randint(1, most)
        yield data[at : at + size]
        at += size


def meaning(data: str) -> Any:
    return data if data == "[DONE]" else json.loads(data)


async def test_w02_events_survive_every_way_of_cutting_them_up(stage: Stage) -> None:
    rng = dice()

    async def one(number: int) -> None:
        mine = Random(rng.random())
        texts = payloads(mine)
        pieces = list(cut(b"".join(rendered(text, mine) for text in texts), mine))
        model = stage.play(says(*pieces))
        direct = await stage.direct(ask(model, stream=True))
        through = await stage.ask(ask(model, stream=True))
        assert events(through.body) == events(direct.body), (number, pieces)
        assert [meaning(data) for data in through.data] == [meaning(text) for text in texts], (number, pieces)
        assert through.whole

    for first in range(0, 120, 20):
        await asyncio.gather(*map(one, range(first, first + 20)))


async def test_w02_one_byte_a_write_and_an_event_left_open_at_the_end(stage: Stage) -> None:
    whole = b"\xef\xbb\xbf" + b"".join([ROLE, *(delta({"content": text}) for text in UNICODE), END, DONE])
    model = stage.play(says(*(bytes([byte]) for byte in whole.rstrip(b"\n"))))
    answer = await stage.ask(ask(model, stream=True))
    assert answer.data == [one.data for one in events(whole)]


async def test_w03_each_event_is_flushed_at_once(stage: Stage) -> None:
    """In lock-step: the upstream says nothing more before the client has what it said last."""
    loop = asyncio.get_running_loop()
    came = asyncio.Semaphore(0)
    sent: list[float] = []

    async def in_lock_step(x: Exchange) -> None:
        await x.begin()
        await x.say(ROLE)
        for number in range(100):
            sent.append(loop.time())
            await x.say(delta({"content": f"<{number}>"}))
            await came.acquire()
        await x.say(END, DONE)
        await x.end()

    async with Wire(stage.gateway.url) as wire:
        await wire.send(post(ask(stage.play(in_lock_step), stream=True), "Accept-Encoding: gzip, deflate, br"))
        answer = await wire.begun()
        delays = []
        for number in range(100):
            await wire.more(answer, f"<{number}>".encode())
            delays.append(loop.time() - sent[-1])
            came.release()
        await wire.more(answer, b"[DONE]")
    delays.sort()
    print(f"per event: p50 {delays[50] * 1000:.2f} ms, p99 {delays[98] * 1000:.2f} ms, both sockets included")
    assert delays[50] < 0.01
    assert not answer.header("content-encoding")
    assert not answer.header("content-length")
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    assert (answer.header("cache-control"), answer.header("x-accel-buffering")) == ("no-cache", "no")


ASKED_USAGE = event(
    {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE}
)
TAILS = {
    "as it should be": [END, ASKED_USAGE, DONE],
    "usage before the finish": [ASKED_USAGE, END, DONE],
    "no end marker": [END, ASKED_USAGE],
    "two end markers": [END, ASKED_USAGE, DONE, DONE],
    "more after the end": [END, ASKED_USAGE, DONE, SAID, b": bye\n\n", b"garbage\n\n"],
    "all in one write": [END + ASKED_USAGE + DONE + SAID],
    "other line ends": [END, ASKED_USAGE, b"data:[DONE]\r\n\r\n"],
    "never a blank line": [END, ASKED_USAGE, b"data: [DONE]"],
}


@pytest.mark.parametrize("tail", TAILS)
async def test_w04_the_end_marker_comes_once_and_last_and_usage_before_it(stage: Stage, tail: str) -> None:
    model = stage.play(says(ROLE, SAID, *TAILS[tail]))
    answer = await stage.ask(ask(model, stream=True, stream_options={"include_usage": True}))
    assert answer.whole
    assert answer.data.count("[DONE]") == 1
    assert answer.data[-1] == "[DONE]"
    assert answer.body.rstrip().endswith(b"[DONE]"), "something follows"
    assert answer.data.count(json.dumps(json.loads(ASKED_USAGE[6:]))) == 1


def choice(index: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    one = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [one]})


async def test_w07_every_choice_keeps_its_role_its_logprobs_and_its_end(stage: Stage) -> None:
    logprobs = {
        "content": [{"token": "a", "logprob": -0.0, "bytes": [97], "top_logprobs": [], "id": 12}],
        "refusal": None,
    }
    sent = [
        choice(0, {"role": "assistant", "content": ""}),
        choice(1, {"role": "assistant", "content": None}),
        choice(1, {"content": "b"}, logprobs=None),
        choice(0, {"content": "a"}, logprobs=logprobs),
        choice(2, {"role": "assistant", "content": ""}),
        choice(1, {}, "length"),
        choice(2, {"refusal": "no"}),
        choice(0, {}, "stop"),
        choice(2, {}, "content_filter"),
        DONE,
    ]
    answer = await stage.ask(ask(stage.play(says(*sent)), stream=True, n=3, logprobs=True))
    assert answer.body == b"".join(sent)


async def test_w07_a_stream_that_ends_before_its_last_choice_does_is_not_complete(stage: Stage) -> None:
    script = says(choice(0, {"content": "a"}), choice(1, {"content": "b"}), choice(0, {}, "stop"), DONE)
    answer = await stage.ask(ask(stage.play(script), stream=True, n=2))
    assert "[DONE]" not in answer.data
    assert not answer.whole


async def test_w03_events_keep_their_order_under_load(stage: Stage) -> None:
    many = [delta({"content": f"{number:05d}"}) for number in range(5000)]
    script = says(ROLE, *(b"".join(many[at : at + 7]) for at in range(0, 5000, 7)), END, DONE)
    model = stage.play(script)
    answers = await asyncio.gather(*(stage.ask(ask(model, stream=True)) for _ in range(4)))
    for answer in answers:
        seen = [json.loads(data)["choices"][0]["delta"].get("content") for data in answer.data[1:-2]]
        assert len(seen) == 5000
        assert all(one < other for one, other in pairwise(seen))
