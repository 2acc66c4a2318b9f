"""Pass-through between real processes: the official client, large bodies in little memory, and every way to break off."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import openai
import pytest
import pytest_asyncio
from file_server import Exchange, FileServer

from tests.e2e.conftest import StartGateway
from tests.e2e.harness import Call, Gateway, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

MB = 1_000_000
PART = bytes(range(256)) * 256


def _largest(buffer: str) -> int:
    return int(Path(f"/proc/sys/net/ipv4/{buffer}").read_text().split()[2])


# What the kernel may buffer on two connections, and a little for what the processes hold of a body at a time.
ON_THE_WAY = 2 * (_largest("tcp_rmem") + _largest("tcp_wmem")) + 2 * MB


class Scene(NamedTuple):
    gateway: Gateway
    server: FileServer

    @property
    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.gateway.url}/v1", api_key="sk-theirs", max_retries=0)

    async def seen(self, request_id: str) -> Exchange:
        """The provider's side of a request."""
        found = await eventually(
            lambda: [one for one in self.server.seen if one.headers.get("x-request-id") == request_id], within=5
        )
        return found[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[FileServer]:
    async with FileServer() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(server: FileServer, gateway: StartGateway) -> Scene:
    provider = {"name": "up", "kind": "openai-compatible", "base_url": server.url, "api_key": "sk-ours"}
    config = {
        "providers": [provider],
        "routes": [{"model": "*", "targets": [{"provider": "up"}]}],
        "passthrough": {"provider": "up", "paths": ["/v1/*"]},
        "server": {"receive_timeout_s": 1},
    }
    return Scene(await gateway(config), server)


class RawCall(Call):
    """A request with any method and framing, whose body is written piece by piece."""

    def __init__(self, url: str, method: str, path: str, request_id: str, **headers: str) -> None:
        super().__init__(f"{url}{path}")
        named = {"Host": "gateway", "X-Request-ID": request_id} | {k.replace("_", "-"): v for k, v in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode()

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def line(self) -> bytes:
        return await self._reader.readline()

    async def piece(self) -> bytes:
        """What has come; nothing once the gateway has closed the connection."""
        return await self._reader.read(1 << 16)


def raw(scene: Scene, method: str, path: str, request_id: str, **headers: str) -> RawCall:
    return RawCall(scene.gateway.url, method, path, request_id, **headers)


def resident(pid: int, field: str = "VmRSS") -> int:
    """Bytes of memory; VmHWM is the most that it ever was."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


# --- the official client ----------------------------------------------------------------------------------------------


async def test_the_official_client_keeps_files_through_the_gateway_in_little_memory(scene: Scene) -> None:
    content = PART * (30 * MB // len(PART)) + b"the end"
    async with scene.client as client:
        await client.files.list(extra_query={"purpose": "user_data"})
        before = resident(scene.gateway.pid)
        created = await client.files.create(file=("data.bin", content), purpose="user_data")
        assert created.bytes == len(content)
        assert scene.server.files[created.id] == content
        assert (await client.files.retrieve(created.id)).id == created.id
        answer = await client.files.content(created.id)
        assert answer.content == content
        assert answer.response.headers["content-disposition"] == 'attachment; filename="data.bin"'
        part = await client.files.content(created.id, extra_headers={"Range": "bytes=0-9"})
        assert part.content == content[:10]
        assert (await client.files.delete(created.id)).deleted
        assert created.id not in scene.server.files
    assert resident(scene.gateway.pid, "VmHWM") - before < 15 * MB
    assert {one.headers["authorization"] for one in scene.server.seen} == {"Bearer sk-ours"}


async def test_the_official_client_makes_batches_edits_images_and_lets_speak(scene: Scene) -> None:
    async with scene.client as client:
        batch = await client.batches.create(
            input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert (batch.id, batch.input_file_id) == ("batch_1", "file-1")
        edited = await client.images.edit(image=("a.png", PART), prompt="brighter", model="gpt-image-1")
        assert edited.data is not None
        assert edited.data[0].b64_json == str(len(PART))
        spoken = await client.audio.speech.create(model="tts-1", voice="alloy", input="hello")
        assert spoken.content == b"hello" * 1000
        with pytest.raises(openai.NotFoundError, match="no such thing"):
            await client.fine_tuning.jobs.retrieve("ft-1")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_hundred_megabytes_up_and_down_take_no_memory(scene: Scene, chunked: bool) -> None:
    count = 100 * MB // len(PART)
    digest = hashlib.sha256(PART * count).hexdigest()
    length = str(len(PART) * count)

    async def swallow(exchange: Exchange) -> None:
        took = hashlib.sha256()
        async for part in exchange.parts():
            took.update(part)
        await exchange.reply(200, took.hexdigest().encode())

    async def pour(exchange: Exchange) -> None:
        await exchange.begin(headers={} if chunked else {"content-length": length})
        for _ in range(count):
            await exchange.say(PART)
        await exchange.end()

    scene.server.plays |= {"POST /v1/large": swallow, "GET /v1/large": pour}
    before = resident(scene.gateway.pid)
    framing = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": length}
    async with raw(scene, "POST", "/v1/large", f"up-{chunked}", **framing) as call:
        for _ in range(count):
            await (call.chunk(PART) if chunked else call.write(PART))
        if chunked:
            await call.chunk(b"")
        assert (await call.rest()).body.decode() == digest
    took = hashlib.sha256()
    async with raw(scene, "GET", "/v1/large", f"down-{chunked}", Connection="close") as call:
        assert await call.head() == 200
        while piece := await call.piece():
            took.update(piece)
    assert chunked or took.hexdigest() == digest
    assert resident(scene.gateway.pid, "VmHWM") - before < 15 * MB
    line = await scene.gateway.log_line(f"down-{chunked}")
    assert (line["status"], line["bytes_out"], line["end"]) == (200, int(length), "complete")
    assert (await scene.gateway.log_line(f"up-{chunked}"))["bytes_in"] == int(length)


# --- held back --------------------------------------------------------------------------------------------------------


async def test_a_client_that_reads_slowly_holds_the_provider_back(scene: Scene) -> None:
    async def pour(exchange: Exchange) -> None:
        await exchange.begin()
        while True:
            await exchange.say(PART)

    scene.server.plays["GET /v1/pour"] = pour
    async with raw(scene, "GET", "/v1/pour", "slow-reader") as call:
        exchange = await scene.seen("slow-reader")
        assert await call.head() == 200
        before = resident(scene.gateway.pid)
        moments = [-1]

        def nothing_moves() -> bool:
            moments.append(exchange.sent)
            return moments[-1] == moments[-2]

        await eventually(nothing_moves, within=20, every=0.3)
        sent = exchange.sent
        assert 0 < sent < ON_THE_WAY
        assert resident(scene.gateway.pid) - before < 4 * MB
        for _ in range(2000):
            assert await call.piece()
        await eventually(lambda: exchange.sent > sent)
    await eventually(lambda: exchange.gone)


async def test_a_provider_that_reads_slowly_holds_the_client_back(scene: Scene) -> None:
    go_on = asyncio.Event()

    async def wait_and_swallow(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.body()
        await exchange.reply(200)

    scene.server.plays["POST /v1/swallow"] = wait_and_swallow
    written = 0
    async with raw(scene, "POST", "/v1/swallow", "slow-provider", Transfer_Encoding="chunked") as call:

        async def flood() -> None:
            nonlocal written
            while written < ON_THE_WAY:
                async with asyncio.timeout(0.5):
                    await call.chunk(PART)
                written += len(PART)

        with pytest.raises(TimeoutError):
            await flood()
        go_on.set()
        await call.write(b"")
        await call.chunk(b"")
        assert (await call.rest()).status == 200
    assert (await scene.seen("slow-provider")).received == written + len(PART)


async def test_events_arrive_one_by_one_as_they_are(scene: Scene) -> None:
    events = [
        b": ping\n\n",
        b"event: a\r\ndata: {}\r\n\r\n",
        b"id: 7\ndata: x\n\n",
        b"data: \xff\n",
        b"\ndata: [DONE]\n\n",
    ]
    seen = asyncio.Semaphore(0)

    async def speak(exchange: Exchange) -> None:
        await exchange.begin(headers={"content-type": "text/event-stream; charset=utf-8"})
        for event in events:
            await exchange.say(event)
            await seen.acquire()
        await exchange.end()

    scene.server.plays["GET /v1/events"] = speak
    async with raw(scene, "GET", "/v1/events", "events") as call:
        for number in range(len(events)):
            await call.until(b"".join(events[: number + 1]))
            seen.release()
        answer = await call.rest()
    assert answer.whole
    assert answer.body == b"".join(events)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    assert (await scene.gateway.log_line("events"))["stream"] is True


# --- broken off -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
async def test_a_client_that_leaves_in_its_upload_breaks_it_off(scene: Scene, reset: bool) -> None:
    async def swallow(exchange: Exchange) -> None:
        await exchange.body()

    scene.server.plays["POST /v1/leave"] = swallow
    name = f"leave-up-{reset}"
    async with raw(scene, "POST", "/v1/leave", name, Content_Length=str(10 * MB)) as call:
        await call.write(PART)
        exchange = await scene.seen(name)
        await eventually(lambda: exchange.received == len(PART))
        call.hang_up(reset=reset)
    await assert_hung_up(scene, name)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize(
    "moment", ["before_the_head", "while_nothing_comes", "while_much_comes", "while_it_reads_nothing"]
)
async def test_a_client_that_leaves_in_its_answer_breaks_it_off(scene: Scene, moment: str, reset: bool) -> None:
    async def play(exchange: Exchange) -> None:
        if moment != "before_the_head":
            await exchange.begin()
            await exchange.say(b"some")
        while moment in ("while_much_comes", "while_it_reads_nothing"):
            await exchange.say(PART)
        await exchange.until_gone()

    scene.server.plays["GET /v1/leave"] = play
    name = f"leave-{moment}-{reset}"
    async with raw(scene, "GET", "/v1/leave", name) as call:
        exchange = await scene.seen(name)
        if moment != "before_the_head":
            await call.until(b"some")
        if moment == "while_it_reads_nothing":
            await eventually(lambda: exchange.sent > MB)
        call.hang_up(reset=reset)
    await assert_hung_up(scene, name)


async def assert_hung_up(scene: Scene, name: str) -> None:
    left_at = asyncio.get_running_loop().time()
    exchange = await scene.seen(name)
    await eventually(lambda: exchange.gone, within=2)
    assert exchange.gone_at - left_at < 1
    line = await scene.gateway.log_line(name)
    assert (line["status"], line["end"], line["target"]) == (499, "client_closed", "up/v1/*")


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize(
    "about",
    [{}, {"content-length": "1000"}, {"content-type": "text/event-stream"}],
    ids=["chunked", "length", "events"],
)
async def test_a_provider_that_dies_in_its_answer_leaves_the_client_no_whole_one(
    scene: Scene, about: dict[str, str], reset: bool
) -> None:
    heard = asyncio.Event()

    async def die(exchange: Exchange) -> None:
        await exchange.begin(headers=about)
        await exchange.say(b"half of it")
        await heard.wait()
        exchange.close(reset=reset)

    scene.server.plays["GET /v1/die"] = die
    name = f"die-{'-'.join(about)}-{reset}"
    async with raw(scene, "GET", "/v1/die", name) as call:
        assert await call.head() == 200
        received = b""
        while b"half of it" not in received:
            received += await call.piece()
        heard.set()
        while piece := await call.piece():
            received += piece
    assert received == (b"half of it" if "content-length" in about else b"a\r\nhalf of it\r\n"), (
        "no end, and nothing of ours in it"
    )
    line = await scene.gateway.log_line(name)
    assert (line["status"], line["end"], line["error"]) == (200, "cut", "upstream_error")


async def test_a_provider_that_dies_in_the_upload_is_a_502(scene: Scene) -> None:
    async def die(exchange: Exchange) -> None:
        exchange.close(reset=True)

    scene.server.plays["POST /v1/die"] = die
    async with raw(scene, "POST", "/v1/die", "die-up", Content_Length="100") as call:
        await call.write(b"x" * 50)
        answer = await call.rest()
    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_error")
    assert answer.headers["x-attempts"] == "up/v1/*:disconnected"


async def test_a_provider_that_refuses_in_the_upload_is_heard_and_its_connection_not_used_again(scene: Scene) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.reply(413, b'{"error": "no"}')
        await exchange.body()

    scene.server.plays["POST /v1/refuse"] = refuse
    async with raw(scene, "POST", "/v1/refuse", "refused", Content_Length=str(5 * MB)) as call:
        await call.write(PART)
        answer = await call.rest()
        assert (answer.status, answer.body, answer.whole) == (413, b'{"error": "no"}', True)
        connections = scene.server.connections
        for _ in range(5 * MB // len(PART)):  # the rest is taken and thrown away
            await call.write(PART)
    async with raw(scene, "GET", "/v1/nothing", "after-refused") as call:
        assert (await call.rest()).status == 404
    assert scene.server.connections == connections + 1
    assert (await scene.gateway.log_line("refused"))["end"] == "complete"


async def test_a_client_that_stops_in_its_upload_gets_a_408_and_the_upload_is_broken_off(scene: Scene) -> None:
    async def swallow(exchange: Exchange) -> None:
        await exchange.body()

    scene.server.plays["POST /v1/stop"] = swallow
    async with raw(scene, "POST", "/v1/stop", "stopped", Content_Length="100") as call:
        await call.write(b"x" * 50)
        answer = await call.rest()
    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")
    exchange = await scene.seen("stopped")
    await eventually(lambda: exchange.gone)


# --- HTTP -------------------------------------------------------------------------------------------------------------


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(scene: Scene) -> None:
    async with raw(scene, "POST", "/v1/things", "expects", Content_Length="5", Expect="100-continue") as call:
        assert await call.line() == b"HTTP/1.1 100 Continue\r\n"
        assert await call.line() == b"\r\n"
        await call.write(b"hello")
        assert (await call.rest()).status == 404
    assert "expect" not in (await scene.seen("expects")).headers


async def test_chunks_that_are_none_break_the_upload_off(scene: Scene) -> None:
    async def swallow(exchange: Exchange) -> None:
        await exchange.body()

    scene.server.plays["POST /v1/garbled"] = swallow
    async with raw(scene, "POST", "/v1/garbled", "garbled", Transfer_Encoding="chunked") as call:
        await call.chunk(b"fine")
        exchange = await scene.seen("garbled")
        await eventually(lambda: exchange.received)
        await call.write(b"zz\r\n")
        assert (await call.rest()).status == 400
    await eventually(lambda: exchange.gone)


async def test_the_head_of_a_file_is_its_length(scene: Scene) -> None:
    scene.server.files["head"] = PART
    async with raw(scene, "HEAD", "/v1/files/head/content", "head") as call:
        assert await call.head() == 200
        assert call.headers["content-length"] == str(len(PART))
        assert "transfer-encoding" not in call.headers


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime"])
async def test_a_websocket_is_refused_and_the_connection_closed(scene: Scene, path: str) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Key": "x", "Sec_WebSocket_Version": "13"}
    async with raw(scene, "GET", path, f"ws{path}", **upgrade) as call:
        answer = await call.rest()
        assert (answer.status, answer.json["error"]["code"]) == (501, "websocket_not_supported")
        assert await call.piece() == b""
