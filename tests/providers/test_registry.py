from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from providers import registry
from providers.echo import Echo, EchoOptions
from providers.registry import BUILT_IN, Kind, kinds

MINE = Kind(EchoOptions, Echo)


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages offer these entry points."""

    def install(**offers):
        points = [SimpleNamespace(name=name, value=f"pkg:{name}", load=lambda it=it: it) for name, it in offers.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "breakwater.providers" else [])

    return install


def test_the_built_in_kinds():
    assert set(BUILT_IN) == {"openai", "openai-compatible", "vllm", "llamacpp", "mock", "echo"}
    assert all(dataclasses.is_dataclass(kind.options) for kind in BUILT_IN.values())


def test_a_package_adds_a_kind(installed):
    installed(mine=MINE)
    assert kinds() == dict(BUILT_IN) | {"mine": MINE}


def test_a_package_cannot_replace_a_built_in_kind(installed):
    installed(openai=MINE)
    assert kinds() == BUILT_IN


def test_an_entry_point_that_is_no_kind_is_named(installed):
    installed(mine=Echo)
    with pytest.raises(
        TypeError, match=r"entry point 'mine' of breakwater\.providers is not a providers\.Kind: pkg:mine"
    ):
        kinds()


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_kind_builds_a_provider_that_has_its_name(kind):
    row = BUILT_IN[kind]
    needs = {"base_url": "http://localhost/v1"} if kind == "openai-compatible" else {}
    provider = row.build("here", row.options(**needs))
    assert provider.name == "here"


@pytest.mark.parametrize("kind", ["openai", "openai-compatible", "vllm", "llamacpp"])
def test_no_kind_s_options_show_a_secret_when_printed(kind):
    options = BUILT_IN[kind].options(base_url="http://h/v1", api_key="sk-secret", headers={"x-key": "sk-secret"})
    assert "sk-secret" not in repr(options)
