"""S18: the trailers of an upstream's answer. Nobody has use for them, so nobody holds them in memory."""

from __future__ import annotations

import pytest

from tests.e2e.faulty import Exchange, completion
from tests.e2e.harness import eventually
from tests.e2e.outside import Stage, ask, forget_peak, memory

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_s18_trailers_without_an_end_cost_no_memory(strict: Stage) -> None:
    async def script(x: Exchange) -> None:
        await x.begin()
        await x.say(completion("hello"))
        await x.write(b"0\r\nX-Endless: ")
        while True:
            await x.write(b"x" * 65_536)

    strict.put_on("short", script)
    forget_peak(strict.gateway.pid)
    before = memory(strict.gateway.pid)
    answer = await strict.ask(ask("short"))
    peak = memory(strict.gateway.pid, "VmHWM") - before
    print(f"{answer.status}, {peak:.0f} MB more at the peak")
    assert peak < 10
    await eventually(lambda: all(call.over for call in strict.calls("short")))
