"""``python -m scripts.vllm_serve FOLDER``: the vLLM that ``scripts.vllm_install`` made, on 127.0.0.1, until Ctrl-C.

A key for it comes from VLLM_API_KEY, as vLLM itself has it: it is on no command line and in no message.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import IO

from scripts.vllm_install import MODEL, fail, require_fitness

PORT = 8100
URL = f"http://127.0.0.1:{PORT}"
ALIAS = "smollm2"
CONTEXT = 1024
# Few, so that an overload is easy to make: 2 run, 2 wait, the fifth is refused with a 503.
AT_ONCE = 2
UNFINISHED = 4
LOAD_SECONDS = 600
STOP_SECONDS = 20
# Straight to our own child, whatever http_proxy says.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Stopped(Exception):
    """SIGINT or SIGTERM: what every way out of here goes through."""


def command(folder: Path, port: int = PORT) -> list[str]:
    """The command line of the vLLM in ``folder``. Its --max-num-queued-reqs counts those that run, too."""
    return [
        str(folder / "bin" / "python"),
        str(folder / "bin" / "vllm"),
        "serve",
        str(folder / MODEL),
        f"--served-model-name={ALIAS}",
        "--host=127.0.0.1",
        f"--port={port}",
        "--dtype=bfloat16",
        "--enforce-eager",
        f"--max-model-len={CONTEXT}",
        f"--max-num-seqs={AT_ONCE}",
        f"--max-num-queued-reqs={UNFINISHED}",
        "--sse-keep-alive-interval=1",
        "--enable-request-id-headers",
    ]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ``, with what a vLLM on a shared CPU needs: no hub, no telemetry, 1 GiB of KV cache, one thread."""
    return {
        **environ,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
    }


def answers(url: str) -> bool:
    try:
        with DIRECT.open(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def serve(folder: Path) -> None:
    """Exits with what to do if it cannot be done."""
    if _taken(PORT):
        fail(
            f"127.0.0.1:{PORT} is taken, perhaps by a vLLM that runs already. Stop what listens there, then: make vllm"
        )
    require_fitness()
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    with contextlib.suppress(Stopped), tempfile.TemporaryFile() as log:
        # A group of its own: Ctrl-C in the terminal is for us, and we stop the server.
        server = subprocess.Popen(
            command(folder), env=environment(os.environ), stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await_ready(server, log)
            _announce()
            server.wait()
            fail("vLLM ended by itself.", _tail(log))
        finally:
            end(server)
    print("Stopped.")


def end(server: subprocess.Popen[bytes]) -> None:
    """It has children: the engine and its worker. All of them are in its group."""
    with contextlib.suppress(Stopped, subprocess.TimeoutExpired):  # a second Ctrl-C does not wait
        server.terminate()
        server.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _await_ready(server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    print(f"Starting vLLM on 127.0.0.1:{PORT} (about a minute) ...", flush=True)
    began = time.monotonic()
    while not answers(URL):
        if server.poll() is not None:
            fail("vLLM could not start. Its last words:", _tail(log))
        if time.monotonic() - began > LOAD_SECONDS:
            fail(f"vLLM was not ready after {LOAD_SECONDS} s. Its last words:", _tail(log))
        time.sleep(0.2)
    print(f"Ready after {time.monotonic() - began:.0f} s: {ALIAS}, {CONTEXT} tokens per request. Ctrl-C stops it.")


def _announce() -> None:
    keyed = bool(os.environ.get("VLLM_API_KEY"))
    key = ', api_key: "${VLLM_API_KEY}"' if keyed else ""
    print("The gateway in front of it, from a second terminal" + (" with the same VLLM_API_KEY:" if keyed else ":"))
    print(f"  VLLM_URL={URL} make run")
    print("or, in breakwater.yaml:")
    print(f'  providers: [{{name: vllm, kind: vllm, base_url: "{URL}/v1"{key}}}]')
    print(f"  routes:    [{{model: assistant, targets: [{{provider: vllm, model: {ALIAS}}}]}}]", flush=True)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").strip().splitlines()[-10:])


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
