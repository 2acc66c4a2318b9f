"""Arrivals from public traces of LLM traffic, read line by line. Three forms, told apart by their first line:

    TIMESTAMP,ContextTokens,GeneratedTokens                                     Azure (a date and time)
    {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": […]}   Mooncake (JSON lines)
    Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type        BurstGPT (seconds)

Others that have these columns or keys, and more, are read the same way.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import orjson

from router.sim.arrivals import MOST_TOKENS, Arrival

_LONGEST_HEADER = 10_000


class TraceError(ValueError):
    """Names the file, the line and what was expected."""


_Row = tuple[int, Mapping[str, Any]]  # with the number of its line
_Rows = Callable[[Path, TextIO], Iterator[_Row]]


class _Form(NamedTuple):
    """Where a row has its time and tokens; ``seconds`` makes the one a number, ``expected`` says what it must be."""

    when: str
    prompt: str
    output: str
    seconds: Callable[[Any], float]
    expected: str

    @property
    def names(self) -> tuple[str, str, str]:
        return self.when, self.prompt, self.output


def _moment(text: Any) -> float:
    """Without a zone it is UTC: only differences count."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


_AZURE = _Form("TIMESTAMP", "ContextTokens", "GeneratedTokens", _moment, "a time like 2023-11-16 18:15:46.6805900")
_BURSTGPT = _Form("Timestamp", "Request tokens", "Response tokens", float, "seconds")
_MOONCAKE = _Form("timestamp", "input_length", "output_length", lambda ms: float(ms) / 1000, "milliseconds")
_CSV = (_AZURE, _BURSTGPT)


def read_trace(path: str | Path) -> Iterator[Arrival]:
    """In seconds from the first row on; an answer of no tokens counts as one. Raises ``TraceError``, for a row only when it is
    reached.
    """
    path = Path(path)
    with _opened(path) as lines:
        first = lines.readline(_LONGEST_HEADER).strip()
    if first.startswith("{"):
        return _arrivals(path, _MOONCAKE, _objects)
    header = next(csv.reader([first]), [])
    for form in _CSV:
        if set(form.names) <= set(header):
            return _arrivals(path, form, _rows)
    known = "; ".join(["a JSON object with " + ", ".join(_MOONCAKE.names), *(", ".join(form.names) for form in _CSV)])
    raise TraceError(
        f"{path}:1: not a trace: expected a header with the columns of one of these, or an object: {known}"
    )


def played(arrivals: Iterable[Arrival], *, speed: float = 1.0, limit: int | None = None) -> Iterator[Arrival]:
    """The first ``limit``, ``speed`` times as fast."""
    for arrival in islice(arrivals, limit):
        yield arrival._replace(at=arrival.at / speed)


def _opened(path: Path) -> TextIO:
    """What is no text becomes a character that no number has: its row is refused."""
    try:
        return path.open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {(error.strerror or type(error).__name__).lower()}") from error


def _arrivals(path: Path, form: _Form, rows: _Rows) -> Iterator[Arrival]:
    start: float | None = None
    latest = 0.0
    with _opened(path) as lines:
        for line, row in rows(path, lines):
            try:
                seconds = _when(row, form)
                prompt, output = _tokens(row, form.prompt), _tokens(row, form.output)
            except ValueError as error:
                raise TraceError(f"{path}:{line}: {error}") from error
            start = seconds if start is None else start
            at = round(seconds - start, 6)  # traces have no more; a time of day as a float has less
            if at < latest:
                raise TraceError(f"{path}:{line}: {form.when} is before that of the row above; expected rows in order")
            latest = at
            yield Arrival(at, prompt, max(1, output))


def _rows(path: Path, lines: TextIO) -> Iterator[_Row]:
    reader = csv.reader(lines)
    header = next(reader)
    try:
        for row in reader:
            if row:
                if len(row) != len(header):
                    raise TraceError(f"{path}:{reader.line_num}: {len(row)} columns; expected {len(header)}")
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise TraceError(f"{path}:{reader.line_num}: {error}; expected {len(header)} columns") from error


def _objects(path: Path, lines: TextIO) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = orjson.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise TraceError(f"{path}:{number}: expected a JSON object on one line")
            yield number, row


def _when(row: Mapping[str, Any], form: _Form) -> float:
    value = row.get(form.when)
    try:
        seconds = form.seconds(value)
    except (ValueError, TypeError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{form.when}: {value!r}; expected {form.expected}")
    return seconds


def _tokens(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MOST_TOKENS)):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
        return value
    raise ValueError(f"{name}: {value!r:.64}; expected a whole number of tokens, 0 to {MOST_TOKENS}")
