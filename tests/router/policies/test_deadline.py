from __future__ import annotations

import pytest
from worlds import Upstream, World, call_for

from router.errors import Refused
from router.policies.deadline import Deadline
from router.types import Attempt, Route


@pytest.mark.parametrize(
    ("now", "starts", "admitted"),
    [(0.0, 0.0, True), (9.9, 0.0, True), (10.0, 0.0, False), (11.0, 0.0, False), (0.0, 9.9, True), (0.0, 10.0, False)],
)
def test_no_attempt_starts_at_or_after_the_deadline(now, starts, admitted):
    (target,) = World([Upstream("a")]).targets
    attempt = Attempt(call_for(), Route("m", (target,)), target, 1, starts, 10.0)
    if admitted:
        Deadline().admit(attempt, now)
        return
    with pytest.raises(Refused) as refusal:
        Deadline().admit(attempt, now)
    assert refusal.value.reason == "deadline"
