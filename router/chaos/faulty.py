"""A provider behind which faults may act. While none does it is not there: a call goes through without a step of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from random import Random
from typing import Any, Self

from providers import Chunk, Endpoint, Provider, Request, Stream
from providers.base import Probed
from providers.faults import Hit, Refuses
from router.chaos.chaos import Acting, Chaos, Chosen

ANY = "*"


def faulty(provider: Provider, chaos: Chaos, known: Collection[str]) -> Provider:
    """``provider``, with what it can do, where ``chaos`` can get at it. ``known`` are all targets, provider/model."""
    return (_ProbedFaulty if isinstance(provider, Probed) else Faulty)(provider, chaos, known)


class Faulty:
    """Innermost: every policy sees what it does, as it would see the real thing."""

    def __init__(self, provider: Provider, chaos: Chaos, known: Collection[str]) -> None:
        self.name = provider.name
        self._provider = provider
        self._chaos = chaos
        self._known = known
        self._targets = f"{provider.name}/"
        self._acting: Sequence[Acting] = ()
        chaos.listen(self._changed)

    def open(self, request: Request, model: str, connect_timeout: float) -> Coroutine[Any, Any, Stream]:
        if not self._acting:
            return self._provider.open(request, model, connect_timeout)
        return self._open(request, model, connect_timeout)

    async def aclose(self) -> None:
        await self._provider.aclose()

    def _changed(self, acting: Sequence[Acting]) -> None:
        self._acting = [each for each in acting if any(name.startswith(self._targets) for name in each.rule.targets)]

    async def _open(self, request: Request, model: str, connect_timeout: float) -> Stream:
        chosen = self._chosen(request, model)
        if chosen is None:
            return await self._provider.open(request, model, connect_timeout)
        hit = self._hit(chosen, request, model, connect_timeout)
        fault = chosen.acting.rule.fault
        try:
            if isinstance(fault, Refuses):
                await fault.refuse(hit)
                stream = await hit.upstream()
            else:
                stream = await fault.open(hit)
        except BaseException:
            chosen.acting.active -= 1
            raise
        return _Under(stream, chosen.acting)

    def _chosen(self, request: Request, model: str) -> Chosen | None:
        """A model without a target of its own is at the one that takes any, which is called so."""
        target = f"{self.name}/{model}"
        if target not in self._known:
            target = f"{self.name}/{ANY}"
        return self._chaos.chosen([each for each in self._acting if target in each.rule.targets], request, target)

    def _hit(self, chosen: Chosen, request: Request, model: str, connect_timeout: float) -> Hit:
        acting, rule = chosen.acting, chosen.acting.rule
        since = asyncio.get_running_loop().time() - acting.began
        rng = Random(f"{rule.seed}/{rule.id}/{request.id}/{self.name}/{model}/{chosen.tries}")
        return Hit(self._provider, request, model, connect_timeout, f"{self.name}/{model}", since, rng, acting.hold)


class _ProbedFaulty(Faulty):
    """A probe meets what stands in the provider's way for everybody: a share of the calls, or one target, says nothing about it."""

    async def probe(self, connect_timeout: float) -> None:
        provider = self._provider
        assert isinstance(provider, Probed)  # noqa: S101 - whoever made it has looked
        everybody = {target for target in self._known if target.startswith(self._targets)}
        for each in self._acting:
            fault = each.rule.fault
            if isinstance(fault, Refuses) and each.rule.hits_all(everybody):
                await fault.refuse(self._hit(Chosen(each, 0), _PROBE, ANY, connect_timeout))
        await provider.probe(connect_timeout)


_PROBE = Request("probe", Endpoint.CHAT, b"", {}, False, {})


class _Under:
    """A stream under a fault, which counts as active for as long as the stream is open."""

    def __init__(self, stream: Stream, acting: Acting) -> None:
        self.headers = stream.headers
        self.media_type = stream.media_type
        self._stream = stream
        self._acting: Acting | None = acting

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        return await self._stream.__anext__()

    async def aclose(self) -> None:
        acting, self._acting = self._acting, None
        if acting is not None:
            acting.active -= 1
        await self._stream.aclose()
