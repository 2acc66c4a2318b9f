"""Adapters: how to talk to one kind of upstream, and the mapping of its failures to ours.

Knows wire formats and nothing of routing. The seam is ``Provider.open`` in ``providers.base``; the tree of
failures is drawn in ``providers.errors``; the kinds are rows in ``providers.registry``.
"""

from providers.base import Chunk, Endpoint, Provider, Request, Stream, Usage
from providers.errors import Outcome, ProviderError
from providers.registry import Kind, kinds

__all__ = ["Chunk", "Endpoint", "Kind", "Outcome", "Provider", "ProviderError", "Request", "Stream", "Usage", "kinds"]
