"""A small benchmark with real servers: what is measured of the gateway is there and can be."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import measure
from bench.servers import GATEWAY, Server, free_port, gateway, running
from bench.upstreams import upstream

pytestmark = pytest.mark.skipif(shutil.which("taskset") is None, reason="make bench needs Linux and taskset")
STREAMS = 30  # enough for some ticks of CPU time


@pytest.mark.parametrize(
    ("allowed", "cores"), [({4}, (4, 4, 4)), ({0, 1}, (0, 1, 1)), ({2, 5, 7}, (2, 5, 7)), (range(8), (0, 1, 7))]
)
def test_the_served_have_a_core_of_their_own_where_there_is_one(allowed: set[int], cores: tuple[int, ...]) -> None:
    assert measure.Cores.of(allowed) == measure.Cores(*cores)


def test_streams_through_a_real_gateway(tmp_path: Path) -> None:
    cores = measure.Cores.of(os.sched_getaffinity(0))
    with ExitStack() as stack:
        direct = stack.enter_context(running(upstream(tmp_path), cores.upstream, tmp_path))
        served = stack.enter_context(running(gateway(direct.server.port, tmp_path), cores.serving, tmp_path))
        measure.check_answer(served.server)
        here = measure.Stand(direct, (served,), (gateway,), cores, tmp_path, tmp_path / "plain.lua")
        measure.streams(here, STREAMS)
    assert served.start_seconds > 0
    figures = {figure: list(values) for figure, values in here.samples.items()}
    assert figures == {
        f"stream_seconds_{STREAMS}": ["direct", GATEWAY],
        f"chunks_per_read_{STREAMS}": ["direct", GATEWAY],
        f"cpu_us_per_chunk_{STREAMS}": [GATEWAY],
    }
    assert all(sample > 0 for values in here.samples.values() for (sample,) in values.values())
    assert here.samples[f"stream_seconds_{STREAMS}"]["direct"][0] > 1.9
    lines = [json.loads(line) for line in (tmp_path / f"{served.server.port}.log").read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request" and line["path"] == "/v1/chat/completions"]
    assert len(requests) == STREAMS + 1, "the access log is on"


def test_a_server_that_ends_at_once_is_named_with_its_words(tmp_path: Path) -> None:
    server = Server("Nobody", free_port(), (sys.executable, "-c", "raise SystemExit('no such luck')"))
    with (
        pytest.raises(SystemExit, match=r"Nobody did not start:\nno such luck"),
        running(server, min(os.sched_getaffinity(0)), tmp_path),
    ):
        pass


def test_a_server_that_answers_something_else_is_named(tmp_path: Path) -> None:
    port = free_port()
    command = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path))
    server = Server("Stranger", port, command, ready="/")
    with (
        running(server, min(os.sched_getaffinity(0)), tmp_path),
        pytest.raises(SystemExit, match=r"Stranger gave .* 501"),
    ):
        measure.check_answer(server)
