"""A configuration that an operator sends: read as ``serve`` would read it, and no secret comes back in what is said of it."""

from __future__ import annotations

import asyncio
from collections import UserDict
from collections.abc import Mapping
from typing import Any

from app.settings import Examined
from app.settings.load import examine_text

# Reading a file of this size takes a second, in another thread.
MAX_BYTES = 128 * 1024
LABEL = "config"
# What is shorter is no secret; numbers and names of log levels are.
LEAST_SECRET = 8


class Environment(UserDict[str, str]):
    """Remembers what a configuration took from it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.taken: dict[str, str] = {}

    def get(self, name: str, default: Any = None) -> Any:
        value = super().get(name, default)
        if name in self.data:
            self.taken[name] = value
        return value

    def masked(self, value: Any) -> Any:
        """The same without what was taken: ``${NAME}`` stands for it. Else whoever may ask could have any variable told,
        as the name of a provider.
        """
        if isinstance(value, Mapping):
            return {self.masked(key): self.masked(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.masked(inner) for inner in value]
        if isinstance(value, str):
            for name, text in sorted(self.taken.items(), key=lambda item: -len(item[1])):
                if len(text) >= LEAST_SECRET:
                    value = value.replace(text, f"${{{name}}}").replace(text.strip(), f"${{{name}}}")
        return value


class Examiner:
    """Reads configurations in another thread, one after the other: traffic goes on meanwhile."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)

    async def __call__(self, text: str, environ: Environment) -> Examined:
        async with self._turn:
            return await asyncio.to_thread(examine_text, text, LABEL, environ)
