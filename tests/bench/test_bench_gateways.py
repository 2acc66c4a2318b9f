from __future__ import annotations

import asyncio
import io

from rich.console import Console
from rich.progress import Progress

from bench import gateways
from router.sim import VirtualLoop


def fleet(variant: gateways.Variant, trigger: str = "errors") -> gateways.Fleet:
    with Progress(console=Console(file=io.StringIO())) as progress, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(gateways.run(variant, trigger, 6, 20.0, 2.0, 1, progress))


def test_what_gateways_know_together_costs_fewer_attempts_than_what_each_finds_out() -> None:
    naive, alone, shared, _ = (fleet(variant) for variant in gateways.VARIANTS)
    assert naive.requests == alone.requests == shared.requests > 1500
    wasted = [sum(each.wasted.values()) for each in (naive, alone, shared)]
    assert wasted[0] > wasted[1] > wasted[2] > 0, wasted
    assert not naive.opened
    assert len(alone.opened) >= 1
    assert shared.half_opened_breakers <= alone.half_opened_breakers
    assert naive.failed + alone.failed + shared.failed < 30


def test_each_gateway_asks_again_at_a_time_of_its_own() -> None:
    """Under one configuration, with one seed: else all that opened together would come back together."""
    alone = gateways.VARIANTS[1]
    made = fleet(alone)
    assert len(set(made.half_open_at)) == len(made.half_open_at) > 1


def test_the_table_has_a_line_for_each() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(gateways.told([fleet(gateways.VARIANTS[1], "silence")]))
    assert "silence" in console.file.getvalue()  # type: ignore[attr-defined]
