"""What the gateway listens on, connects to and passes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from app.settings import load
from app.settings.addresses import OWN_PATHS
from app.wiring import build

Complain = Callable[..., list[str]]
MINIMAL = "providers: [{name: e, kind: echo}]\nroutes: [{model: m, targets: [{provider: e}]}]\n"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "0", "192.168.1.7", "10.0.0.1", "8.8.8.8", "fe80::1", "gateway.example.com", "gateway"]
)
def test_without_authentication_nobody_else_may_reach_it(complaints: Complain, host: str) -> None:
    told = (
        "others could reach it here, and this version has no authentication yet; "
        "use 127.0.0.1 and put a proxy that authenticates in front of it"
    )
    assert complaints(f"{MINIMAL}server: {{host: '{host}'}}") == [f"breakwater.yaml:3: server.host: {told}"]
    assert complaints(MINIMAL, {"HOST": host}) == [f"environment HOST: server.host: {told}"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_is_fine(loaded: Callable[..., Any], host: str) -> None:
    assert loaded(f"{MINIMAL}server: {{host: '{host}'}}").settings.server.host == host


def http(options: str) -> str:
    """A configuration whose line 2 is the provider."""
    return f"providers:\n- {{name: p, kind: openai-compatible, {options}}}\nroutes: [{{model: m, targets: [{{provider: p}}]}}]"


LINK_LOCAL = "its address is link-local, where metadata services live; that is never allowed"
PRIVATE = "write `network: private` if the server is in your own network"
PLAIN = (
    "keys and prompts would cross a public network in plain text; use https, "
    "or say `network: private` if the server is in your own network"
)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("base_url: 'http://169.254.169.254/v1'", f"could never be reached: {LINK_LOCAL}"),
        ("base_url: 'https://169.254.169.254/v1', network: private", f"could never be reached: {LINK_LOCAL}"),
        ("base_url: 'http://0xa9fea9fe/v1'", f"could never be reached: {LINK_LOCAL}"),
        ("base_url: 'http://2852039166/v1'", f"could never be reached: {LINK_LOCAL}"),
        ("base_url: 'http://[::ffff:169.254.169.254]/v1'", f"could never be reached: {LINK_LOCAL}"),
        ("base_url: 'http://[fd00:ec2::254]/v1'", "could never be reached: its address is a cloud's metadata or platform service; that is never allowed"),
        ("base_url: 'http://0.0.0.0:8000/v1'", "could never be reached: its address is unspecified; that is never allowed"),
        ("base_url: 'https://192.0.2.1/v1'", "could never be reached: its address is for documentation; that is never allowed"),
        ("base_url: 'https://10.1.2.3/v1', network: public", f"could never be reached: its address is private; {PRIVATE}"),
        ("base_url: 'https://127.1/v1', network: public", f"could never be reached: its address is loopback; {PRIVATE}"),
        ("base_url: 'http://api.example.com/v1'", PLAIN),
        ("base_url: 'HTTP://api.example.com/v1'", PLAIN),
        ("base_url: 'http://8.8.8.8/v1'", PLAIN),
        ("base_url: 'http://vllm/v1', network: public", PLAIN),
    ],
)  # fmt: skip
def test_an_address_that_may_not_be_used(complaints: Complain, options: str, wanted: str) -> None:
    assert complaints(http(options)) == [f"breakwater.yaml:2: providers[0].base_url: {wanted}"]


@pytest.mark.parametrize(
    "options",
    [
        "base_url: 'https://api.example.com/v1'",
        "base_url: 'https://api.example.com/v1', network: public",
        "base_url: 'http://api.example.com/v1', network: private",
        "base_url: 'http://8.8.8.8/v1', network: private",
        "base_url: 'http://vllm:8000/v1'",
        "base_url: 'http://vllm.models.svc.cluster.local/v1'",
        "base_url: 'http://127.1:8000/v1'",
        "base_url: 'http://[fd00::1]/v1', network: null",
        "base_url: 'http://100.64.0.1/v1'",
    ],
)
def test_an_address_that_may(loaded: Callable[..., Any], options: str) -> None:
    assert loaded(http(options)).settings


def test_a_network_is_public_or_private(complaints: Complain) -> None:
    assert complaints(http("base_url: 'https://h/v1', network: intranet")) == [
        "breakwater.yaml:2: providers[0].network: must be 'public' or 'private'"
    ]


def test_the_way_out_where_there_is_no_file(tmp_path: Path, complaints: Complain) -> None:
    environ = {"OPENAI_API_KEY": "k", "BACKEND_URL": "http://models.example.com"}
    assert complaints(None, environ) == [
        (
            "environment BACKEND_URL: providers[1].base_url: keys and prompts would cross a public network in plain text; "
            "use https, or say BREAKWATER_PROVIDERS__1__NETWORK=private if the server is in your own network"
        )
    ]
    done = load(None, environ | {"BREAKWATER_PROVIDERS__1__NETWORK": "private"}, tmp_path)
    assert done.settings.providers[1].options.network == "private"


def passing(paths: str, provider: str = "p") -> str:
    """A configuration whose line 6 has the paths."""
    return f"""\
