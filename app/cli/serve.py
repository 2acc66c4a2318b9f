"""breakwater serve: load the settings, bind, and run until told to stop."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import click
import structlog
import uvicorn
from uvicorn.supervisors import Multiprocess

from app.admin.app import Door
from app.api.asgi import App
from app.api.edge import Edge
from app.cli.failing import fail
from app.main import create_app
from app.observability.logs import configure
from app.observability.sink import finish
from app.server.listening import bind, url_of
from app.server.protocol import Protocol
from app.settings import Loaded, Settings, SettingsError, load
from app.wiring import build

log: structlog.stdlib.BoundLogger = structlog.get_logger("breakwater")

# Longer than the idle time of common load balancers and client pools, so that they close first.
KEEP_ALIVE_SECONDS = 75
# Whoever reaches it can stop traffic: only this machine does.
ADMIN_HOST = "127.0.0.1"
TOKEN_BYTES = 24


class Beside(NamedTuple):
    """What is served beside the API."""

    metrics: socket.socket | None = None
    admin: Door | None = None


NOTHING = Beside()


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file (YAML).")
@click.option("--host", help="Address to listen on; default from the configuration.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; default from the configuration.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
def serve(config_file: Path | None, host: str | None, port: int | None, workers: int) -> None:
    """Serve the gateway."""
    # The command line is the strongest environment; workers inherit it.
    if config_file is not None:
        os.environ["BREAKWATER_CONFIG"] = str(config_file)
    if host is not None:
        os.environ["BREAKWATER_SERVER__HOST"] = host
    if port is not None:
        os.environ["BREAKWATER_SERVER__PORT"] = str(port)
    loaded = _load()
    server_settings = loaded.settings.server
    listener = _bind(server_settings.host, server_settings.port, "choose another port with --port.")
    # Several processes have numbers and states of their own, and one port can show those of one only.
    beside = NOTHING if workers > 1 else _beside(loaded.settings)
    configure(loaded.settings.telemetry.log_level)
    config = uvicorn.Config(
        # Worker processes import it by its name.
        "app.cli.serve:worker_app" if workers > 1 else functools.partial(worker_app, beside),
        factory=True,
        workers=workers,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=bool(server_settings.trusted_proxies),
        forwarded_allow_ips=server_settings.trusted_proxies,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(server_settings.drain_seconds),
    )
    _announce(loaded, listener, beside, workers)
    # Uvicorn takes these over while it runs; a second signal while the process is leaving changes nothing.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if workers > 1:
        Workers(config, sockets=[listener]).run()
    else:
        DrainingServer(config).run(sockets=[listener])
    log.info("stopped", pid=os.getpid())
    finish()


def worker_app(beside: Beside = NOTHING) -> App:
    """What each process serves. The settings have been checked by the parent already."""
    settings = _load().settings
    configure(settings.telemetry.log_level)
    worker = None if multiprocessing.parent_process() is None else str(os.getpid())
    gateway = build(settings, started=int(time.time()), instance=secrets.randbits(32))
    app = create_app(gateway, metrics_listener=beside.metrics, admin_door=beside.admin, worker=worker)
    # What is here now stays: without this, each full collection walks all imported code again (-15 % on the hot road).
    gc.collect()
    gc.freeze()
    # What a request makes dies with it; looking for cycles after every 700 new objects costs 3 % of a stream.
    gc.set_threshold(10_000)
    return app


class Workers(Multiprocess):
    """Closes the parent's own listener when it stops: else connections would be accepted that nobody will serve."""

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


class DrainingServer(uvicorn.Server):
    """At the first signal: not ready, no new work, and the requests that run may finish."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = getattr(self.config, "loaded_app", None)  # set once the app is loaded; a signal may come before
        app = getattr(app, "app", app)  # behind trusted proxies, uvicorn wraps it
        if isinstance(app, Edge):
            app.drain()
        log.info("draining", signal=signal.Signals(sig).name, seconds=self.config.timeout_graceful_shutdown)
        # Not uvicorn's own handler: that raises the signal again after the stop, and a clean stop exits with 0.
        self.force_exit |= self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _load() -> Loaded:
    try:
        return load(None, os.environ, Path.cwd())
    except SettingsError as error:
        fail("The configuration cannot be used:", str(error))


def _bind(host: str, port: int, advice: str) -> socket.socket:
    try:
        return bind(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        fail(f"Cannot listen on {host}:{port}: {reason}.", f"Another gateway may be running; {advice}")


def _beside(settings: Settings) -> Beside:
    server, token = settings.server, settings.admin.token
    metrics = admin = None
    if server.metrics_port is not None:
        metrics = _bind(server.host, server.metrics_port, _advice("metrics", "metrics_port"))
    if server.admin_port is not None:
        listener = _bind(ADMIN_HOST, server.admin_port, _advice("the admin API", "admin_port"))
        admin = Door(listener, token.get_secret_value() if token is not None else secrets.token_urlsafe(TOKEN_BYTES))
    return Beside(metrics, admin)


def _advice(what: str, name: str) -> str:
    variable = f"BREAKWATER_SERVER__{name.upper()}"
    return f"this port is for {what}: choose another server.{name} ({variable}), 0 for any, or null for none."


def _program() -> str:
    """How this command can be called from another terminal in the same place."""
    return "breakwater" if shutil.which("breakwater") else os.path.relpath(Path(sys.executable).parent / "breakwater")


def _announce(loaded: Loaded, listener: socket.socket, beside: Beside, workers: int) -> None:
    url = url_of(listener)
    metrics = f"{url if beside.metrics is None else url_of(beside.metrics)}/metrics"
    models = [route.model for route in loaded.settings.routes]
    admin, made = _admin_told(loaded.settings, beside.admin, workers)
    facts = {"url": url, "metrics": metrics, "admin": admin, "configuration": loaded.source, "models": models}
    log.info("serving", **facts, pid=os.getpid())
    if sys.stdout.isatty():
        click.echo(
            f"\n  {click.style('Breakwater', bold=True)} is serving {loaded.source}\n\n"
            f"    API      {url}/v1\n    docs     {url}/docs\n    ready    {url}/ready\n    metrics  {metrics}\n"
            f"    admin    {admin}\n\n"
            f"  Try:  {_program()} ask --stream 'Say hello.' --url {url}\n"
        )
    if made is not None:
        click.echo(f"  The admin API's token, for this run only: {made}\n", err=True)  # not where logs go


def _admin_told(settings: Settings, door: Door | None, workers: int) -> tuple[str, str | None]:
    """Where the admin API is, or why it is not; and its token, if that was made just now."""
    if door is not None:
        return url_of(door.listener), None if settings.admin.token is not None else door.token
    return ("off: it would show one of several workers only" if workers > 1 else "off: server.admin_port is null"), None
