from __future__ import annotations

import pytest
from worlds import Upstream, call_for

from router.config import Timeouts
from router.errors import Refused
from router.policies.deadline import PROOF_SECONDS, Deadline
from router.types import Attempt, Route, Target

ENOUGH = 20  # samples before a quantile is told


def target_that_takes(*seconds: float, stream: bool = True, name: str = "a", tokens: int = 10) -> Target:
    target = Target(Upstream(name), "m", timeouts=Timeouts(first_token=30.0, attempt=300.0))
    for sample in seconds:
        target.live.latency.observe(stream, tokens, sample, 0.0)
    return target


def attempt_at(
    target: Target,
    deadline: float,
    *,
    starts: float = 0.0,
    retry: bool = False,
    hedge: bool = False,
    stream: bool = True,
    prompt: int = 10,
) -> Attempt:
    call = call_for(stream=stream)
    failed = Target(Upstream("failed"), "m") if retry or hedge else None
    number = 2 if failed else 1
    return Attempt(call, Route("m", (target,)), target, number, starts, deadline, 0, prompt, failed, hedge)


def refused(policy: Deadline, attempt: Attempt, now: float = 0.0) -> bool:
    try:
        policy.admit(attempt, now)
    except Refused as refusal:
        over = max(now, attempt.starts) >= attempt.deadline  # else another target may be faster
        return (refusal.reason, refusal.final) == ("deadline", over and not attempt.hedge)
    return False


@pytest.mark.parametrize(
    ("now", "starts", "admitted"),
    [(0.0, 0.0, True), (9.9, 0.0, True), (10.0, 0.0, False), (11.0, 0.0, False), (0.0, 9.9, True), (0.0, 10.0, False)],
)
def test_no_attempt_starts_at_or_after_the_deadline(now, starts, admitted):
    attempt = attempt_at(target_that_takes(), 10.0, starts=starts)
    assert refused(Deadline(), attempt, now) is not admitted


@pytest.mark.parametrize(
    ("now", "starts", "deadline", "is_refused"),
    [
        (0.0, 0.0, 2.0, False),
        (0.0, 0.0, 1.9, True),
        (5.0, 0.0, 7.0, False),
        (5.0, 0.0, 6.9, True),
        (5.0, 6.0, 8.0, False),
        (5.0, 6.0, 7.9, True),
    ],
)
@pytest.mark.parametrize("hedge", [False, True])
def test_a_retry_needs_the_time_that_its_target_usually_takes_after_its_pause(now, starts, deadline, is_refused, hedge):
    """Half of the answers took 2 s or less."""
    target = target_that_takes(*[1.0] * 9, *[2.0] * 2, *[9.0] * 9)
    assert refused(Deadline(), attempt_at(target, deadline, starts=starts, retry=True, hedge=hedge), now) is is_refused


def test_a_first_attempt_goes_if_only_the_fastest_answer_known_would_be_in_time():
    target = target_that_takes(0.5, *[9.0] * ENOUGH)
    assert not refused(Deadline(), attempt_at(target, 0.5))
    assert refused(Deadline(), attempt_at(target, 0.4))
    assert refused(Deadline(), attempt_at(target, 0.5, retry=True))


@pytest.mark.parametrize("retry", [False, True])
def test_a_target_of_which_nothing_is_known_is_tried(retry):
    assert not refused(Deadline(), attempt_at(target_that_takes(), 0.001, retry=retry))


def test_a_retry_at_a_target_of_which_too_little_is_known_is_tried():
    assert not refused(Deadline(), attempt_at(target_that_takes(*[9.0] * (ENOUGH - 1)), 0.001, retry=True))
    assert refused(Deadline(), attempt_at(target_that_takes(*[9.0] * ENOUGH), 0.001, retry=True))


def test_streams_and_plain_answers_are_judged_by_their_own_kind():
    target = target_that_takes(*[9.0] * ENOUGH, stream=False)
    assert not refused(Deadline(), attempt_at(target, 5.0, retry=True))
    assert refused(Deadline(), attempt_at(target, 5.0, retry=True, stream=False))


def test_a_prompt_is_judged_by_prompts_of_its_size():
    target = target_that_takes(*[0.1] * ENOUGH)
    for _ in range(ENOUGH):
        target.live.latency.observe(True, 5_000, 9.0, 0.0)
    assert not refused(Deadline(), attempt_at(target, 5.0, retry=True))
    assert refused(Deadline(), attempt_at(target, 5.0, retry=True, prompt=5_000))


@pytest.mark.parametrize(("stream", "limit"), [(True, 30.0), (False, 300.0)])
def test_as_much_time_as_the_attempt_may_take_at_all_is_always_enough(stream, limit):
    target = target_that_takes(*[limit + 1] * ENOUGH, stream=stream)
    assert not refused(Deadline(), attempt_at(target, limit, retry=True, stream=stream))
    assert refused(Deadline(), attempt_at(target, limit - 0.1, retry=True, stream=stream))


def test_first_attempts_are_not_refused_for_ever():
    """No answer, no sample: a target that was slow once would be out for every client with a short deadline."""
    policy = Deadline()
    target = target_that_takes(9.0)
    going = [now for now in range(35) if not refused(policy, attempt_at(target, now + 5.0), float(now))]
    assert going == [PROOF_SECONDS, 2 * PROOF_SECONDS, 3 * PROOF_SECONDS]
    target.live.latency.observe(True, 10, 1.0, 35.0)
    assert not refused(policy, attempt_at(target, 40.0), 35.0)


def test_retries_prove_nothing():
    policy = Deadline()
    target = target_that_takes(*[9.0] * ENOUGH)
    assert all(refused(policy, attempt_at(target, now + 5.0, retry=True), float(now)) for now in range(35))
