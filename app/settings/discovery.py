"""Providers from the variables that SDKs and servers use, for when there is no file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from app.settings.draft import Draft

SIGNS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VLLM_URL", "BACKEND_URL")

# name, kind, the variable of its address, the variable of its key
_PROVIDERS = (
    ("openai", "openai", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
    ("vllm", "vllm", "VLLM_URL", "VLLM_API_KEY"),
    ("backend", "openai-compatible", "BACKEND_URL", None),
)


def discover(environ: Mapping[str, str]) -> tuple[Draft, str] | None:
    """A draft with a route for every model over what the variables name, and which they were; None without any."""
    found = [name for name in SIGNS if environ.get(name, "").strip()]
    if not found:
        return None
    source = f"the environment ({', '.join(found)})"
    draft = Draft(source)
    providers: list[dict[str, Any]] = []
    for name, kind, address, key in _PROVIDERS:
        if address not in found and key not in found:
            continue
        draft.places["providers", len(providers)] = f"environment {address if address in found else key}"
        entry: dict[str, Any] = {"name": name, "kind": kind}
        if address in found:
            entry["base_url"] = _with_path(environ[address].strip())
        if key is not None:
            entry["api_key"] = environ.get(key, "")
            draft.places["providers", len(providers), "api_key"] = f"environment {key}"
        providers.append(entry)
    draft.data = {
        "providers": providers,
        "routes": [{"model": "*", "targets": [{"provider": entry["name"]} for entry in providers]}],
    }
    return draft, source


def _with_path(address: str) -> str:
    """People give a server's address; the API of all of them begins at /v1."""
    try:
        bare = urlsplit(address).path in ("", "/")
    except ValueError:  # refused later, with everything else
        return address
    return f"{address.rstrip('/')}/v1" if bare else address
