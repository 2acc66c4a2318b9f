from __future__ import annotations

from math import e, exp

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from router.measures.ewma import PeakEwma


def observed(*samples: tuple[float, float], tau: float = 10.0) -> PeakEwma:
    ewma = PeakEwma(tau)
    for seconds, now in samples:
        ewma.observe(seconds, now)
    return ewma


def test_nothing_observed_is_nothing():
    assert PeakEwma().estimate(5.0) == pytest.approx(0.0)


def test_a_peak_is_believed_at_once():
    assert observed((0.1, 0.0), (3.0, 0.001)).estimate(0.001) == pytest.approx(3.0)


def test_below_the_average_it_decays_with_the_time_since_the_last_sample():
    assert observed((1.0, 0.0), (0.2, 10.0)).estimate(10.0) == pytest.approx(1.0 / e + 0.2 * (1 - 1 / e))


def test_silence_reads_as_less_and_less():
    ewma = observed((2.0, 100.0))
    assert ewma.estimate(110.0) == pytest.approx(2.0 / e)
    assert ewma.estimate(1000.0) < 1e-30


def test_reading_changes_nothing():
    read, unread = observed((2.0, 0.0)), observed((2.0, 0.0))
    for tenth in range(100):
        read.estimate(tenth / 10)
    read.observe(1.0, 10.0)
    unread.observe(1.0, 10.0)
    assert read.estimate(10.0) == unread.estimate(10.0)


def test_a_clock_that_stands_or_goes_back_does_no_harm():
    ewma = observed((2.0, 10.0))
    assert ewma.estimate(9.0) == pytest.approx(2.0)
    ewma.observe(1.0, 9.0)
    assert ewma.estimate(9.0) == pytest.approx(2.0)


@examples(200)
@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 60)), min_size=1, max_size=50), st.floats(0.1, 60))
def test_it_stays_between_the_last_sample_and_the_largest(steps, tau):
    ewma, now, largest = PeakEwma(tau), 0.0, 0.0
    for seconds, pause in steps:
        now += pause
        largest = max(largest, seconds)
        ewma.observe(seconds, now)
        assert seconds - 1e-9 <= ewma.estimate(now) <= largest + 1e-9
        assert ewma.estimate(now + pause) == pytest.approx(ewma.estimate(now) * exp(-pause / tau))
