"""The version that is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """From the package's metadata; "unknown" in a bare checkout."""
    try:
        return version("breakwater-gateway")
    except PackageNotFoundError:
        return "unknown"
