"""Facts leave sideways: soon, together, and never on the request's own path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

from app.api.exchange import Exchange
from app.observability.batch import MAX_PENDING, Batch
from tests.e2e.harness import eventually


async def test_all_listeners_get_the_same_soon_and_together(over: Callable[..., Exchange]) -> None:
    first: list[Sequence[Exchange]] = []
    second: list[Sequence[Exchange]] = []
    batch = Batch(first.append, second.append)
    exchanges = [over() for _ in range(3)]
    for exchange in exchanges:
        batch(exchange)
    assert not first
    await eventually(lambda: second)
    assert first == second == [exchanges]


async def test_the_end_is_stamped_when_it_is_over_and_not_when_it_is_handed_on(over: Callable[..., Exchange]) -> None:
    batch = Batch()
    exchange = over()
    before = perf_counter()
    batch(exchange)
    after = perf_counter()
    batch.flush()
    assert before <= exchange.ended <= after


async def test_many_do_not_wait_but_the_request_goes_on_first(over: Callable[..., Exchange]) -> None:
    sizes: list[int] = []
    batch = Batch(lambda exchanges: sizes.append(len(exchanges)))
    for _ in range(MAX_PENDING + 5):
        batch(over())
    assert sizes == []
    await asyncio.sleep(0)
    assert sizes == [MAX_PENDING + 5]


async def test_flush_hands_on_at_once_and_only_once(over: Callable[..., Exchange]) -> None:
    sizes: list[int] = []
    batch = Batch(lambda exchanges: sizes.append(len(exchanges)))
    batch(over())
    batch.flush()
    batch.flush()
    assert sizes == [1]
    batch(over())
    await eventually(lambda: len(sizes) == 2)
