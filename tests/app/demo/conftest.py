from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.api.exchange import Exchange
from app.demo.traffic import Traffic
from app.demo.world import HOST, World
from app.server.listening import bind
from router import Decision
from router.types import Tried


@dataclass
class Stage:
    """A world that is not running, and what happens in it. ``now`` is in seconds after its start."""

    world: World
    traffic: Traffic

    def happens(self, at: float, *tried: tuple[str, str], stream: bool = True, took: float = 0.5, **facts: Any) -> None:
        """A request ends. ``tried`` are (provider, label), in order; each took 0.1 s."""
        one = Exchange({"headers": [], "method": "POST", "path": "/v1/chat/completions"})
        one.ended = self.traffic.started + at
        one.started, one.first_byte = one.ended - took, one.ended - took + 0.2
        one.status, one.model, one.stream = 200, "demo", stream
        targets = {target.provider.name: target for target in self.world.gateway.routes.named["demo"].targets}
        one.decision = Decision()
        one.decision.tried = [Tried(targets[name], f"{name}/demo", label, 0.1) for name, label in tried]
        for name, value in facts.items():
            setattr(one, name, value)
        self.traffic([one])
        self.world.metrics([one])

    def at(self, seconds: float) -> float:
        """On the stopwatch."""
        return self.traffic.started + seconds


@pytest.fixture
def stage() -> Iterator[Stage]:
    sockets = [bind(HOST, 0), bind(HOST, 0)]
    traffic = Traffic()
    world = World(sockets[0], sockets[1], traffic)
    yield Stage(world, traffic)
    for one in (*sockets, world._upstream):
        one.close()
