from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limited import Fixed, Second, Server, throughput
from props import examples

from router.policies.gradient import Gradient


def gradient(limit=20.0, least=1.0, most=1000.0) -> Gradient:
    return Gradient(limit, least, most)


def warmed(prompt=100, seconds=0.2) -> Gradient:
    limit = gradient()
    for _ in range(10):
        limit.began(1.0, 20.0, prompt, seconds)
    return limit


def a_round(limit: Gradient, seconds: float, prompt: int = 100, load: float | None = None) -> None:
    before = limit.limit
    for _ in range(1000):
        limit.began(1.0, before if load is None else load, prompt, seconds)
        if limit.limit != before:
            return


def test_the_first_samples_only_tell_what_is_normal():
    assert warmed().limit == pytest.approx(20.0)


def test_it_doubles_each_round_until_a_queue_is_seen_and_grows_by_less_after_that():
    limit = warmed()
    a_round(limit, 0.2)
    assert limit.limit == pytest.approx(40.0)
    a_round(limit, 0.4)
    assert 36.0 < limit.limit < 40.0
    queued = limit.limit
    a_round(limit, 0.2)
    assert limit.limit == pytest.approx(queued + 0.2 * 4.0)


def test_a_queue_lowers_it_by_how_much_longer_first_tokens_take():
    limit = warmed()
    a_round(limit, 0.6)  # three times, tolerated is half as long again: by half, smoothed by a fifth
    assert limit.limit == pytest.approx(20.0 + 0.2 * (20.0 * 0.5 + 4.0 - 20.0), rel=0.01)


def test_half_as_long_again_is_tolerated():
    limit = warmed()
    a_round(limit, 0.29)
    assert limit.limit == pytest.approx(40.0)


def test_one_round_never_takes_more_than_a_tenth():
    limit = warmed()
    a_round(limit, 60.0)
    assert limit.limit == pytest.approx(20.0 * 0.9 + 0.8)


def test_nothing_is_learnt_while_less_than_half_of_it_is_used():
    limit = warmed()
    a_round(limit, 0.2, load=9.9)
    assert limit.limit == pytest.approx(20.0)
    a_round(limit, 5.0, load=9.9)
    assert limit.limit == pytest.approx(20.0)


def test_a_prompt_is_compared_with_prompts_of_its_size():
    limit = warmed(prompt=100, seconds=0.1)
    for _ in range(10):
        limit.began(1.0, 20.0, 20_000, 3.0)
    a_round(limit, 3.0, prompt=20_000)
    a_round(limit, 0.1, prompt=100)
    assert limit.limit == pytest.approx(80.0)


def test_a_plain_answer_says_nothing_by_its_time():
    limit = gradient()
    for seconds in (1.0, 50.0, 200.0):
        limit.began(1.0, 20.0, None, seconds)
    assert limit.limit == pytest.approx(23.0)  # slow start, whatever they took


def test_once_a_queue_was_seen_plain_answers_raise_it_by_one_a_round_at_most():
    limit = warmed()
    a_round(limit, 0.6)
    before = limit.limit
    limit.began(1.0, before, None, 0.2)
    assert limit.limit == pytest.approx(before + 1.0 / before)


def test_overload_lowers_it_once_a_round():
    limit = gradient()
    for _ in range(5):
        limit.overload(20.0, 0.0, 1.0)
    assert limit.limit == pytest.approx(18.0)


def test_after_overload_it_doubles_no_more():
    limit = warmed()
    limit.overload(20.0, 0.0, 1.0)
    a_round(limit, 0.2)
    assert limit.limit == pytest.approx(18.0 + 0.8)


def test_a_limit_that_overload_has_lowered_has_shorter_rounds():
    limit = gradient(limit=1000.0)
    for _ in range(10):
        limit.began(1.0, 1000.0, 100, 0.2)
    limit.overload(20.0, 0.0, 1.0)
    for _ in range(18):
        limit.began(1.0, 20.0, 100, 0.2)
    assert limit.limit == pytest.approx(18.8)


