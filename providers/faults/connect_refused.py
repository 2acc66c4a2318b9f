"""F12: nobody listens, or nobody answers."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Literal, NoReturn

from providers.errors import TimedOut, Unreachable
from providers.faults.hit import Hit


@dataclass(slots=True, eq=False)
class ConnectRefused:
    """``mode``: the connection is "refused", or a "blackhole" takes every packet and the connect timeout passes."""

    mode: Literal["refused", "blackhole"] = "refused"

    async def refuse(self, hit: Hit) -> None:
        if self.mode == "refused":
            refused(hit)
        await swallowed(hit)


def refused(hit: Hit) -> NoReturn:
    """Raises ``Unreachable``, in the words of a real one."""
    raise Unreachable(f"no connection to {hit.provider.name}: {os.strerror(errno.ECONNREFUSED)}")


async def swallowed(hit: Hit) -> None:
    """Raises ``TimedOut`` when the connect timeout is over, unless the fault ends before."""
    await hit.hold.sleep(hit.connect_timeout)
    if not hit.hold.over:
        raise TimedOut("connect", hit.connect_timeout)
