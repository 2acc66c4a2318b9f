"""Settings from YAML and the environment: read, checked as a whole, or refused with every line that is wrong."""

from app.settings.load import Loaded, load
from app.settings.model import DefaultsSettings, RouteSettings, ServerSettings, Settings, TargetSettings
from app.settings.problems import Problem, SettingsError

__all__ = [
    "DefaultsSettings",
    "Loaded",
    "Problem",
    "RouteSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "TargetSettings",
    "load",
]
