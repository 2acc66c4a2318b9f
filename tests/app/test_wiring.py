"""Which targets are one and the same, and what each is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import load
from app.wiring import Gateway, build
from router.policies.breaker import Breaker

CONFIG = """
providers:
  - {name: one, kind: echo}
  - {name: other, kind: echo}
routes:
  - {model: a, targets: [{provider: one}, {provider: one, model: b}], mirror: {provider: other, share: 0.5}}
  - {model: b, targets: [{provider: one}], mirror: {provider: other, model: c, share: 0.5}}
  - {model: "*", targets: [{provider: one}, {provider: one, model: a}], mirror: {provider: other, share: 0.5}}
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    (tmp_path / "breakwater.yaml").write_text(CONFIG)
    return build(load(None, {}, tmp_path).settings)


def test_a_target_without_a_model_is_asked_for_its_routes(gateway: Gateway) -> None:
    routes = [*gateway.routes.named.values(), gateway.routes.anything]
    asked = {route.model: [target.model for target in route.targets] for route in routes if route is not None}
    assert asked == {"a": ["a", "b"], "b": ["b"], "*": [None, "a"]}
    mirrors = {route.model: route.mirror.target.id for route in routes if route is not None and route.mirror}
    assert mirrors == {"a": "other/a", "b": "other/c", "*": "other/*"}


def test_one_provider_and_model_is_one_target_whoever_named_the_model(gateway: Gateway) -> None:
    assert list(gateway.lives) == ["one/a", "one/b", "one/*"]
    named, anything = gateway.routes.named, gateway.routes.anything
    assert anything is not None
    assert named["a"].targets[1].live is named["b"].targets[0].live
    assert named["a"].targets[0].live is anything.targets[1].live
    assert len({id(live.guard(Breaker)) for live in gateway.lives.values()}) == 3


def test_the_settings_call_each_target_as_it_is_called_when_it_runs(gateway: Gateway) -> None:
    running = {**gateway.routes.named, "*": gateway.routes.anything}
    for entry in gateway.settings.routes:
        route = running[entry.model]
        assert route is not None
        assert [entry.id_of(target) for target in entry.targets] == [target.id for target in route.targets]
