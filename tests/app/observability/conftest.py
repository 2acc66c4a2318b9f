from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.api.exchange import Exchange
from app.settings import load
from app.wiring import Gateway, build
from router import Decision
from router.types import Tried

CONFIG = """
providers:
  - {name: up, kind: vllm, base_url: "http://127.0.0.1:9/v1"}
  - {name: backup, kind: mock}
routes:
  - {model: m, targets: [{provider: up, model: llama, weight: 1}, {provider: backup, tier: 1}]}
  - {model: n, targets: [{provider: backup, model: m}]}
  - {model: "*", targets: [{provider: backup}]}
"""
MakeExchange = Callable[..., Exchange]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    (tmp_path / "breakwater.yaml").write_text(CONFIG)
    return build(load(None, {}, tmp_path).settings)


@pytest.fixture
def over(gateway: Gateway) -> MakeExchange:
    """Makes an exchange that is over: 1 s long, the first byte after 0.3 s, of which 0.29 s were the upstream's.

    ``tried`` are (target's id, label) in order; other arguments are attributes.
    """

    def make(*tried: tuple[str, str], path: str = "/v1/chat/completions", **facts: Any) -> Exchange:
        one = Exchange({"headers": [], "method": "POST", "path": path})
        one.status, one.model = 200, "m"
        one.first_byte, one.ended = one.started + 0.3, one.started + 1.0
        one.decision = Decision()
        one.decision.waited = 0.29
        for name, value in facts.items():
            setattr(one, name, value)
        route = gateway.routes.find(one.model) if one.model is not None else None
        targets = {} if route is None else {target.id: target for target in route.targets}
        one.decision.tried = [Tried(targets[target], target, label, 0.1) for target, label in tried]
        return one

    return make
