"""A probe meets what stands in the way of everybody."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import alive, healthy, now, on_virtual_clock

from providers import ProviderError
from providers.base import Probed as Asked
from providers.faults.truncate import Truncate
from router.chaos import Chaos, faulty
from router.config import Breaker as BreakerConfig
from router.config import Chaos as Config
from router.config import Probing
from router.events import Events
from router.policies.breaker import Breaker
from router.probing import Probe, Prober
from tests.router.chaos.chaotic import Locked, Probed, Site, rule, started, until


def probed(*known: str) -> tuple[Chaos, Probed, Any]:
    chaos = Chaos(Config(), Events(), lambda: 1000)
    upstream = Probed("a", healthy())
    return chaos, upstream, faulty(upstream, chaos, known or {"a/m"})


@on_virtual_clock
async def test_a_fault_that_refuses_everybody_refuses_the_probe() -> None:
    chaos, upstream, provider = probed()
    assert isinstance(provider, Asked)
    await provider.probe(1.0)
    chaos.add(rule())
    with pytest.raises(ProviderError, match="503"):
        await provider.probe(1.0)
    chaos.stop_all()
    await provider.probe(1.0)
    assert upstream.probes == 2


@pytest.mark.parametrize(
    "more",
    [{"share": 0.99}, {"route": "m"}, {"request_id": "r1"}, {"max_active": 1}, {"fault": Truncate()}],
    ids=["a share", "a route", "a request", "so many at once", "what happens to answers"],
)
@on_virtual_clock
async def test_what_does_not_stand_in_everybodys_way_lets_it_pass(more: dict[str, Any]) -> None:
    chaos, upstream, provider = probed()
    chaos.add(rule(**more))
    await provider.probe(1.0)
    assert upstream.probes == 1


@on_virtual_clock
async def test_one_target_of_several_is_not_everybody() -> None:
    """The probe is the provider's: refused, it would keep out the target beside it, which nobody has broken."""
    chaos, upstream, provider = probed("a/m", "a/n", "b/m")
    chaos.add(rule("one", "a/m"))
    await provider.probe(1.0)
    chaos.add(rule("all", "a/m", "a/n"))
    with pytest.raises(ProviderError, match="503"):
        await provider.probe(1.0)
    assert upstream.probes == 1


@on_virtual_clock
async def test_a_probe_that_is_held_goes_on_when_the_fault_ends() -> None:
    chaos, upstream, provider = probed()
    chaos.add(rule(ttl=5, fault=Locked()))
    probe = started(provider.probe(1.0))
    await until(4)
    assert not probe.done()
    await probe
    assert (now(), upstream.probes) == (5, 1)


@on_virtual_clock
async def test_a_provider_that_cannot_be_probed_cannot_be_so_behind_faults() -> None:
    site = Site()
    assert not isinstance(faulty(site.upstreams["a"], site.chaos, {"a/m"}), Asked)


@on_virtual_clock
async def test_an_open_breaker_stays_open_while_the_fault_refuses_probes() -> None:
    events = Events()
    chaos = Chaos(Config(), events, lambda: 1000)
    upstream = Probed("a", healthy())
    breaker = Breaker("a/m", BreakerConfig(open_base=5, open_max=5), emit=events.emit)
    probe = Probe("a/m", faulty(upstream, chaos, {"a/m"}), breaker, alive(breaker), Probing())
    prober = Prober([probe], events)
    chaos.add(rule(ttl=60))
    breaker.trip(now(), "a test")
    await until(59)
    assert breaker.state_at(now()) == "open"
    assert upstream.probes == 0
    await until(80)
    assert upstream.probes == 1
    assert breaker.state_at(now()) == "half_open"
    await prober.aclose()
    chaos.close()
