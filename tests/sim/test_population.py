from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from app.settings import Settings  # noqa: E402 - as a program it sets its path first
from app.wiring import build  # noqa: E402
from bench.simulated import OFF  # noqa: E402
from providers import Chunk, Request, Usage  # noqa: E402
from providers.errors import Disconnected  # noqa: E402
from providers.law import Law  # noqa: E402
from providers.prompt import output_limit, prompt_tokens  # noqa: E402
from router.sim import run  # noqa: E402
from router.sim.arrivals import Arrival, poisson, with_tokens  # noqa: E402
from router.sim.clients import GAVE_UP, Clients, Population  # noqa: E402
from router.sim.results import Results  # noqa: E402
from router.sim.retries import Jitter, Retries, RetryTokens, Told  # noqa: E402
from router.sim.server import Server  # noqa: E402
from router.sim.service import Service  # noqa: E402
from router.sim.timed import TimedStream  # noqa: E402

PASS = {
    "defaults": {
        "retry": {"max_attempts": 1, "budget": OFF, "concurrency": OFF, "dont_retry": OFF},
        "breaker": OFF,
        "throttle": OFF,
        "concurrency": OFF,
    },
    "shedding": OFF,
}
ONE_BY_ONE = Retries(count=3, base=1.0, cap=8.0, jitter=Jitter.NONE, honours=False)


def constant(seconds: float) -> Law:
    return Law("constant", seconds)


def lived(
    providers: Mapping[str, Any],
    clients: Clients,
    live: Callable[[Population], Awaitable[None]],
    *,
    gateways: int = 1,
    settings: Mapping[str, Any] = PASS,
    **more: Any,
) -> Results:
    """What came of ``live``, with ``gateways`` before the same ``providers``."""

    async def scenario() -> Results:
        given = Settings.model_validate(
            {
                "providers": [{"name": name, "kind": "echo"} for name in providers],
                "routes": [{"model": "m", "targets": [{"provider": name} for name in providers]}],
                **settings,
            }
        )
        clock = asyncio.get_running_loop().time
        built = [build(given, make=lambda entry: providers[entry.name], stopwatch=clock) for _ in range(gateways)]
        results = Results()
        await live(Population(clients, [gateway.dispatcher for gateway in built], results, **more))
        for gateway in built:
            await gateway.aclose()
        return results

    return run(scenario())


def at(*times: float) -> Callable[[Population], Awaitable[None]]:
    return lambda population: population.open_loop(map(Arrival, times))


# --- an open loop ------------------------------------------------------------------------------------------------------


def test_each_comes_at_its_time_however_long_others_take():
    called = list(lived({"a": Server("a", Service(ttft=constant(10.0)))}, Clients(), at(0.0, 0.5, 0.5, 7.0)))
    times = [(one.arrived, one.began, one.ended) for one in called]
    assert times == [(0, 10, 10), (0.5, 10.5, 10.5), (0.5, 10.5, 10.5), (7, 17, 17)]
    assert {(one.ok, one.calls, one.attempts, one.reason, one.target) for one in called} == {(True, 1, 1, "ok", "a/m")}


def test_a_stream_begins_and_ends():
    service = Service(ttft=constant(1.0), token_interval=constant(0.5), tokens=constant(5))
    (called,) = lived({"a": Server("a", service)}, Clients(stream=True), at(0.0))
    assert (called.began, called.ended) == (1.0, 3.0)


def test_nobody_who_comes_is_no_run_at_all():
    assert len(lived({"a": Server("a", Service())}, Clients(), at())) == 0


def test_what_goes_wrong_in_the_arrivals_ends_the_run():
    def arrivals() -> Iterator[Arrival]:
        yield Arrival(0.0)
        raise ValueError("line 2")

    server = Server("a", Service(ttft=constant(10.0)))
    with pytest.raises(ValueError, match="line 2"):
        lived({"a": server}, Clients(), lambda population: population.open_loop(arrivals()))


def test_a_run_that_is_cut_short_leaves_nobody_behind():
    async def live(population: Population) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await population.open_loop(map(Arrival, range(100)))
        assert len(asyncio.all_tasks()) == 1

    called = lived({"a": Server("a", Service(ttft=constant(2.0)))}, Clients(), live)
    assert len(called) == 3


