"""A test on each of the two event loops that there are: asyncio's own, and uvloop, on which the gateway runs."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}

# Far beyond what any test takes: what hangs shall fail here, where it is seen what it waited for.
PATIENCE_SECONDS = 30.0


def on_each_loop(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Turn an async test into two plain ones. What goes wrong where nobody waits for it fails the test too."""

    @functools.wraps(scenario)
    def run(loop_name: str, **fixtures: Any) -> None:
        on_loop(loop_name, scenario(**fixtures))

    own = inspect.signature(scenario)
    loop_name = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = own.replace(parameters=[loop_name, *own.parameters.values()])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop_name", LOOPS)(run)


def on_loop(loop_name: str, scenario: Coroutine[Any, Any, None]) -> None:
    unseen: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: unseen.append(context))
        runner.run(_bounded(scenario))
    assert not unseen, unseen


async def _bounded(scenario: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await scenario
