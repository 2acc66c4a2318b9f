"""Standard output that holds nobody up. Who reads the log may stand still (a full pipe, a stopped terminal); requests may not.

Of the kernel's promises one is enough: if ``poll`` says that a pipe can be written to, PIPE_BUF bytes fit.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
import threading
from collections import deque
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol

import orjson

MOST_BYTES = 4_000_000
AT_ONCE = select.PIPE_BUF
RETRY_SECONDS = 0.05
LAST_SECONDS = 1.0


class Output(Protocol):
    """What loggers need of a file."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> None: ...


class Sink:
    """A descriptor and the lines that wait for it: up to ``most`` bytes, then whole writes are ``dropped`` and counted, and in their
    place comes a line that says how many. From any thread.
    """

    def __init__(self, descriptor: int, most: int = MOST_BYTES) -> None:
        self.dropped = 0
        self._descriptor = descriptor = _unblocked(descriptor)
        self._most = most
        # Where nobody reads at the other end there is always room, and a terminal of ours takes what it has room for.
        kind = os.fstat(descriptor).st_mode
        self._at_once = sys.maxsize if stat.S_ISREG(kind) or stat.S_ISCHR(kind) else AT_ONCE
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._lock = threading.Lock()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._missing = 0  # after the pieces, or instead of them
        self._retrying = False

    def write(self, lines: bytes) -> int:
        """Whole lines. Never waits, never fails."""
        with self._lock:
            if self._missing or (self._pieces and self._size + len(lines) > self._most):
                self._send()
            if self._missing or (self._pieces and self._size + len(lines) > self._most):
                self._lose(lines.count(b"\n"))
            else:
                self._add(lines)
                self._send()
            if self._pieces and not self._retrying:
                self._retry_later()
        return len(lines)

    def flush(self) -> None:
        """There is nothing that could be sent and has not been."""

    def finish(self, seconds: float = LAST_SECONDS) -> None:
        """At the end of the process: whoever reads has so long for what waits still."""
        with self._lock:
            self._send(monotonic() + seconds)

    def _add(self, lines: bytes) -> None:
        """Cut at the ends of lines, where that is possible: several processes may write to one pipe."""
        begin, end = 0, len(lines)
        while end - begin > self._at_once:
            cut = lines.rfind(b"\n", begin, begin + self._at_once) + 1 or begin + self._at_once
            self._pieces.append(lines[begin:cut])
            begin = cut
        self._pieces.append(lines[begin:] if begin else lines)
        self._size += end

    def _send(self, until: float = 0.0) -> None:
        """What there is room for; ``until``: wait for room, on the clock of ``monotonic``."""
        pieces = self._pieces
        while pieces or self._missing:
            if not self._poll.poll(max(0.0, until - monotonic()) * 1000 if until else 0):
                return
            told = 0
            if not pieces:
                told, self._missing = self._missing, 0
                self._add(_told(told))
            try:
                sent = os.write(self._descriptor, pieces[0])
            except BlockingIOError:  # a terminal, or one that somebody has made so: that much does not fit
                return
            except OSError:  # the reader has gone, the disk is full
                self._missing += told
                self._lose(0 if told else sum(piece.count(b"\n") for piece in pieces))
                pieces.clear()
                self._size = 0
                return
            self._size -= sent
            if sent < len(pieces[0]):
                pieces[0] = pieces[0][sent:]
            else:
                pieces.popleft()

    def _lose(self, lines: int) -> None:
        self.dropped += lines
        self._missing += lines

    def _retry_later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # before the loop runs, or in another thread: the next line will do it
            return
        self._retrying = True
        loop.call_later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        with self._lock:
            self._retrying = False
            self._send()
            if self._pieces:
                self._retry_later()


def _unblocked(descriptor: int) -> int:
    """``poll`` promises little of a terminal. To make ours non-blocking would make that of the shell and of all others so; opened a
    second time it is ours alone.
    """
    try:
        return os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # it is none, or one of somebody else
        return descriptor


def _told(missing: int) -> bytes:
    line = {"lines": missing, "event": "log lines dropped", "level": "warning", "ts": datetime.now(UTC)}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


_SINKS: dict[int, Sink] = {}


def finish() -> None:
    """What waits still, at the end of the process."""
    for sink in _SINKS.values():
        sink.finish()


def dropped() -> int:
    """Lines that nobody will read."""
    return sum(sink.dropped for sink in _SINKS.values())


def standard_output() -> Output:
    """The one of this process; where that has no descriptor of its own, itself."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # replaced by something in memory, or closed
        return sys.stdout.buffer
    sink = _SINKS.get(descriptor)
    if sink is None:
        sink = _SINKS[descriptor] = Sink(descriptor)
    return sink