class Asked:
    """Remembers what it was asked; answers at once."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.requests: list[Request] = []

    async def open(self, request: Request, model: str, connect_timeout: float) -> TimedStream:
        self.requests.append(request)
        whole = Chunk(b"{}", content=True, usage=Usage(1, 1))
        return TimedStream(iter([(0.0, whole)]), "application/json", asyncio.get_running_loop())

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("tokens", [25, 100, 4_000, 16_383, 16_390, 128_000])
def test_prompts_and_answers_are_of_the_size_that_was_asked_for(tokens):
    upstream = Asked()
    arrivals = with_tokens([0.0], constant(tokens), constant(77), Random(1))
    lived({"a": upstream}, Clients(), lambda population: population.open_loop(arrivals))
    (request,) = upstream.requests
    assert prompt_tokens(request) == pytest.approx(tokens, abs=25)
    assert output_limit(request) == 77


def test_requests_belong_to_sessions_and_have_ids_of_their_own():
    upstream = Asked()
    lived({"a": upstream}, Clients(name="team", sessions=3), at(*range(9)))
    assert Counter(request.session for request in upstream.requests) == {f"team-{number}": 3 for number in range(3)}
    assert len({request.id for request in upstream.requests}) == 9


# --- a closed loop -----------------------------------------------------------------------------------------------------


def test_in_a_closed_loop_each_waits_for_its_answer_and_thinks():
    server = Server("a", Service(ttft=constant(1.0)))
    called = lived({"a": server}, Clients(count=5), lambda population: population.closed_loop(constant(3.0), 100.0))
    assert len(called) == 5 * 25  # N / (think + answer), Little's law
    assert {one.arrived for one in called} == {3.0 + 4.0 * number for number in range(25)}


def test_a_closed_loop_slows_down_with_its_server():
    """That is what is wrong with it: ten clients of a server that takes 1 s, one after the other, never ask more than it can."""
    server = Server("a", Service(rate=1.0))
    called = lived({"a": server}, Clients(count=10), lambda population: population.closed_loop(constant(1.0), 200.0))
    assert len(called) == pytest.approx(200 + 8, abs=2)


# --- time-outs and retries ---------------------------------------------------------------------------------------------


def test_who_loses_patience_is_gone_and_the_gateway_lets_go():
    server = Server("a", Service(rate=1.0))

    async def live(population: Population) -> None:
        await population.open_loop(map(Arrival, (0.0, 0.0, 0.0)))
        await asyncio.sleep(5.0)

    called = lived({"a": server}, Clients(timeout=1.5), live)
    assert sorted((one.ended, one.reason, one.attempts) for one in called) == [
        (1.0, "ok", 1),
        (1.5, GAVE_UP, 1),
        (1.5, GAVE_UP, 1),
    ]
    assert server.wasted == 2


def test_a_stream_that_has_begun_is_waited_for():
    service = Service(ttft=constant(1.0), token_interval=constant(1.0), tokens=constant(5))
    (called,) = lived({"a": Server("a", service)}, Clients(timeout=1.5, stream=True), at(0.0))
    assert (called.ok, called.ended) == (True, 5.0)


def test_a_retry_is_a_new_call_of_the_same_request():
    upstream = Server("a", Service(error_rate=1.0))
    (called,) = lived({"a": upstream}, Clients(retries=ONE_BY_ONE), at(0.0))
    assert called == (0.0, None, 7.0, False, 4, 4, "exhausted", None)  # 1 + 2 + 4 s
    assert upstream.arrived == 4


def test_full_jitter_backs_off_by_chance_between_nothing_and_all():
    retries = Retries(count=1, base=4.0, cap=8.0, honours=False)
    called = lived({"a": Server("a", Service(error_rate=1.0))}, Clients(retries=retries), at(*range(400)))
    waits = sorted(one.ended - one.arrived for one in called)
    assert 0 <= waits[0] < 0.1
    assert 3.9 < waits[-1] < 4.0
    assert sum(waits) / len(waits) == pytest.approx(2.0, abs=0.3)


def told(**said: Any) -> Callable[[Exception], Told]:
    return lambda _: Told(**{"status": 503, **said})


@pytest.mark.parametrize(
    ("said", "honours", "calls", "ended"),
    [
        ({"retry_after": 5.0}, True, 4, 15.0),
        ({"retry_after": 5.0}, False, 4, 7.0),
        ({"retry_after": 121.0}, True, 1, 0.0),
        ({"should_retry": False}, True, 1, 0.0),
        ({"should_retry": False}, False, 4, 7.0),
        ({"status": 400}, True, 1, 0.0),
        ({"status": 400, "should_retry": True}, True, 4, 7.0),
        ({"status": 429}, True, 4, 7.0),
        ({"status": None}, True, 4, 7.0),
    ],
)
def test_what_the_gateway_says_is_kept_to_as_the_official_sdks_do_or_not(said, honours, calls, ended):
    retries = Retries(count=3, base=1.0, jitter=Jitter.NONE, honours=honours)
    server = Server("a", Service(error_rate=1.0))
    (called,) = lived({"a": server}, Clients(retries=retries), at(0.0), tell=told(**said))
    assert (called.calls, called.ended) == (calls, ended)


@pytest.mark.parametrize("clients", [1, 4])
def test_each_client_has_a_bucket_of_retries_that_its_requests_fill(clients):
    budget = RetryTokens(deposit=0.25, most=3.0)
    retries = Retries(count=100, base=0.0, cap=0.0, honours=False, budget=budget)
    called = lived(
        {"a": Server("a", Service(error_rate=1.0))}, Clients(count=clients, retries=retries), at(*range(400))
    )
    # Each starts with three, and the first deposit finds it full.
    assert sum(one.calls for one in called) == 400 + 3 * clients + int(0.25 * (400 / clients - 1)) * clients


def test_an_answer_that_breaks_off_is_not_asked_for_again():
    class Breaking(Asked):
        async def open(self, request: Request, model: str, connect_timeout: float) -> Any:
            await super().open(request, model, connect_timeout)
            return _Breaks()

    class _Breaks:
        headers: Mapping[str, str] = {}
        media_type = "text/event-stream"
        said = 0

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Chunk:
            self.said += 1
            if self.said > 1:
                raise Disconnected("cut")
            return Chunk(b"data: {}\n\n", content=True)

        async def aclose(self) -> None:
            pass

    (called,) = lived({"a": Breaking()}, Clients(stream=True, retries=ONE_BY_ONE), at(0.0))
    assert (called.ok, called.calls, called.reason, called.began) == (False, 1, "disconnected", 0.0)


# --- many gateways -----------------------------------------------------------------------------------------------------


def test_calls_are_spread_over_gateways_each_with_a_state_of_its_own():
    """Ten breakers of their own need ten times as many failures to open as one does."""
    settings = {**PASS, "defaults": {**PASS["defaults"], "breaker": {"min_calls": 10, "open_base": 100}}}
    opened = {}
    for gateways in (1, 10):
        servers = {"a": Server("a", Service(error_rate=1.0)), "b": Server("b", Service(slots=1, queue=1000))}
        times = [number / 10 for number in range(600)]
        lived(servers, Clients(), at(*times), gateways=gateways, settings=settings)
        opened[gateways] = servers["a"].arrived
    assert opened[10] == pytest.approx(10 * opened[1], rel=0.5)


# --- the same again ----------------------------------------------------------------------------------------------------


def digest(seed: int) -> str:
    service = Service(slots=4, queue=10, ttft=Law("lognormal", 0.2, 1.0), error_rate=0.1, tokens_per_minute=40_000)
    servers = {name: Server(name, service, seed=seed) for name in "ab"}
    clients = Clients(stream=True, count=20, timeout=2.0, retries=Retries(count=2), sessions=5)
    times = poisson(40.0, 60.0, Random(seed))
    arrivals = with_tokens(times, Law("uniform", 10, 2000), Law("exponential", 40), Random(seed))
    called = lived(
        servers,
        clients,
        lambda population: population.open_loop(arrivals),
        gateways=3,
        settings={"seed": seed},
        seed=seed,
    )
    return repr(list(called))


def test_the_same_seed_repeats_to_the_last_bit_in_another_process_too():
    here = digest(5)
    assert len(here) > 100_000
    assert here != digest(6)
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == here


@pytest.mark.parametrize(
    ("wrong", "field"), [({"count": 0}, "count"), ({"timeout": 0.0}, "timeout"), ({"sessions": -1}, "sessions")]
)
def test_what_are_no_clients_is_refused_by_its_field(wrong, field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        Clients(**wrong)


@pytest.mark.parametrize(("wrong", "field"), [({"count": -1}, "count"), ({"base": 9.0}, "base, cap")])
def test_what_are_no_retries_is_refused_by_its_field(wrong, field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        Retries(**wrong)


if __name__ == "__main__":
    print(digest(5))
