from __future__ import annotations

import pytest

from bench.offered import Try, pause


def tried(status: int, *, whole: bool = True, **headers: str) -> Try:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Try(0.0, 1.0, None, status, named, whole)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (tried(200), None),
        (tried(400), None),
        (tried(404), None),
        (tried(408), 0.5),
        (tried(409), 0.5),
        (tried(429), 0.5),
        (tried(500), 0.5),
        (tried(503), 0.5),
        (tried(0, whole=False), 0.5),
        (tried(503, retry_after="7"), 7.0),
        (tried(503, retry_after="0"), 0.5),
        (tried(503, retry_after="120"), 120.0),
        (tried(503, retry_after="121"), None),
        (tried(503, x_should_retry="false"), None),
        (tried(503, x_should_retry="false", retry_after="1"), None),
        (tried(400, x_should_retry="true"), 0.5),
    ],
)
def test_what_the_sdk_tries_again_and_when(answer: Try, seconds: float | None) -> None:
    assert pause(answer, retries=0, chance=0.0) == seconds


def test_it_waits_longer_each_time_and_gives_up_after_two() -> None:
    assert [pause(tried(500), retries, chance=0.0) for retries in range(3)] == [0.5, 1.0, None]
    assert pause(tried(500), 1, chance=1.0) == pytest.approx(0.75)


def test_only_a_whole_answer_is_one() -> None:
    assert tried(200).ok
    assert not tried(200, whole=False).ok
    assert not tried(503).ok
