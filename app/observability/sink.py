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
EVERYTHING = sys.maxsize
ROOM_OF_TERMINALS = 256  # Linux calls one writable while it has fewer characters than that to show
RETRY_SECONDS = 0.05
LAST_SECONDS = 1.0


class Output(Protocol):
    """What is needed of a file."""

    def write(self, data: bytes, /) -> object: ...


class Sink:
    """A descriptor and the lines that wait for it: up to ``most`` bytes, then whole writes are ``dropped`` and counted, and in their
    place comes a line that says how many.

    From any thread, and from the middle of another write: the garbage collector may run there, and what dies may have something
    to say. So nobody waits for the lock; who has it sends what others have put into the inbox.
    """

    def __init__(self, descriptor: int, most: int = MOST_BYTES) -> None:
        self.dropped = 0
        self._most = most
        self._descriptor, self._at_once = _unblocked(descriptor)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)
        self._lock = threading.Lock()
        self._inbox: deque[bytes] = deque()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._missing = 0  # after the pieces, or instead of them
        self._torn = False  # the last line that arrived has no end
        self._retrying: asyncio.AbstractEventLoop | None = None

    def write(self, lines: bytes) -> int:
        """Whole lines. Never waits, never fails."""
        self._inbox.append(lines)
        while self._inbox and self._lock.acquire(blocking=False):
            try:
                self._take()
                if self._pieces:
                    self._retry_later()
            finally:
                self._lock.release()
        return len(lines)

    def finish(self, seconds: float = LAST_SECONDS) -> None:
        """At the end of the process: whoever reads has so long for what waits still."""
        with self._lock:
            self._take()
            self._send(monotonic() + seconds)

    def _take(self) -> None:
        """What is in the inbox, sent or queued or lost."""
        while self._inbox:
            lines = self._inbox.popleft()
            if self._is_too_much(lines):
                self._send()
            if self._is_too_much(lines):
                self._lose(lines.count(b"\n"))
            else:
                self._add(lines)
                self._send()

    def _is_too_much(self, lines: bytes) -> bool:
        return self._missing > 0 or (bool(self._pieces) and self._size + len(lines) > self._most)

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
                self._add(_told(told, torn=self._torn))
                self._torn = False
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
            self._torn = sent < len(pieces[0])
            if self._torn:
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
        if self._retrying is not loop:
            self._retrying = loop
            loop.call_later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        self._retrying = None
        with self._lock:
            self._send()
            if self._pieces:
                self._retry_later()


def _unblocked(descriptor: int) -> tuple[int, int]:
    """What to write to, and how much of it at once at most.

    ``poll`` promises little of a terminal. To make ours non-blocking would make that of the shell and of all others so; opened a
    second time it is ours alone, and takes what it has room for.
    """
    if not os.isatty(descriptor):
        kind = os.fstat(descriptor).st_mode
        return descriptor, EVERYTHING if stat.S_ISREG(kind) or stat.S_ISCHR(kind) else AT_ONCE
    try:
        return os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK), EVERYTHING
    except OSError:  # it belongs to somebody else, and may still keep us waiting
        return descriptor, ROOM_OF_TERMINALS


def _told(missing: int, *, torn: bool) -> bytes:
    line = {"lines": missing, "event": "log lines dropped", "level": "warning", "ts": datetime.now(UTC)}
    return b"\n" * torn + orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


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
