from __future__ import annotations

import pytest

from bench.wrk import Load, WrongAnswers, parse

BEFORE = """Running 2s test @ http://127.0.0.1:9/v1/chat/completions
  1 threads and 64 connections
Requests/sec:   9980.01
"""


def test_what_wrk_prints_is_read() -> None:
    load = parse(f"{BEFORE}RESULT requests=20000 us=2000000 p50=263.500000 status=0 broken=0\n")
    assert load == Load(20_000, 2.0, 263.5)
    assert load.per_second == 10_000


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("RESULT requests=100 us=1000 p50=1.0 status=3 broken=0\n", "of 100 requests 3 got an error status"),
        ("RESULT requests=100 us=1000 p50=1.0 status=0 broken=2\n", "2 broke off or timed out"),
        ("RESULT requests=0 us=1000 p50=0.0 status=0 broken=0\n", "of 0 requests"),
        ("unable to connect to 127.0.0.1:9 Connection refused\n", "Connection refused"),
    ],
)
def test_a_wrong_answer_is_no_figure(output: str, named: str) -> None:
    with pytest.raises(WrongAnswers, match=named):
        parse(BEFORE + output)
