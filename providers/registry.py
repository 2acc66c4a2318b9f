"""The kinds of provider that a configuration can name: one row each.

Others come from installed packages, by the entry point group ``breakwater.providers``: the entry's name is
the kind, its object a ``Kind``. See docs/adding-a-provider.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from providers.base import Provider
from providers.echo import Echo, EchoOptions
from providers.llamacpp import LlamaCpp, LlamaCppOptions
from providers.mock import Mock, MockOptions
from providers.openai_compatible import HttpOptions, OpenAICompatible
from providers.vllm import VLLMOptions

ENTRY_POINTS = "breakwater.providers"


@dataclass(frozen=True, slots=True)
class Kind:
    """``options`` is a dataclass whose fields are the settings of this kind; ``build`` takes a name and options. ``queues``:
    what is too much for it waits there, and is not refused.
    """

    options: type[Any]
    build: Callable[[str, Any], Provider]
    queues: bool = False


@dataclass(frozen=True, slots=True)
class OpenAIOptions(HttpOptions):
    base_url: str = "https://api.openai.com/v1"


BUILT_IN: Mapping[str, Kind] = {
    "openai": Kind(OpenAIOptions, OpenAICompatible),
    "openai-compatible": Kind(HttpOptions, OpenAICompatible),
    "vllm": Kind(VLLMOptions, OpenAICompatible, queues=True),
    "llamacpp": Kind(LlamaCppOptions, LlamaCpp, queues=True),
    "mock": Kind(MockOptions, Mock),
    "echo": Kind(EchoOptions, Echo),
}


def kinds() -> dict[str, Kind]:
    """The built-in rows and those of installed packages. A package cannot replace a built-in kind.

    Raises ``TypeError`` if an entry point's object is not a ``Kind``.
    """
    found: dict[str, Kind] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        kind = entry.load()
        if not isinstance(kind, Kind):
            raise TypeError(f"entry point {entry.name!r} of {ENTRY_POINTS} is not a providers.Kind: {entry.value}")
        found[entry.name] = kind
    return found | dict(BUILT_IN)
