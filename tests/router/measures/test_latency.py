from __future__ import annotations

import pytest

from router.measures.latency import Latency


def filled(*kinds: tuple[bool, int, float], count: int = 20) -> Latency:
    latency = Latency()
    for stream, tokens, seconds in kinds:
        for _ in range(count):
            latency.observe(stream, tokens, seconds, 0.0)
    return latency


def test_nothing_is_known_of_a_new_target():
    latency = Latency()
    assert latency.quantile(0.5, stream=True, tokens=10) is None
    assert latency.quantile(0.0, stream=False, tokens=10) is None
    assert latency.estimate(stream=True, now=0.0) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("tokens", "seconds"), [(0, 0.1), (511, 0.1), (512, 0.2), (2047, 0.2), (2048, 0.4), (8191, 0.4), (8192, 2.0)]
)
def test_a_prompt_is_compared_with_prompts_of_its_size(tokens, seconds):
    latency = filled((True, 100, 0.1), (True, 1000, 0.2), (True, 5000, 0.4), (True, 50000, 2.0))
    assert latency.quantile(0.95, stream=True, tokens=tokens) == seconds


def test_with_too_few_of_its_size_it_is_compared_with_all():
    latency = filled((True, 100, 0.1), (True, 1000, 0.2), count=10)
    assert latency.quantile(0.95, stream=True, tokens=100) == pytest.approx(0.2)
    assert latency.quantile(0.95, stream=True, tokens=50000) == pytest.approx(0.2)
    assert filled((True, 100, 0.1), count=19).quantile(0.95, stream=True, tokens=100) is None


def test_the_fastest_ever_is_known_from_the_first_on():
    latency = filled((True, 100, 0.3), count=1)
    assert latency.quantile(0.0, stream=True, tokens=100) == pytest.approx(0.3)


def test_streams_and_plain_answers_are_kept_apart():
    latency = filled((True, 100, 0.1), (False, 100, 9.0))
    assert latency.quantile(0.5, stream=True, tokens=100) == pytest.approx(0.1)
    assert latency.quantile(0.5, stream=False, tokens=100) == pytest.approx(9.0)
    assert latency.estimate(stream=True, now=0.0) == pytest.approx(0.1)
    assert latency.estimate(stream=False, now=0.0) == pytest.approx(9.0)
    assert filled((True, 100, 0.1)).quantile(0.5, stream=False, tokens=100) is None


def test_a_penalty_makes_it_look_slow_for_a_while_and_leaves_the_quantiles_alone():
    latency = filled((True, 100, 0.1))
    latency.penalise(5.0, 0.0)
    assert latency.estimate(stream=True, now=0.0) == pytest.approx(5.0)
    assert latency.estimate(stream=False, now=0.0) == pytest.approx(5.0)
    assert latency.estimate(stream=True, now=60.0) < 0.1
    assert latency.quantile(1.0, stream=True, tokens=100) == pytest.approx(0.1)
    assert latency.quantile(0.0, stream=False, tokens=100) is None
