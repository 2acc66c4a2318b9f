"""Whoever reads the log may stand still, be slow, or go: nothing waits for him, and what he misses is told."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import on_virtual_clock

from app.observability.sink import AT_ONCE, RETRY_SECONDS, Sink, standard_output

LINE = b'{"event": "request", "n": %d}\n'
MOST = 300_000


class Pipe:
    """A sink and whoever reads from it, which nobody does unless he is asked to."""

    def __init__(self, most: int = MOST) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.sink = Sink(self.writer, most)

    def read(self) -> bytes:
        """What is there."""
        said = b""
        while True:
            try:
                part = os.read(self.reader, 1 << 20)
            except BlockingIOError:
                return said
            if not part:
                return said
            said += part

    def close(self) -> None:
        for descriptor in (self.reader, self.writer):
            os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    it = Pipe()
    yield it
    it.close()


def lines(first: int, end: int) -> bytes:
    return b"".join(LINE % number for number in range(first, end))


def test_what_is_written_is_there_at_once(pipe):
    pipe.sink.write(lines(0, 3))
    assert pipe.read() == lines(0, 3)


def test_a_reader_that_stands_still_holds_nobody_up_and_misses_nothing_that_fits(pipe):
    for number in range(8000):
        pipe.sink.write(LINE % number)
    said = pipe.read()
    while part := (pipe.sink.write(b""), pipe.read())[1]:
        said += part
    assert said == lines(0, 8000)
    assert pipe.sink.dropped == 0


def test_beyond_its_bound_lines_are_dropped_and_the_log_says_how_many_and_where(pipe):
    written = 30_000
    for number in range(written):
        pipe.sink.write(LINE % number)
    assert 0 < pipe.sink.dropped < written
    assert pipe.sink._size <= MOST
    said = b""
    while part := (pipe.sink.finish(0.0), pipe.read())[1]:
        said += part
    pipe.sink.write(LINE % written)
    said += pipe.read()
    told = [orjson.loads(line) for line in said.splitlines()]
    missing = [each for each in told if each["event"] == "log lines dropped"]
    assert [(each["lines"], each["level"]) for each in missing] == [(pipe.sink.dropped, "warning")]
    place = told.index(missing[0])
    kept = written - pipe.sink.dropped
    assert [each["n"] for each in told[:place]] == list(range(kept))
    assert [each["n"] for each in told[place + 1 :]] == [written]


@on_virtual_clock
async def test_when_there_is_room_again_the_rest_follows_by_itself():
    pipe = Pipe()
    pipe.sink.write(lines(0, 8000))
    first = pipe.read()
    assert first != lines(0, 8000)
    said = first
    for _ in range(10):
        await asyncio.sleep(RETRY_SECONDS)
        said += pipe.read()
    assert said == lines(0, 8000)
    assert pipe.sink._retrying is None
    pipe.close()


def test_a_reader_that_has_gone_costs_lines_and_nothing_else(pipe):
    os.close(pipe.reader)
    for number in range(1000):
        pipe.sink.write(LINE % number)
    assert pipe.sink.dropped == 1000
    assert not pipe.sink._pieces
    pipe.reader = os.dup(pipe.writer)


def test_at_the_end_a_slow_reader_gets_his_second(pipe):
    pipe.sink.write(lines(0, 5000))
    said: list[bytes] = []
    wanted = len(lines(0, 5000))

    def read() -> None:
        os.set_blocking(pipe.reader, True)
        while sum(map(len, said)) < wanted:
            said.append(os.read(pipe.reader, 10_000))

    reader = threading.Thread(target=read)
    reader.start()
    pipe.sink.finish(30.0)
    reader.join()
    assert b"".join(said) == lines(0, 5000)


def test_at_the_end_a_reader_that_stands_still_is_not_waited_for(pipe):
    pipe.sink.write(lines(0, 5000))
    pipe.sink.finish(0.01)
    assert pipe.sink._pieces


def test_no_line_is_cut_so_that_several_processes_may_share_a_pipe(pipe):
    pipe.sink.write(lines(0, 1000))
    assert len(pipe.read()) == len(lines(0, 1000))
    pipe.sink._add(lines(0, 1000))
    assert max(map(len, pipe.sink._pieces)) <= AT_ONCE
    assert all(piece.endswith(b"\n") for piece in pipe.sink._pieces)
    pipe.sink._add(b"x" * (3 * AT_ONCE) + b"\n")
    assert max(map(len, pipe.sink._pieces)) <= AT_ONCE


def test_a_file_takes_everything_at_once(tmp_path: Path):
    with (tmp_path / "log").open("wb") as file:
        sink = Sink(file.fileno())
        sink.write(lines(0, 50_000))
        assert not sink._pieces
    assert (tmp_path / "log").read_bytes() == lines(0, 50_000)


def test_a_disk_that_is_full_costs_lines_and_nothing_else():
    with Path("/dev/full").open("wb", buffering=0) as full:
        sink = Sink(full.fileno())
        for number in range(100):
            sink.write(LINE % number)
        assert (sink.dropped, sink._missing) == (100, 100)


def test_one_that_somebody_has_made_non_blocking_loses_nothing(pipe):
    os.set_blocking(pipe.writer, False)
    pipe.sink.write(lines(0, 8000))
    said = pipe.read()
    while part := (pipe.sink.write(b""), pipe.read())[1]:
        said += part
    assert said == lines(0, 8000)


def test_what_dies_in_the_middle_of_a_write_may_write_too(pipe, monkeypatch):
    """The garbage collector may run anywhere, and a task whose exception nobody has seen logs that when it is collected."""
    real, depth = os.write, []

    def write(descriptor: int, data: bytes) -> int:
        if len(depth) < 3:
            depth.append(1)
            pipe.sink.write(LINE % len(depth))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    pipe.sink.write(LINE % 0)
    assert pipe.read() == lines(0, 4)


def test_a_line_that_was_cut_short_is_ended_before_the_next(pipe, monkeypatch):
    """As on a disk that becomes full in the middle of it."""
    real, answers = os.write, [10, OSError(28, "no space left on device")]

    def write(descriptor: int, data: bytes) -> int:
        answer = answers.pop(0) if answers else len(data)
        if isinstance(answer, OSError):
            raise answer
        return real(descriptor, data[:answer])

    monkeypatch.setattr(os, "write", write)
    pipe.sink.write(LINE % 0)
    pipe.sink.write(LINE % 1)
    torn, told, following = pipe.read().splitlines()
    assert torn == (LINE % 0)[:10]
    assert (orjson.loads(told)["lines"], orjson.loads(following)["n"]) == (1, 1)


def test_a_loop_that_has_ended_keeps_no_other_from_trying_again():
    pipe = Pipe()

    async def fill() -> None:
        pipe.sink.write(lines(0, 8000))

    async def wait() -> bytes:
        said = pipe.read()
        pipe.sink.write(b"")
        for _ in range(10):
            await asyncio.sleep(RETRY_SECONDS)
            said += pipe.read()
        return said

    on_virtual_clock(fill)()
    heard: list[bytes] = []

    async def hear() -> None:
        heard.append(await wait())

    on_virtual_clock(hear)()
    assert heard == [lines(0, 8000)]
    pipe.close()


def test_threads_may_write_at_once(pipe):
    def write(first: int) -> None:
        for number in range(first, first + 500):
            pipe.sink.write(LINE % number)

    threads = [threading.Thread(target=write, args=(n * 500,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = pipe.read()
    while part := (pipe.sink.write(b""), pipe.read())[1]:
        said += part
    assert sorted(orjson.loads(line)["n"] for line in said.splitlines()) == list(range(2000))


def test_standard_output_is_one(capfd: pytest.CaptureFixture[str]):
    assert standard_output() is standard_output()
    standard_output().write(b"a line\n")
    assert capfd.readouterr().out == "a line\n"


def test_where_it_is_in_memory_it_is_written_to_as_it_is(capsys: pytest.CaptureFixture[str]):
    standard_output().write(b"a line\n")
    assert capsys.readouterr().out == "a line\n"


@examples(50)
@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=60))
def test_whatever_is_read_and_when_every_line_is_there_or_counted(steps):
    pipe = Pipe(most=20_000)
    written, said = 0, b""
    try:
        for count, read in steps:
            pipe.sink.write(lines(written, written + count))
            written += count
            if read:
                said += pipe.read()
        while part := (pipe.sink.finish(0.0), pipe.read())[1]:
            said += part
        told = [orjson.loads(line) for line in said.splitlines()]
        numbers = [each["n"] for each in told if each["event"] == "request"]
        dropped = sum(each["lines"] for each in told if each["event"] == "log lines dropped")
        assert numbers == sorted(numbers)
        assert len(numbers) + dropped == written
        assert dropped == pipe.sink.dropped
    finally:
        pipe.close()
