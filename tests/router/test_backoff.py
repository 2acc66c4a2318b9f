from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from providers.errors import Disconnected, Overloaded, ProviderError, RateLimited, ServerFault, TimedOut
from providers.failures import from_status
from router.backoff import pause
from router.config import Backoff
from router.select.chance import unit

DRAWS = 100_000
BACKOFF = Backoff(base=0.05, throttle_base=1.0, cap=20.0)
ALMOST_ONE = 1.0 - 2.0**-53


def kolmogorov_smirnov(sample: list[float], top: float) -> float:
    """The largest distance between the sample's distribution and the uniform one on [0, top]."""
    count = len(sample)
    places = enumerate(sorted(sample))
    return max(max((place + 1) / count - value / top, value / top - place / count) for place, value in places)


@pytest.mark.parametrize(("failure", "tries"), [(ServerFault("x", status=500), 12), (RateLimited("x", status=429), 7)])
def test_m5_full_jitter_is_uniform_up_to_the_cap(failure, tries):
    """2^11 * 0.05 and 2^6 * 1.0 are over the cap of 20 s. 1.63 / sqrt(n) is the critical distance at 1 %."""
    pauses = [pause(failure, tries, BACKOFF, unit(7, f"r{n}", "pause 1")) for n in range(DRAWS)]
    assert sum(pauses) / DRAWS == pytest.approx(BACKOFF.cap / 2, rel=0.01)
    assert kolmogorov_smirnov(pauses, BACKOFF.cap) < 1.63 / DRAWS**0.5


def test_m5_the_distance_tells_equal_jitter_from_full_jitter():
    """The yardstick itself: half of the cap plus a random half (equal jitter) is far off."""
    equal = [10.0 + 10.0 * unit(7, f"r{n}", "pause 1") for n in range(10_000)]
    assert kolmogorov_smirnov(equal, 20.0) > 0.4


@pytest.mark.parametrize(
    ("failure", "tops"),
    [
        (ServerFault("x", status=500), [0.05, 0.1, 0.2, 0.4]),
        (Disconnected("x"), [0.05, 0.1, 0.2, 0.4]),
        (TimedOut("first_token", 30.0), [0.05, 0.1, 0.2, 0.4]),
        (Overloaded("x", status=503), [0.05, 0.1, 0.2, 0.4]),
        (Overloaded("x", status=529), [1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]),
        (RateLimited("x", status=429), [1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]),
        (RateLimited("x"), [1.0, 2.0]),
    ],
    ids=repr,
)
def test_the_base_is_larger_for_a_target_that_is_asked_too_much_and_doubles_up_to_the_cap(failure, tops):
    assert [pause(failure, tries, BACKOFF, ALMOST_ONE) for tries in range(1, len(tops) + 1)] == pytest.approx(tops)
    assert [pause(failure, tries, BACKOFF, 0.0) for tries in range(1, len(tops) + 1)] == [0.0] * len(tops)


@examples(200)
@given(
    st.sampled_from([ServerFault("x"), RateLimited("x"), Overloaded("x", status=529)]),
    st.integers(1, 30),
    st.floats(0, 10),
    st.floats(0, 10),
    st.floats(0, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_no_pause_is_negative_or_beyond_the_cap(failure, tries, base, throttle_base, cap, chance):
    assert 0.0 <= pause(failure, tries, Backoff(base, throttle_base, cap), chance) <= cap


# --- M6: Retry-After --------------------------------------------------------------------------------------------------

NOON = "Mon, 01 Jan 2024 12:00:00 GMT"


@pytest.mark.parametrize("chance", [0.0, 0.5, ALMOST_ONE])
@pytest.mark.parametrize("status", [429, 503, 529, 500])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "Mon, 01 Jan 2024 12:00:05 GMT", "date": NOON}, 5.0),
        ({"retry-after-ms": "500"}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "121"}, 121.0),  # whether it is still worth a try is the dispatcher's to say
    ],
    ids=str,
)
def test_m6_what_the_upstream_named_is_kept_exactly(headers, seconds, status, chance):
    failure = from_status(status, headers, b"", "up")
    assert [pause(failure, tries, BACKOFF, chance) for tries in (1, 2, 9)] == [seconds] * 3


@pytest.mark.parametrize("named", ["-1", "abc"])
def test_m6_what_is_no_time_is_answered_by_the_backoff(named):
    for status, base in ((429, 1.0), (503, 0.05)):
        failure = from_status(status, {"retry-after": named, "date": NOON}, b"", "up")
        assert isinstance(failure, ProviderError)
        assert pause(failure, 1, BACKOFF, 0.5) == base / 2
