"""What was turned away is counted, wherever in the gateway that was."""

from __future__ import annotations

import pytest
from worlds import Books, call_for

from app.observability.containment import Containment
from app.wiring import Gateway
from router.errors import Refused, Shed


async def test_a_call_that_finds_every_target_full_is_counted_once(gateway: Gateway) -> None:
    containment = Containment(gateway)
    for target in gateway.routes.find("n").targets:
        target.live.guarded_by(Books(lambda _: Refused("at_its_limit")), counters=[])
    with pytest.raises(Shed):
        await gateway.dispatcher.open(call_for(model="n"))
    assert {labels: cell.value for labels, cell in containment.shed.cells.items()} == {("targets_full", "default"): 1}
    await gateway.aclose()
