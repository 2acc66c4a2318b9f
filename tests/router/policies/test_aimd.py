from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limited import Fixed, Second, Server, throughput
from props import examples

from router.policies.aimd import Aimd


def aimd(limit=10.0, least=1.0, most=100.0, *, slow_start=False) -> Aimd:
    return Aimd(limit, least, most, slow_start=slow_start)


def succeed(limit: Aimd, times: int, weight: float = 1.0) -> None:
    for _ in range(times):
        limit.began(weight, limit.limit, None, 0.1)


def test_a_limitful_of_successes_adds_about_one():
    limit = aimd()
    succeed(limit, 10)
    assert 10.9 < limit.limit <= 11.0


def test_what_weighs_more_adds_more():
    limit, heavy = aimd(), aimd()
    succeed(limit, 4)
    succeed(heavy, 1, weight=4.0)
    assert heavy.limit == pytest.approx(limit.limit, abs=0.1)


def test_before_the_first_overload_a_limitful_doubles_it():
    limit = aimd(slow_start=True)
    succeed(limit, 10)
    assert limit.limit == pytest.approx(20.0)
    limit.overload(20.0, 1.0, 1.5)
    succeed(limit, 18)
    assert 18.9 < limit.limit <= 19.0


def test_nothing_is_learnt_while_less_than_half_of_it_is_used():
    limit = aimd()
    limit.began(1.0, 4.9, None, 0.1)
    assert limit.limit == pytest.approx(10.0)
    limit.began(1.0, 5.0, None, 0.1)
    assert limit.limit == pytest.approx(10.1)


def test_an_answer_that_took_over_half_of_its_time_adds_a_tenth():
    """With twice as much to do it would have failed: a target that queues shows so what it can do."""
    late, in_time = aimd(), aimd()
    for limit, seconds in ((late, 1.1), (in_time, 1.0)):
        for _ in range(10):
            limit.began(1.0, 20.0, None, seconds, 2.0)
    assert late.limit == pytest.approx(10.1, abs=0.01)
    assert in_time.limit == pytest.approx(11.0, abs=0.1)


def test_nor_does_it_bear_witness_to_what_its_target_bears():
    late, in_time = aimd(slow_start=True), aimd(slow_start=True)
    for limit, seconds in ((late, 1.1), (in_time, 1.0)):
        limit.began(1.0, 20.0, None, seconds, 2.0)
        limit.restart(5.0)
        for _ in range(100):
            limit.began(1.0, limit.limit, None, seconds, 2.0)
    assert 20.0 < in_time.limit < 26.0, "it doubles up to what it has borne, and then adds one for each limit-ful"
    assert late.limit == pytest.approx(100.0), (
        "nothing is known, and answers that are merely long need not wait for ever"
    )


def test_a_row_of_refusals_without_an_answer_teaches_no_more_than_one():
    """An upstream that answers 503 to everything for a while is an outage: to add one by one afterwards takes as long again."""
    limit = aimd(100.0)
    for at in range(1, 100):
        limit.refused(40.0, float(at), at + 0.5)
    assert limit.limit == pytest.approx(1.0)
    limit.began(1.0, 1.0, None, 0.1, started=50.0)  # was under way before the last of them
    assert limit.limit == pytest.approx(2.0)
    limit.began(1.0, 2.0, None, 0.1, started=200.0)
    assert limit.limit == pytest.approx(3.0)
    for _ in range(60):
        limit.began(1.0, limit.limit, None, 0.1, started=201.0)
    assert 36.0 <= limit.limit < 38.0, "doubled up to nine tenths of what was in flight at first, and then one by one"


def test_refusals_between_answers_are_overloads_like_others():
    refused, overloaded = aimd(100.0), aimd(100.0)
    for at in range(1, 20):
        refused.refused(100.0, float(at), at + 0.5)
        overloaded.overload(100.0, float(at), at + 0.5)
        for limit in (refused, overloaded):
            limit.began(1.0, limit.limit, None, 0.1, started=at + 0.6)
    assert refused.limit == pytest.approx(overloaded.limit)


def test_what_it_had_borne_before_an_outage_it_is_known_to_bear_after_it():
    """Its breaker opens meanwhile, and begins anew when it closes."""
    limit = aimd(100.0, slow_start=True)
    limit.began(1.0, 60.0, None, 0.1, started=0.0)
    for at in range(1, 100):
        limit.refused(80.0, float(at), at + 0.5)
    limit.began(1.0, 1.0, None, 0.1, started=200.0)
    limit.restart(5.0)
    for _ in range(100):
        limit.began(1.0, limit.limit, None, 0.1, started=201.0)
    assert 60.0 <= limit.limit < 62.0


