"""The whole gateway below HTTP, wired as ``app.wiring`` wires it, over upstreams of a test's own: for the virtual clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.settings import Settings
from app.wiring import Gateway, build
from providers import Provider
from providers.mock import MockOptions
from providers.registry import Kind


def wired(config: Mapping[str, Any], upstreams: Mapping[str, Provider]) -> Gateway:
    """``config`` is what would be in breakwater.yaml, without ``providers``: those are ``upstreams``, by name."""
    providers = [{"name": name, "kind": "mock"} for name in upstreams]
    settings = Settings.model_validate({"providers": providers, **config})
    with pytest.MonkeyPatch.context() as patch:
        kinds = {"mock": Kind(MockOptions, lambda name, _options: upstreams[name])}
        patch.setattr("app.wiring.kinds", lambda: kinds)
        gateway = build(settings)
    gateway.dispatcher._stopwatch = None  # the loop's clock: perf_counter knows nothing of virtual seconds
    return gateway
