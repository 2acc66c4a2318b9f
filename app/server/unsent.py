"""How much of what was sent has not been taken by the other side: in our buffer, and in the kernel's."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios


def unsent_bytes(transport: asyncio.Transport) -> int:
    """A client that reads slowly makes this smaller, long before our own buffer sees any of it."""
    buffered = transport.get_write_buffer_size()
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except (OSError, AttributeError):  # closed already, or a system that cannot tell
        return buffered
    queued: int = struct.unpack("i", answer)[0]
    return buffered + queued
