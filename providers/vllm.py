"""vLLM's OpenAI server. The shared adapter handles what sets it apart (tests/e2e/test_real_vllm.py asks a real one):

a wrong key is ``{"error":"Unauthorized"}`` (a string); overload is a 503 without Retry-After, and ``/health`` stays 200;
a failure in mid-stream is an ``error`` event followed by ``[DONE]``; keep-alives are comments; usage may ride on every
event; ``type`` in an error is a name ("BadRequestError") or a phrase ("Service Unavailable"), ``code`` an integer; a path
that it does not serve is ``{"detail":"Not Found"}``. Nothing is ever added to a request: what ``priority`` and others do
depends on how it was started.
"""

from __future__ import annotations

from dataclasses import dataclass

from providers.openai_compatible import HttpOptions


@dataclass(frozen=True, slots=True)
class VLLMOptions(HttpOptions):
    """Needs an ``api_key`` only if it was started with ``--api-key``."""

    base_url: str = "http://127.0.0.1:8000/v1"
