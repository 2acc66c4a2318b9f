"""A provider that says what it was told: ``Echo: <last user message>``. At once, without fail."""

from __future__ import annotations

from dataclasses import dataclass

from providers.base import Request, Stream
from providers.prompt import prompt_of
from providers.scripted import ScriptedStream
from providers.shapes import Answer, steps


@dataclass(frozen=True, slots=True)
class EchoOptions:
    """It has none."""


class Echo:
    """Its model is always "echo", the answer's id is the request's, and a word is a token."""

    def __init__(self, name: str, options: EchoOptions) -> None:
        self.name = name

    async def open(self, request: Request, model: str, connect_timeout: float) -> Stream:
        head, *rest = f"Echo: {prompt_of(request)}".split(" ")
        answer = Answer(request.id, "echo", [head, *(f" {word}" for word in rest)])
        timeline, media_type = steps(request, answer, 0.0, iter(()))
        return ScriptedStream(timeline, media_type)

    async def aclose(self) -> None:
        pass
