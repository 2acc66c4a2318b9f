"""Who calls: each call as its client sees it, whatever the gateway does for it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson

from providers import Endpoint, ProviderError, Request
from router.dispatch import Dispatcher
from router.errors import RouterError
from router.types import Call


class Called(NamedTuple):
    """One call: when it came, when it had its first content (None: never), and when it was over. ``attempts`` were sent
    upstream for it.
    """

    arrived: float
    began: float | None
    ended: float
    ok: bool
    attempts: int


async def come(
    dispatcher: Dispatcher, model: str, arrivals: Iterable[float], *, stream: bool = False
) -> Sequence[Called]:
    """A call at each time of ``arrivals``, on the loop's clock; all of them when the last is over, as they ended."""
    loop = asyncio.get_running_loop()
    called: list[Called] = []
    fields = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    body = orjson.dumps(fields)
    async with asyncio.TaskGroup() as clients:
        for number, arrival in enumerate(arrivals):
            await asyncio.sleep(arrival - loop.time())
            request = Request(f"call-{number}", Endpoint.CHAT, body, fields, stream, {})
            clients.create_task(_call(dispatcher, Call(request, model), called))
    return called


async def _call(dispatcher: Dispatcher, call: Call, called: list[Called]) -> None:
    loop = asyncio.get_running_loop()
    arrived = loop.time()
    began: float | None = None
    try:
        async with await dispatcher.open(call) as reply:
            began, attempts = loop.time(), len(reply.attempts)
            async for _ in reply:
                pass
        ok = True
    except RouterError as error:
        ok, attempts = False, len(error.attempts)
    except ProviderError:  # broken off
        ok = False
    called.append(Called(arrived, began, loop.time(), ok, attempts))


def goodput(called: Sequence[Called], begins: float, ends: float) -> float:
    """The share served of those that came between the two, on the loop's clock."""
    came = [call for call in called if begins <= call.arrived < ends]
    return sum(call.ok for call in came) / len(came)


def amplification(called: Sequence[Called], begins: float, ends: float) -> float:
    """Attempts a call, of those that came between the two."""
    came = [call for call in called if begins <= call.arrived < ends]
    return sum(call.attempts for call in came) / len(came)
