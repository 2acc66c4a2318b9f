"""breakwater demo: traffic running, a provider failing, and clients that do not notice. No key, no network."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import suppress
from time import perf_counter

import click
import uvloop
from rich.console import Console
from rich.live import Live

from app.cli.failing import fail
from app.demo.clients import ask_for_ever
from app.demo.figures import figures
from app.demo.report import line, summary
from app.demo.screen import screen, try_it
from app.demo.traffic import Traffic
from app.demo.world import HOST, World
from app.observability.logs import configure
from app.server.listening import bind

PORT, METRICS_PORT = 8000, 9090
FRAME_SECONDS, LINE_SECONDS = 0.25, 1.0


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"Port of the API. [default: {PORT}, or any if it is taken]"
)
@click.option("--rate", type=click.FloatRange(0.1, 200), default=12.0, show_default=True, help="Requests per second.")
@click.option("--seconds", type=click.FloatRange(1), help="Stop by itself after so long.")
def demo(port: int | None, rate: float, seconds: float | None) -> None:
    """Watch a provider fail, and clients that do not notice."""
    listener = _bind(PORT) if port is None else _bind_exactly(port)
    console = Console(highlight=False)
    live = console.is_interactive and sys.stdout.isatty()
    configure("CRITICAL" if live else "ERROR", colours=False)  # nothing else may write on the screen
    traffic = Traffic()
    world = World(listener, _bind(METRICS_PORT), traffic)
    show = _live if live else _lines
    uvloop.run(_run(console, world, traffic, show(console, world, traffic), rate=rate, seconds=seconds))


async def _run(
    console: Console,
    world: World,
    traffic: Traffic,
    showing: Coroutine[None, None, None],
    *,
    rate: float,
    seconds: float | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    async with world.running():
        clients = asyncio.create_task(ask_for_ever(world.url, rate))
        stopped = asyncio.create_task(stop.wait())
        show = asyncio.create_task(showing)
        await asyncio.wait({clients, stopped, show}, return_when=asyncio.FIRST_COMPLETED)
        shown = figures(world, traffic, perf_counter())  # before those that run are broken off
        for task in (show, clients, stopped):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        console.print(summary(shown))


async def _live(console: Console, world: World, traffic: Traffic) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(world, traffic, perf_counter(), console.width, console.height), refresh=True)
            await asyncio.sleep(FRAME_SECONDS)


async def _lines(console: Console, world: World, traffic: Traffic) -> None:
    console.out(f"API {world.url}/v1  docs {world.url}/docs  metrics {world.metrics_url}")
    for words in try_it(world):
        console.out(words.plain)
    while True:
        await asyncio.sleep(LINE_SECONDS)
        console.out(line(figures(world, traffic, perf_counter())))


def _bind(preferred: int) -> socket.socket:
    """The port that the docs name, or any other where somebody has it."""
    try:
        return bind(HOST, preferred)
    except OSError:
        return bind(HOST, 0)


def _bind_exactly(port: int) -> socket.socket:
    try:
        return bind(HOST, port)
    except OSError as error:
        fail(f"Cannot listen on {HOST}:{port}: {error.strerror}.", "Choose another port with --port, or 0 for any.")
