"""From a base URL to a socket. Names are resolved by the test, sockets are real."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from loops import on_each_loop, on_loop
from raw_server import Peer, RawServer, always, plain
from waiting import free_port

from providers import dialing
from providers.dialing import Dialer
from providers.errors import Disconnected, Misconfigured, TimedOut, Unreachable, Untrusted
from providers.http import Upstream, read_body
from tests.e2e.harness import eventually

METADATA = "169.254.169.254"
OK = plain(b"hi")


class Silent(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    @property
    def reached(self) -> str:
        return str(self.transport.get_extra_info("peername")[0])


async def dial(dialer: Dialer, seconds: float = 5.0) -> Silent:
    return await dialer.dial(asyncio.get_running_loop(), Silent, seconds)


@asynccontextmanager
async def made(dialer: Dialer, seconds: float = 5.0) -> AsyncGenerator[Silent]:
    connection = await dial(dialer, seconds)
    try:
        yield connection
    finally:
        connection.transport.abort()


class Names:
    """In place of the resolver: what each look-up finds, the last again and again. Numbers are no names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *found: list[str] | Exception) -> None:
        self.asked: list[str] = []
        self._found = found
        loop = asyncio.get_running_loop()
        self._real = loop.getaddrinfo
        monkeypatch.setattr(loop, "getaddrinfo", self._look_up)

    async def _look_up(self, host: str, port: int, **more: Any) -> Any:
        if not host.endswith(".test"):  # uvloop looks numbers up too, when it connects
            return await self._real(host, port, **more)
        self.asked.append(host)
        found = self._found[min(len(self.asked), len(self._found)) - 1]
        if isinstance(found, Exception):
            raise found
        return [(family(address), socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in found]


def family(address: str) -> socket.AddressFamily:
    if address.startswith("/"):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def hangs(peer: Peer) -> None:
    await peer.hung_up()


# --- where it goes -------------------------------------------------------------------------------------------------


@on_each_loop
async def test_the_address_that_was_judged_is_the_one_that_is_called(monkeypatch):
    """A resolver that flips between the judgement and the connection gains nothing: it is asked once."""
    async with RawServer(hangs) as server:
        names = Names(monkeypatch, ["127.0.0.1"], [METADATA])
        async with made(Dialer("up", f"http://flips.test:{server.port}", "private")) as connection:
            assert connection.reached == "127.0.0.1"
        assert names.asked == ["flips.test"]
        await eventually(lambda: len(server.peers) == 1)


@on_each_loop
async def test_of_several_addresses_only_the_allowed_ones_are_called(monkeypatch):
    called: list[str] = []
    loop = asyncio.get_running_loop()
    async with RawServer(hangs) as server:
        for name in ("create_connection", "sock_connect"):
            monkeypatch.setattr(loop, name, _noted(getattr(loop, name), called))
        Names(monkeypatch, [METADATA, "224.0.0.1", "127.0.0.1", "fe80::1", "::"])
        async with made(Dialer("up", f"http://mixed.test:{server.port}", "private")) as connection:
            assert connection.reached == "127.0.0.1"
    assert "127.0.0.1" in str(called)
    assert not any(refused in str(called) for refused in (METADATA, "224.0.0.1", "fe80", "'::'"))


def _noted(call, called):
    async def note(*arguments, **more):
        called.append(f"{arguments} {more}")
        return await call(*arguments, **more)

    return note


@pytest.mark.parametrize(
    ("found", "network", "reason"),
    [
        ([METADATA], "private", "link-local"),
        (["127.0.0.1"], "public", "loopback; write `network: private`"),
        (["10.1.2.3", "::1"], "public", "private"),
        (["::ffff:127.0.0.1"], "public", "loopback"),
        (["64:ff9b::a9fe:a9fe"], "private", "link-local"),
        ([], "public", "it has no address"),
        (["/run/secret.sock"], "private", "it has no address"),
    ],
)
@on_each_loop
async def test_where_no_address_is_allowed_nobody_is_called(monkeypatch, found, network, reason):
    Names(monkeypatch, found)
    with pytest.raises(Misconfigured) as refused:
        await dial(Dialer("up", "http://inner.test/v1", network))
    assert refused.value.message.startswith("up may not be reached: ")
    assert reason in refused.value.message
    assert not any(part in refused.value.message for part in (*found, "inner.test"))


@on_each_loop
async def test_a_cached_answer_is_judged_as_well(monkeypatch):
    Names(monkeypatch, [METADATA])
    dialer = Dialer("up", "http://inner.test/v1", "private")
    for _ in range(2):
        with pytest.raises(Misconfigured):
            await dial(dialer)


@on_each_loop
async def test_a_number_that_is_written_strangely_is_judged_by_what_it_is():
    with pytest.raises(Misconfigured, match="loopback"):
        await dial(Dialer("up", "http://2130706433:1/", "public"))
    async with RawServer(hangs) as server, made(Dialer("up", f"http://127.1:{server.port}/", None)) as connection:
        assert connection.reached == "127.0.0.1"


@on_each_loop
async def test_names_are_remembered_for_a_while_and_then_asked_again(monkeypatch):
    async with RawServer(hangs) as server, RawServer(hangs, host="127.0.0.2", port=server.port) as moved:
        names = Names(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
        dialer = Dialer("up", f"http://moves.test:{server.port}", "private")
        for _ in range(3):
            async with made(dialer):
                pass
        assert (len(names.asked), len(moved.peers)) == (1, 0)
        dialer._resolved_at -= dialing.DNS_CACHE_SECONDS
        async with made(dialer) as connection:
            assert connection.reached == "127.0.0.2"
        assert len(names.asked) == 2


@on_each_loop
async def test_a_look_up_that_failed_is_not_remembered(monkeypatch):
    async with RawServer(hangs) as server:
        Names(monkeypatch, socket.gaierror(-3, "try again"), ["127.0.0.1"])
        dialer = Dialer("up", f"http://flaky.test:{server.port}", "private")
        with pytest.raises(Unreachable):
            await dial(dialer)
        async with made(dialer):
            pass


@on_each_loop
async def test_one_that_refuses_is_passed_over(monkeypatch):
    async with RawServer(hangs) as server:
        Names(monkeypatch, ["127.0.0.2", "127.0.0.3", "127.0.0.1"])
        async with made(Dialer("up", f"http://several.test:{server.port}", "private")) as connection:
            assert connection.reached == "127.0.0.1"
            raw = connection.transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_each_loop
async def test_one_that_does_not_answer_is_overtaken(monkeypatch):
    monkeypatch.setattr(dialing, "HAPPY_EYEBALLS_SECONDS", 0.02)
    async with RawServer(hangs) as server:
        with silence("127.0.0.2", server.port):
            Names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
            async with made(Dialer("up", f"http://several.test:{server.port}", "private")) as connection:
                assert connection.reached == "127.0.0.1"


@on_each_loop
async def test_small_writes_are_not_held_back_by_nagle():
    async with RawServer(hangs) as server, made(Dialer("up", server.url, None)) as connection:
        raw = connection.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
@on_each_loop
async def test_an_ipv6_address_is_called():
    async with (
        RawServer(hangs, host="::1") as server,
        made(Dialer("up", f"http://[::1]:{server.port}/v1", None)) as connection,
    ):
        assert connection.reached == "::1"


@on_each_loop
async def test_proxies_of_the_environment_are_ignored(monkeypatch):
    async with RawServer(always(OK)) as server, RawServer(hangs) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        upstream = Upstream("up", server.url, {})
        assert await read_body(await upstream.post("chat", b"{}", {}, 5.0), 9, "up") == b"hi"
        await upstream.aclose()
        assert server.peers[0].requests[0].startswith(b"POST /v1/chat HTTP/1.1\r\n")
        assert not proxy.peers


@pytest.mark.parametrize(
    "url", ["", "up/v1", "ftp://up/v1", "http:///v1", "http://", "http://up:port/", "http://up:99999/"]
)
def test_what_is_no_web_address_is_refused_at_the_start(url):
    with pytest.raises(ValueError, match=r"base_url|[Pp]ort"):
        Dialer("up", url, None)


# --- where nobody answers ------------------------------------------------------------------------------------------


class silence:  # noqa: N801 - a context
    """A listener whose queue is full: the kernel answers no further SYN."""

    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)
        self._sockets = [socket.socket() for _ in range(5)]

    def __enter__(self) -> None:
        listener, *callers = self._sockets
        listener.bind(self._where)
        listener.listen(0)
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(self._where)

    def __exit__(self, *exc_info: object) -> None:
        for one in self._sockets:
            one.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@on_each_loop
async def test_a_handshake_that_never_ends_is_a_connect_timeout(scheme):
    port = free_port()
    with silence("127.0.0.1", port):
        await times_out(Dialer("up", f"{scheme}://127.0.0.1:{port}", None))


async def times_out(dialer: Dialer) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimedOut) as caught:
        await dial(dialer, 0.05)
    assert (caught.value.phase, caught.value.label) == ("connect", "connect_timeout")
    assert "0.05 s" in caught.value.message
    assert 0.04 < loop.time() - began < 1.0


