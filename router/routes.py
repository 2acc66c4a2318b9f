"""Which route serves a model name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from router.errors import ModelNotFound
from router.types import Route


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes of one configuration. ``anything`` serves the models that no other route names."""

    named: Mapping[str, Route]
    anything: Route | None = None

    def find(self, model: str) -> Route:
        """Raises ``ModelNotFound``."""
        route = self.named.get(model, self.anything)
        if route is None:
            raise ModelNotFound(model, sorted(self.named))
        return route
