"""What the gateway listens on, connects to and passes on: each address must be one that may be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from ipaddress import ip_address
from itertools import chain

from app.settings.draft import Draft
from app.settings.environment import PREFIX
from app.settings.model import Settings
from app.settings.problems import Finding, Location, twice
from providers import Endpoint
from providers.network import literal, network_of, refusal

# What the gateway answers itself, and so never passes on; all below /v1/models is a model's name.
OWN_PATHS = frozenset(
    {
        "/v1/models",
        "/v1/health",
        "/v1/ready",
        "/v1/inference/complete",
        "/v1/inference/stream",
        *(f"/v1/{endpoint.value}" for endpoint in Endpoint),
    }
)


def check(settings: Settings, draft: Draft) -> Iterator[Finding]:
    return chain(_exposed(settings), _unreachable(settings, draft), _passthrough(settings, draft))


def _exposed(settings: Settings) -> Iterator[Finding]:
    """Without authentication nobody else may reach it: whoever does can spend the providers' keys."""
    host = settings.server.host
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        message = "others could reach it here, and this version has no authentication yet"
        yield ("server", "host"), f"{message}; use 127.0.0.1 and put a proxy that authenticates in front of it"


def _unreachable(settings: Settings, draft: Draft) -> Iterator[Finding]:
    """What could only fail at every connection, and what would send keys and prompts over the internet in plain text."""
    for n, provider in enumerate(settings.providers):
        if not (hasattr(provider.options, "base_url") and hasattr(provider.options, "network")):
            continue
        url: str = provider.options.base_url
        at: Location = ("providers", n, "base_url")
        network = provider.options.network or network_of(url)
        address = literal(url)
        reason = refusal(address, network) if address is not None else None
        if reason is not None:
            yield at, f"could never be reached: {reason}"
        elif network == "public" and url.lower().startswith("http:"):
            in_file = not draft.where(at).startswith("environment")
            way_out = "`network: private`" if in_file else f"{PREFIX}PROVIDERS__{n}__NETWORK=private"
            message = "keys and prompts would cross a public network in plain text; use https"
            yield at, f"{message}, or say {way_out} if the server is in your own network"


def _passthrough(settings: Settings, draft: Draft) -> Iterator[Finding]:
    if settings.passthrough is None:
        return
    name = settings.passthrough.provider
    sound = [provider for provider in settings.providers if is_dataclass(provider.options)]
    over_http = [provider.name for provider in sound if hasattr(provider.options, "base_url")]
    for provider in sound:
        if provider.name == name not in over_http:
            ones = f"; choose one of: {', '.join(over_http)}" if over_http else ""
            message = f"is of kind {provider.kind}, which speaks no HTTP, so nothing can be passed on to it{ones}"
            yield ("passthrough", "provider"), message
    paths: list[tuple[Location, str]] = [
        (("passthrough", "paths", n), path) for n, path in enumerate(settings.passthrough.paths)
    ]
    yield from twice("path", paths, draft.where)
    for location, path in paths:
        if path in OWN_PATHS or path.startswith("/v1/models/"):
            yield location, f"the gateway answers {path} itself, so this could never act; remove it"
