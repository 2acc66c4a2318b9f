"""Make docs/images/demo.svg: the demo itself, in the middle of its second outage. Run: make picture"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from pathlib import Path
from time import perf_counter

from rich.console import Console

from app.demo.clients import ask_for_ever
from app.demo.screen import screen
from app.demo.traffic import Traffic
from app.demo.world import DOWN_SECONDS, FIRST_OUTAGE_SECONDS, HOST, UP_SECONDS, World
from app.observability.logs import configure
from app.server.listening import bind

TARGET = Path(__file__).parent.parent / "docs" / "images" / "demo.svg"
WIDTH, HEIGHT, RATE = 100, 26, 14.0


def main() -> None:
    configure("ERROR", colours=False)
    console = Console(record=True, width=WIDTH, height=HEIGHT, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    traffic = Traffic()
    world = World(bind(HOST, 8000), bind(HOST, 9090), traffic)  # the ports that the picture shows
    asyncio.run(watch(console, world, traffic))
    svg = console.export_svg(title="breakwater demo")
    TARGET.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))  # no fonts from elsewhere
    print(f"written to {TARGET}")


async def watch(console: Console, world: World, traffic: Traffic) -> None:
    async with world.running():
        clients = asyncio.create_task(ask_for_ever(world.url, RATE))
        await asyncio.sleep(FIRST_OUTAGE_SECONDS + DOWN_SECONDS + UP_SECONDS + DOWN_SECONDS * 0.9)
        console.print(screen(world, traffic, perf_counter(), WIDTH, HEIGHT))
        clients.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await clients


if __name__ == "__main__":
    main()
