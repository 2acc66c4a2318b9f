"""vLLM's OpenAI server. The shared adapter handles what sets it apart:

a wrong key is ``{"error":"Unauthorized"}`` (a string); overload is a 503 without Retry-After; a failure in
mid-stream is an ``error`` event followed by ``[DONE]``; keep-alives are comments; usage may ride on every
event; ``priority`` is an error unless its scheduler has priorities, so nothing is ever added to a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from providers.openai_compatible import HttpOptions


@dataclass(frozen=True, slots=True)
class VLLMOptions(HttpOptions):
    """Needs an ``api_key`` only if it was started with ``--api-key``."""

    base_url: str = "http://127.0.0.1:8000/v1"
