"""llama.cpp's own server. The shared adapter handles what sets it apart:

503 while the model loads; an integer ``code`` in errors; every connection closed after 5 s idle or 100
requests; comments while it reads the prompt; members that OpenAI does not have, passed on as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from providers.openai_compatible import HttpOptions, OpenAICompatible


@dataclass(frozen=True, slots=True)
class LlamaCppOptions(HttpOptions):
    base_url: str = "http://127.0.0.1:8081/v1"


class LlamaCpp(OpenAICompatible):
    # It closes the connection after each stream without a word, and a request that is sent in that moment is lost.
    reuses_after_stream = False
    # Its list of models is there already while the model is still being loaded.
    probed_path = "health"
