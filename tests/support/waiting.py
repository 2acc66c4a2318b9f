"""Ports, and waiting for real processes. They give no sign but their sockets, so those are asked again and again."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

POLL_SECONDS = 0.01


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def refuses(port: int) -> bool:
    """Nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(condition: Callable[[], bool], within: float, otherwise: Callable[[], str]) -> None:
    """For tests without a loop; those with one use ``tests.e2e.harness.eventually``. Fails with ``otherwise()``."""
    give_up = time.monotonic() + within
    while not condition():
        assert time.monotonic() < give_up, otherwise()
        time.sleep(POLL_SECONDS)
