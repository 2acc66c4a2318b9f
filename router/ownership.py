"""Which provider holds a response that was created through us: what is asked about it later must go there.

In memory, bounded, and of this process alone: what is not here any more, or was created elsewhere, has no owner.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson

from providers.errors import Malformed
from providers.sse import Splitter, parse
from router.types import Pin, Route

MAX_RESPONSES = 100_000
# Real ones have about 55 characters; a provider must not fill our memory with longer ones.
MAX_ID = 256


class Ownership:
    """Response id → provider name, the least recently used forgotten first. 100,000 of them take about 20 MB."""

    def __init__(self, capacity: int = MAX_RESPONSES) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._owners)

    def learn(self, response_id: str | None, provider: str) -> None:
        if response_id is None or not 0 < len(response_id) <= MAX_ID:
            return
        self._owners[response_id] = provider
        self._owners.move_to_end(response_id)
        if len(self._owners) > self._capacity:
            self._owners.popitem(last=False)

    def find(self, response_id: str) -> str | None:
        owner = self._owners.get(response_id)
        if owner is not None:
            self._owners.move_to_end(response_id)
        return owner

    def pin_for(self, fields: Mapping[str, Any], route: Route) -> Pin | None:
        """Where a request must go that continues an earlier response; None if it continues none that we know, or one of
        a provider that this route does not have.
        """
        previous = fields.get("previous_response_id")
        owner = self.find(previous) if isinstance(previous, str) else None
        if owner is None or all(target.provider.name != owner for target in route.targets):
            return None
        return Pin((owner,), sticky=True)


def response_id_in(raw: bytes) -> str | None:
    """The response's id in a whole body, or in the first events of a stream (``response.created`` and its like)."""
    if raw.lstrip()[:1] == b"{":
        return _id_of(_loads(raw))
    try:
        events = Splitter().feed(raw)
    except Malformed:
        return None
    for event in events:
        _, data = parse(event)
        payload = _loads(data) if data else None
        found = _id_of(payload.get("response")) if isinstance(payload, dict) else None
        if found is not None:
            return found
    return None


def _id_of(response: Any) -> str | None:
    found = response.get("id") if isinstance(response, dict) else None
    return found if isinstance(found, str) and found else None


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        return None