def test_a_silence_after_a_refusal_is_not_taken_back():
    limit = aimd(100.0)
    limit.refused(100.0, 1.0, 1.5)
    for at in range(2, 8):
        limit.overload(100.0, float(at), at + 0.5, 0.5)
    lowered = limit.limit
    limit.began(1.0, lowered, None, 0.1, started=100.0)
    assert limit.limit < lowered + 1.0
    assert not limit.slow_start


def test_silence_is_no_refusal():
    """Who comes back from a queue of dead work is given more with care."""
    limit = aimd(100.0)
    for at in range(1, 100):
        limit.overload(40.0, float(at), at + 0.5)
    for _ in range(10):
        limit.began(1.0, limit.limit, None, 0.1, started=200.0)
    assert limit.limit < 6.0


def test_it_can_be_lowered_by_more():
    limit = aimd()
    limit.overload(10.0, 0.0, 1.0, 0.5)
    assert limit.limit == pytest.approx(5.0)


@pytest.mark.parametrize(("load", "lowered"), [(10.0, 9.0), (8.0, 7.2), (50.0, 9.0), (1.0, 1.0)])
def test_overload_lowers_it_to_nine_tenths_of_what_was_in_flight(load, lowered):
    limit = aimd()
    limit.overload(load, 0.0, 1.0)
    assert limit.limit == pytest.approx(lowered)


def test_it_is_lowered_once_for_all_that_started_before():
    limit = aimd()
    for started in (0.0, 0.5, 1.0):
        limit.overload(10.0, started, 1.0)
    assert limit.limit == pytest.approx(9.0)
    limit.overload(9.0, 1.1, 2.0)
    assert limit.limit == pytest.approx(8.1)


def test_a_hundred_refused_at_the_same_moment_are_one_overload():
    limit = aimd(100.0)
    for _ in range(100):
        limit.overload(100.0, 0.0, 0.0)
    assert limit.limit == pytest.approx(90.0)


def test_without_a_start_the_first_overload_shows_the_limit():
    limit = aimd(1000.0, most=1000.0)
    succeed(limit, 100)
    assert limit.limit == pytest.approx(1000.0)
    limit.overload(51.0, 5.0, 5.1)
    assert limit.limit == pytest.approx(45.9)


@examples(200)
@given(
    st.floats(1, 1000),
    st.floats(1, 20),
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.floats(0.01, 50), st.floats(0.01, 2000)), max_size=100),
)
def test_it_stays_between_its_ends_and_goes_the_right_way(start, least, slow_start, steps):
    limit = Aimd(start, least, 500.0, slow_start=slow_start)
    for step, (begins, weight, load) in enumerate(steps):
        before = limit.limit
        if begins:
            limit.began(weight, load, None, 0.1)
            assert before <= limit.limit <= 500.0
        else:
            limit.overload(load, step, step + 0.5)
            assert least <= limit.limit <= max(least, before * 0.9)


@pytest.mark.parametrize("capacity", [4, 20, 100])
@pytest.mark.parametrize("start", [None, 20.0])
@pytest.mark.parametrize("demand", [1.5, 3.0])
def test_it_finds_what_a_server_can_take_and_keeps_it_busy(capacity, start, demand):
    """A server that refuses what is too much serves 90 to 100 % of what it would by the right limit."""

    def served_by(limit) -> list[Second]:
        return Server(limit, capacity, queues=False, rate=lambda _: demand * capacity / 2.2).run(600)[100:]

    history = served_by(Aimd(1000.0 if start is None else start, 1.0, 1000.0, slow_start=start is not None))
    possible = throughput(served_by(Fixed(capacity)))
    refused = (history[-1].refused - history[0].refused) / (history[-1].served - history[0].served)
    print(f"{throughput(history) / possible:.3f} of what is possible, {refused:.3f} refused for each served")
    assert capacity * 0.85 <= min(second.limit for second in history)
    assert max(second.limit for second in history) < capacity + 3.0
    assert 0.9 <= throughput(history) / possible <= 1.02
    assert refused < 1.2 / capacity


def test_it_follows_a_server_that_loses_half_and_gets_it_back():
    limit = Aimd(20.0, 1.0, 1000.0, slow_start=True)
    server = Server(limit, 40, queues=False, rate=lambda _: 60.0)
    real_note = server._note

    def note(now: float) -> None:
        server.capacity = 20 if 200 <= now < 400 else 40
        real_note(now)

    server._note = note
    history = server.run(700)
    assert 36 <= history[199].limit < 42
    assert 17 <= history[399].limit < 22
    assert 36 <= history[699].limit < 42
