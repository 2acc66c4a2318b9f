from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench import agreement
from bench.agreement import Agreement, Came, Figures
from router.sim import VirtualLoop


def test_quantiles_are_of_what_came_and_availability_of_all() -> None:
    told = agreement.figures([Came(True, 0.1), Came(True, 0.2), Came(False, None), Came(False, 0.4)])
    assert told == Figures(4, 0.5, {0.5: 0.2, 0.9: 0.4, 0.95: 0.4})
    other = Figures(4, 0.51, {0.5: 0.21, 0.9: 0.36, 0.95: 0.4})
    apart = Agreement(live=told, virtual=other)
    assert apart.availability_apart == pytest.approx(1.0)
    assert apart.first_apart == pytest.approx(0.1)


def test_the_simulated_half_is_the_same_twice() -> None:
    def once() -> list[Came]:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(agreement._virtual([number / 10 for number in range(100)], 10.0))

    assert once() == once()


def test_the_simulator_agrees_with_real_sockets(tmp_path: Path) -> None:
    told = agreement.compare(12.0, tmp_path)
    assert told.live.calls == told.virtual.calls > 300
    assert told.live.availability < 0.985, "the faults must show"
    assert told.availability_apart <= 1.0, told
    assert told.first_apart <= 0.10, told
