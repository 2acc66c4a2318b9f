"""F14: the upstream cannot prove who it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from providers.errors import Untrusted
from providers.faults.hit import Hit


@dataclass(slots=True, eq=False)
class TlsError:
    """``certificate``: "expired", or for the "wrong_host". Nobody is told which, as with a real one."""

    certificate: Literal["expired", "wrong_host"] = "expired"

    async def refuse(self, hit: Hit) -> None:
        raise Untrusted(f"{hit.provider.name} could not be trusted: its certificate was refused")
