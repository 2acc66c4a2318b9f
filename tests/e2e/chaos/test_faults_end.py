"""Every fault ends: by hand at once, by its guard, with whoever holds it, and never takes more than it may."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import AsyncExitStack

import pytest

from tests.e2e.chaos.site import TOKEN, Site
from tests.e2e.harness import Answer, Call, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD = 6
AT_ONCE_SECONDS = 0.1
TRIES = 3  # of which the quickest counts: on a busy machine the others measure that


async def held(site: Site, name: str) -> list[asyncio.Task[Answer]]:
    """Calls that their fault holds."""
    tasks = [asyncio.create_task(site.ask(f"{name}-{number}", stream=number % 2 == 0)) for number in range(HELD)]
    await site.active(HELD)
    assert not any(task.done() for task in tasks)
    return tasks


@pytest.mark.parametrize(
    ("kind", "knobs"),
    [
        ("stall", {"after": 3, "hold": 50}),
        ("connect_refused", {"mode": "blackhole"}),
        ("slow_ttft", {"delay": 20}),
        ("slow_close", {"mode": "half_open", "delay": 50}),
    ],
    ids=["stall", "blackhole", "slow-ttft", "half-open"],
)
async def test_stopping_all_lets_go_within_100_ms_of_those_that_are_held(site: Site, kind: str, knobs: object) -> None:
    loop = asyncio.get_running_loop()
    took = []
    for number in range(TRIES):
        assert isinstance(knobs, dict)
        await site.begin(kind, id=f"{kind}-{number}", **knobs)
        tasks = await held(site, f"{kind}-{number}")
        asked = loop.time()
        stopping = asyncio.create_task(site.stop_all())
        answers = await asyncio.gather(*tasks)
        took.append(loop.time() - asked)
        assert await stopping == [f"{kind}-{number}"]
        assert {(answer.status, answer.whole, answer.text) for answer in answers} == {(200, True, "hello from first")}
    print(f"stop all, {kind}: {', '.join(f'{seconds * 1000:.0f} ms' for seconds in took)}")
    assert min(took) < AT_ONCE_SECONDS
    assert (await site.fault(f"{kind}-0"))["active"] == 0


async def test_beyond_max_active_a_fault_is_counted_and_not_applied(site: Site) -> None:
    async def overflowed() -> float:
        return (await site.metric("breakwater_faults_overflowed_total")).get("first/f", 0)

    before = await overflowed()
    await site.begin("stall", id="few", max_active=2, hold=50)
    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(site.call(f"few-{n}", stream=True)) for n in range(2)]
        await site.active(2)
        answers = [await site.ask(f"more-{n}", stream=True) for n in range(3)]
        assert all(answer.whole and "x-fault" not in answer.headers for answer in answers)
        few = await site.fault("few")
        assert (few["injected"], few["active"], few["overflowed"]) == (2, 2, 3)
        await site.stop_all()
        assert [(await call.rest()).whole for call in calls] == [True, True]

    async def counted() -> bool:
        return await overflowed() == before + 3

    await eventually(counted, within=2)


async def test_a_guard_ends_its_fault_by_itself_and_the_control_arm_is_untouched(site: Site) -> None:
    guard = {"availability": 0.9, "min_calls": 20, "window": 10}
    await site.begin("http_5xx", "only", id="bad", share=0.5, per="request", guard=guard)
    answers = [await site.ask(f"guarded-{n}", "alone") for n in range(60)]
    hit = [answer for answer in answers if "x-fault" in answer.headers]
    control = [answer for answer in answers if "x-fault" not in answer.headers]
    assert 15 < len(hit) < 45
    assert {answer.status for answer in hit} == {502}
    assert {answer.status for answer in control} == {200}
    bad = await site.stopped("bad", within=5)
    assert bad["why"] == "slo_guard"
    assert re.fullmatch(r"availability \d+\.\d% of \d+ calls, below 90\.0%", bad["told"])
    after = [await site.ask(f"after-{n}", "alone") for n in range(10)]
    assert {answer.status for answer in after} == {200}
    (line,) = [
        line for line in site.gateway.log_lines() if (line["event"], line.get("fault")) == ("fault stopped", "bad")
    ]
    assert (line["why"], line["told"]) == ("slo_guard", bad["told"])


async def test_a_command_that_is_killed_leaves_no_fault_behind(site: Site) -> None:
    arguments = ["http_5xx", "--target", "first", "--ttl", "60", "--dead-man", "1", "--hold", "--url", site.admin_url]
    process = await site.command("add", *arguments)

    async def acting() -> dict[str, object] | None:
        return next(iter((await site.faults())["faults"]), None)

    fault = await eventually(acting, within=15)
    assert fault is not None
    loop = asyncio.get_running_loop()
    renewed_until = loop.time() + 2.5

    async def long_alive() -> bool:
        assert await acting(), "it is renewed while its command lives"
        return loop.time() > renewed_until

    await eventually(long_alive, within=5)
    assert (await site.ask("under it")).headers["x-attempts"].startswith("first/f:5")
    process.kill()
    await process.wait()
    killed = loop.time()
    ended = await site.stopped(str(fault["id"]), within=3)
    print(f"dead man's switch of 1 s: {loop.time() - killed:.2f} s after SIGKILL")
    assert ended["why"] == "dead_man"
    assert (await site.ask("after it")).headers["x-attempts"] == "first/f:200"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
async def test_a_signal_ends_the_fault_that_a_command_holds(site: Site, number: signal.Signals) -> None:
    process = await site.command("add", "http_429", "--target", "first", "--hold", "--url", site.admin_url)

    async def acting() -> bool:
        return bool((await site.faults())["faults"])

    await eventually(acting, within=15)
    process.send_signal(number)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert re.search(r"http_429-\d+ has ended: stopped by hand; injected 0, active 0\.", output.decode())
    assert not await acting()


async def test_it_ends_by_itself_when_its_time_is_over(site: Site) -> None:
    await site.begin("http_5xx", id="short", ttl=0.5)
    assert "x-fault" in (await site.ask("under it")).headers
    assert (await site.stopped("short", within=3))["why"] == "expired"
    assert "x-fault" not in (await site.ask("after it")).headers


async def test_only_who_has_the_token_breaks_anything(site: Site) -> None:
    body = {"kind": "http_5xx", "target": "first", "ttl": 60}
    for headers in ({}, {"Authorization": "Bearer guessed-guessed-guessed"}):
        async with Call(f"{site.admin_url}/admin/faults", body, headers) as call:
            answer = await call.rest()
        assert (answer.status, answer.json["error"]["code"]) == (401, "invalid_admin_token")
    async with Call(f"{site.gateway.url}/admin/faults", body, {"Authorization": f"Bearer {TOKEN}"}) as call:
        assert (await call.rest()).status == 404
    assert (await site.faults())["faults"] == []


async def test_passed_through_paths_meet_no_fault(site: Site) -> None:
    await site.begin("connect_refused")
    assert (await site.ask("chat")).headers["x-attempts"] == "first/f:unreachable,spare/m:200"
    before = len(site.first.exchanges)
    async with Call(f"{site.gateway.url}/v1/files", {"purpose": "batch"}) as call:
        answer = await call.rest()
    assert answer.status == 200
    assert "x-fault" not in answer.headers
    assert len(site.first.exchanges) == before + 1