providers:
- {{name: p, kind: openai}}
- {{name: e, kind: echo}}
routes: [{{model: m, targets: [{{provider: p}}, {{provider: e}}]}}]
passthrough:
  paths: {paths}
  provider: {provider}
"""


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files",
        "/v1/files/*",
        "/v1/*",
        "/v1/vector_stores/vs_1/file_batches/*",
        "/v1/chat/completions/*",
        "/v1/responses/*",
        "/v1/fine_tuning/jobs",
        "/v1/a-b~c:d.e_f",
    ],
)
def test_a_path_that_can_be_passed_on(loaded: Callable[..., Any], path: str) -> None:
    settings = loaded(passing(f"['{path}']")).settings
    assert settings.passthrough.provider == "p"
    assert settings.passthrough.paths == [path]


PATTERN = "must be a path such as /v1/files, or end in /* for everything below it, such as /v1/files/*"


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "*", "/*", "/v1", "/v1/", "v1/files", "/v2/files", "/files", "/v1/files/", "/v1//files", "/v1/files*", "/v1/*/files",
        "/v1/files/**", "/v1/files/*/", "/v1/f*/*", "/v1/../admin", "/v1/./files", "/v1/files/..", "/v1/files?x=1", "/v1/files#x",
        "/v1/fi les", "/v1/%66iles", "/v1/a;b", "/v1/a@b", "/v1/größe", "/v1/files\\n", "https://h/v1/files", "/V1/files",
    ],
)  # fmt: skip
def test_a_path_that_is_none(complaints: Complain, path: str) -> None:
    assert complaints(passing(f'["{path}"]')) == [f"breakwater.yaml:6: passthrough.paths[0]: {PATTERN}"]


@pytest.mark.parametrize("path", [*sorted(OWN_PATHS), "/v1/models/*", "/v1/models/gpt-4o"])
def test_a_path_that_is_the_gateways_own(complaints: Complain, path: str) -> None:
    assert complaints(passing(f"['/v1/files', '{path}']")) == [
        f"breakwater.yaml:6: passthrough.paths[1]: the gateway answers {path} itself, so this could never act; remove it"
    ]


def paths_of(routes: Iterable[Any]) -> Iterator[str]:
    for route in routes:
        included = getattr(route, "original_router", None)
        yield from [route.path] if included is None else paths_of(included.routes)


async def test_no_path_of_the_gateway_is_forgotten(tmp_path: Path) -> None:
    gateway = build(load(None, {}, tmp_path).settings)
    edge = create_app(gateway)
    hot = {path.decode() for path in edge._hot}
    served = {path for path in hot.union(paths_of(edge._cold.routes)) if path.startswith("/v1/")}
    assert served - {"/v1/models/{model:path}"} == OWN_PATHS
    await gateway.aclose()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            passing("[/v1/files]", "e"),
            [
                ("7: passthrough.provider: is of kind echo, which speaks no HTTP, so nothing can be passed on to it; "
                "choose one of: p")
            ],
        ),
        (passing("[/v1/files]", "q"), ["7: passthrough.provider: unknown provider; known here: e, p"]),
        (passing("[/v1/a, /v1/b, /v1/a]"), ['6: passthrough.paths[2]: a second path "/v1/a"; the first is at breakwater.yaml:6']),
        (passing("[]"), ["6: passthrough.paths: needs at least one"]),
        (passing("/v1/files"), ["6: passthrough.paths: must be a list"]),
        (passing("[/v1/files]\n  path: x"), ['7: passthrough.path: unknown key; did you mean "paths"?']),
        (f"{MINIMAL}passthrough: {{}}", ["3: passthrough.paths: is missing", "3: passthrough.provider: is missing"]),
        (
            f"{MINIMAL}passthrough: {{provider: e, paths: [/v1/files]}}",
            ["3: passthrough.provider: is of kind echo, which speaks no HTTP, so nothing can be passed on to it"],
        ),
        (f"{MINIMAL}passthrough: 5", ["3: passthrough: must be a mapping of keys to values"]),
    ],
)  # fmt: skip
def test_a_passthrough_that_could_not_act(complaints: Complain, text: str, wanted: list[str]) -> None:
    assert complaints(text) == [f"breakwater.yaml:{line}" for line in wanted]


def test_a_provider_for_passthrough_alone_is_used(loaded: Callable[..., Any]) -> None:
    text = passing("[/v1/files]").replace("[{provider: p}, {provider: e}]", "[{provider: e}]")
    assert loaded(text).settings.passthrough.provider == "p"


@pytest.mark.parametrize("line", ["passthrough:", "passthrough: null"])
def test_passthrough_is_off_unless_it_is_asked_for(loaded: Callable[..., Any], line: str) -> None:
    assert loaded(f"{MINIMAL}{line}").settings.passthrough is None
