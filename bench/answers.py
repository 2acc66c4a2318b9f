"""What the upstream answers, whichever program plays it, and what is sent to get it."""

from __future__ import annotations

import json

PLAIN_PATH = "/v1/chat/completions"
STREAM_PATH = "/streams/v1/chat/completions"

CHUNKS = 100
GAP_SECONDS = 0.02
DONE = b"data: [DONE]\n\n"


def asking(*, stream: bool) -> str:
    """The request's body. The model's name leads the gateway to the right path of the upstream."""
    words = [{"role": "user", "content": "Say hello to the harbour, please, in one sentence."}]
    return json.dumps({"model": "streamed" if stream else "plain", "stream": stream, "messages": words})


def _event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %s\n\n" % json.dumps(chunk, separators=(",", ":")).encode()


PLAIN = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hello there, this is a canned answer."},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}'
)
EVENT = _event({"content": " harbour"}, None)
# A stream is CHUNKS - 1 events like the one above, GAP_SECONDS apart, and then this in one piece.
LAST_EVENT = _event({}, "stop") + DONE