def unloaded(limit: Gradient, seconds: float, rounds: int) -> None:
    for _ in range(rounds * 20):
        limit.began(1.0, 1.0, 100, seconds)


def test_what_lasts_for_hundreds_of_rounds_becomes_normal():
    quick, slow = warmed(seconds=0.2), warmed(seconds=0.2)
    unloaded(quick, 0.4, rounds=30)
    unloaded(slow, 0.4, rounds=600)
    a_round(quick, 0.5)
    a_round(slow, 0.5)
    assert quick.limit < 20.0
    assert slow.limit == pytest.approx(40.0)


def test_after_long_overload_what_was_normal_is_so_again_within_tens_of_rounds():
    limit = warmed(seconds=1.0)
    unloaded(limit, 0.2, rounds=30)
    a_round(limit, 0.9)
    assert limit.limit < 20.0


@examples(100)
@given(
    st.floats(1, 1000),
    st.floats(1, 20),
    st.lists(
        st.tuples(st.booleans(), st.none() | st.integers(0, 50_000), st.floats(0, 600), st.floats(0.01, 2000)),
        max_size=300,
    ),
)
def test_it_stays_between_its_ends_whatever_the_times(start, least, steps):
    limit = Gradient(start, least, 500.0)
    for step, (begins, prompt, seconds, load) in enumerate(steps):
        if begins:
            limit.began(1.0, load, prompt, seconds)
        else:
            limit.overload(load, step, step + 0.5)
        assert least <= limit.limit <= 500.0


# --- against a server that queues -------------------------------------------------------------------------------------


def served(limit, capacity: int, demand: float, **server) -> list[Second]:
    possible = capacity / (0.2 + server.get("decode", 2.0))
    rate = lambda now: possible * (0.5 if now < 60 else demand)  # noqa: E731
    return Server(limit, capacity, queues=True, rate=rate, **server).run(900)[300:]


@pytest.mark.parametrize("capacity", [8, 64, 256])
@pytest.mark.parametrize("decode", [2.0, 10.0])
def test_it_settles_near_the_capacity_of_a_server_that_queues(capacity, decode):
    """At three times what can be served: all of it is used, and what waits is no more than it runs at once."""
    history = served(gradient(), capacity, 3.0, decode=decode)
    possible = throughput(served(Fixed(capacity), capacity, 3.0, decode=decode))
    limits = [second.limit for second in history]
    print(f"{throughput(history) / possible:.3f} of what is possible, limits {min(limits):.0f} to {max(limits):.0f}")
    assert throughput(history) / possible > 0.97
    assert capacity * 0.9 <= min(limits)
    assert max(limits) <= capacity * 1.5 + 4.0


@pytest.mark.parametrize("capacity", [8, 64])
@pytest.mark.parametrize("demand", [0.7, 0.95])
def test_it_is_not_in_the_way_of_what_a_server_can_take(capacity, demand):
    unlimited = throughput(served(Fixed(1e9), capacity, demand))
    assert throughput(served(gradient(), capacity, demand)) / unlimited > 0.93


def test_it_follows_a_server_that_becomes_slow_and_recovers():
    limit = gradient()
    history = Server(
        limit, 64, queues=True, rate=lambda _: 60.0, prefill=lambda now: 1.0 if 300 <= now < 400 else 0.2
    ).run(800)
    before, slow, after = (history[at].limit for at in (299, 399, 799))
    print(f"{before:.0f} before, {slow:.0f} while it is slow, {after:.0f} after")
    assert slow < before * 0.6
    assert after > before * 0.8


def test_under_lasting_overload_it_drifts_slowly():
    """What lasts becomes normal: known of Gradient2, and why ``max`` exists. By less than a half in half an hour."""
    history = Server(gradient(), 64, queues=True, rate=lambda _: 90.0).run(2100)
    assert history[2099].limit < history[299].limit * 1.5
