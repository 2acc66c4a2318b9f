from __future__ import annotations

import pytest
from worlds import Upstream, call_for

from router.config import Retry
from router.errors import Refused
from router.policies.attempt_cap import AttemptCap
from router.types import Attempt, Route, Target


@pytest.mark.parametrize("hedge", [False, True])
@pytest.mark.parametrize(("number", "cap", "admitted"), [(1, 1, True), (2, 1, False), (3, 3, True), (4, 3, False)])
def test_no_more_attempts_than_the_route_allows(number, cap, admitted, hedge):
    target = Target(Upstream("a"), "m")
    attempt = Attempt(call_for(), Route("m", (target,), retry=Retry(cap)), target, number, 0.0, 600.0, hedge=hedge)
    if admitted:
        assert AttemptCap().admit(attempt, 0.0) is None
        return
    with pytest.raises(Refused) as refusal:
        AttemptCap().admit(attempt, 0.0)
    assert (refusal.value.reason, refusal.value.final) == ("max_attempts", not hedge)