@on_each_loop
async def test_a_name_that_is_never_resolved_is_a_connect_timeout(monkeypatch):
    async def never(*_: object, **__: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    await times_out(Dialer("up", "http://never.test", None))


@on_each_loop
async def test_a_tls_handshake_that_never_ends_is_a_connect_timeout_and_leaves_nothing():
    async with RawServer(hangs) as server:
        await times_out(Dialer("up", f"https://127.0.0.1:{server.port}", None))
        await eventually(lambda: server.peers and not server.playing)


@on_each_loop
async def test_a_dial_that_is_cancelled_leaves_nothing():
    async with RawServer(hangs) as server:
        for scheme in ("http", "https"):
            for turns in range(12):
                dialling = asyncio.create_task(dial(Dialer("up", f"{scheme}://127.0.0.1:{server.port}", None)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                dialling.cancel()
                with suppress(asyncio.CancelledError):
                    (await dialling).transport.abort()  # it was there already
        await eventually(lambda: not server.playing)


@on_each_loop
async def test_nobody_there_is_said_without_the_address():
    port = free_port()
    for url in (f"http://127.0.0.1:{port}/v1", f"https://127.0.0.1:{port}/v1", f"http://localhost:{port}/v1"):
        with pytest.raises(Unreachable) as caught:
            await dial(Dialer("up", url, None))
        assert caught.value.message == "no connection to up: Connection refused"


@on_each_loop
async def test_several_that_refuse_are_one_refusal(monkeypatch):
    Names(monkeypatch, ["127.0.0.1", "127.0.0.2"])
    port = free_port()
    with pytest.raises(Unreachable) as caught:
        await dial(Dialer("up", f"http://gone.test:{port}/v1", "private"))
    assert not any(part in caught.value.message for part in (str(port), "127.0.0", "gone.test"))


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", ".a", "x" * 64 + ".test", "a b"])
@on_each_loop
async def test_a_name_that_leads_nowhere_or_is_none_is_unreachable(host):
    """Once a name with an empty or a long label was a mistake of ours, and a 500."""
    with pytest.raises(Unreachable) as caught:
        await dial(Dialer("up", f"http://{host}/v1", None))
    assert caught.value.message == "the host name of up could not be resolved"


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate in one file, for localhost, signed by nobody but itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", str(path), "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """The server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the certificate's maker were among those that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    dialing._trust.cache_clear()
    yield
    dialing._trust.cache_clear()


async def over_tls(server: RawServer, host: str = "localhost") -> bytes:
    upstream = Upstream("up", f"https://{host}:{server.port}/v1", {}, "private")
    try:
        return await read_body(await upstream.post("chat", b"{}", {}, 5.0), 100_000_000, "up")
    finally:
        await upstream.aclose()
        await eventually(lambda: not upstream._open)


@pytest.mark.usefixtures("trusted")
@on_each_loop
async def test_answers_come_over_tls_too_small_and_large_and_the_connection_is_kept(tls):
    large = bytes(range(256)) * 20_000

    async def script(peer: Peer) -> None:
        for body in (b"hi", large, b"hi"):
            await peer.request()
            await peer.send(plain(body))
        await peer.hung_up()

    async with RawServer(script, tls=tls) as server:
        upstream = Upstream("up", f"https://localhost:{server.port}/v1", {})
        for body in (b"hi", large, b"hi"):
            answer = await upstream.post("chat", b"{}" + large, {}, 5.0)
            assert await read_body(answer, len(large), "up") == body
        assert len(server.peers) == 1
        await upstream.aclose()
        await eventually(lambda: not upstream._open and not server.playing)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("truncated", [False, True])
def test_over_tls_only_a_farewell_ends_a_body_without_a_length(tls, truncated):
    """A FIN can be forged by anybody on the way; TLS has its own end. Asyncio's loop does not tell the one from the other."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        if truncated:
            peer.abort()

    async def scenario() -> None:
        async with RawServer(script, tls=tls) as server:
            if truncated:
                with pytest.raises(Disconnected):
                    await over_tls(server)
            else:
                assert await over_tls(server) == b"half"

    on_loop("uvloop", scenario())


@on_each_loop
async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tls):
    async with RawServer(always(OK), tls=tls) as server:
        with pytest.raises(Untrusted) as caught:
            await over_tls(server)
        assert caught.value.message == "up could not be trusted: its certificate was refused"
        assert not caught.value.same_target


@pytest.mark.usefixtures("trusted")
@on_each_loop
async def test_a_certificate_for_another_name_is_not_trusted(tls):
    async with RawServer(always(OK), tls=tls) as server:
        with pytest.raises(Untrusted, match="up could not be trusted: its certificate was refused"):
            await over_tls(server, "127.0.0.1")


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["plain HTTP", "hangs up"])
@on_each_loop
async def test_a_server_without_tls_is_unreachable(says):
    async def script(peer: Peer) -> None:
        await peer.send(says)

    async with RawServer(script) as server:
        with pytest.raises(Unreachable, match="up"):
            await over_tls(server)
