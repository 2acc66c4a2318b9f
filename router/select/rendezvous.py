"""Affinity: what belongs together goes to one target, whose cache knows it. Nothing is remembered for it.

Rendezvous hashing (Thaler & Ravishankar 1996; weights: Schindelhauer & Schomaker 2005): each pair of key and target has
a number of its own, and the highest wins. A target that leaves moves only its own keys, one that comes takes its share
of each. Bounded load (Mirrokni, Thorup, Zadimoghaddam 2016): a target with too much more than its part is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from math import log
from typing import Any

from providers import Endpoint, Request
from router.types import Call, Target

# How far above its part of all that is in flight a target may be: closer to 1 is more even, and moves more.
BOUND = 1.25
# Read of each text: what differs only later shares the target, and most of the cached prefix.
PREFIX_CHARACTERS = 1024
# Read of a list: clients may send hundreds of thousands of messages.
ITEMS = 64


def by_rendezvous(call: Call, targets: Sequence[Target], _now: float) -> list[float]:
    """Weight x the key's number for the target (-1 / ln of a hash in (0, 1)): the highest is where the key is at home,
    the second where it goes without that one. 0: passed over, more than 1.25 x its part + 1 of the calls in flight.
    """
    key = affinity_key(call)
    weights = [target.weight or 1.0 for target in targets]
    part = BOUND * sum(target.live.in_flight for target in targets) / sum(weights)
    return [
        0.0 if target.live.in_flight > part * weight + 1 else -weight / log(hash_of(key, target.id))
        for target, weight in zip(targets, weights, strict=True)
    ]


def affinity_key(call: Call) -> bytes:
    """32 bytes, the same for all that belongs together: of the session, else of how the conversation opens. What has
    neither belongs to nothing and is spread by its request id.
    """
    request = call.request
    if call.request.session:
        named = f"session\x1f{call.request.session}"
    elif opening := opening_of(request):
        named = f"opening\x1f{opening}"
    else:
        named = f"request\x1f{request.id}"
    return sha256(named.encode(errors="surrogatepass")).digest()


def hash_of(key: bytes, name: str) -> float:
    """Uniform in (0, 1), both ends excluded; the same on every machine and in every run."""
    digest = sha256(key + name.encode()).digest()
    return ((int.from_bytes(digest[:8], "big") >> 12) + 0.5) * 2.0**-52


def opening_of(request: Request) -> str:
    """The first instructions and the first words of the user: the same in every turn of a conversation. Empty if there
    are none, as for an embedding, which continues nothing.
    """
    fields = request.fields
    if request.endpoint is Endpoint.CHAT:
        return _opening(fields.get("messages"), "")
    if request.endpoint is Endpoint.RESPONSES:
        return _opening(fields.get("input"), _head(fields.get("instructions")))
    if request.endpoint is Endpoint.COMPLETIONS:
        return _head(fields.get("prompt"))
    return ""


def _opening(messages: Any, instructions: str) -> str:
    """Only what stands before the first answer: messages that come later would change the key."""
    said = _head(messages) if isinstance(messages, str) else ""
    for message in islice(messages, ITEMS) if isinstance(messages, list) else ():
        if isinstance(message, Mapping):
            role = message.get("role", "user")
            if role == "user":
                said = _head(message.get("content"))
                break
            if role in ("system", "developer"):
                instructions = instructions or _head(message.get("content"))
    return f"{instructions}\x1f{said}" if instructions or said else ""


def _head(content: Any) -> str:
    """The beginning of a text: of a string, of the texts among its parts, of numbered tokens."""
    if isinstance(content, str):
        return content[:PREFIX_CHARACTERS]
    if not isinstance(content, list):
        return ""
    return " ".join(_pieces(islice(content, ITEMS)))[:PREFIX_CHARACTERS]


def _pieces(parts: Iterable[Any]) -> Iterable[str]:
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text[:PREFIX_CHARACTERS]
        elif isinstance(text, int):
            yield str(text)
