"""Configuration in: a file, the environment, or the built-in demo. Out: frozen settings, or every problem at once.

    file or environment ─► Draft ─ overlay ─► validate ─ check ─► Settings ─ lint ─► warnings
                           data and lines     pydantic   how parts fit

Reads no environment by itself and makes no objects of the running gateway.
"""

from app.settings.load import Examined, Loaded, examine, installed_kinds, load
from app.settings.model import (
    ANY_MODEL,
    AdminSettings,
    DefaultsSettings,
    PassthroughSettings,
    ProviderSettings,
    RouteSettings,
    ServerSettings,
    Settings,
    TargetSettings,
    TelemetrySettings,
)
from app.settings.problems import Problem, SettingsError

__all__ = [
    "ANY_MODEL",
    "AdminSettings",
    "DefaultsSettings",
    "Examined",
    "Loaded",
    "PassthroughSettings",
    "Problem",
    "ProviderSettings",
    "RouteSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "TargetSettings",
    "TelemetrySettings",
    "examine",
    "installed_kinds",
    "load",
]
