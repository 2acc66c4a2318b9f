"""Every kind of fault, on the virtual clock: one plan run twice is one run, whatever the kind holds, cuts or sends twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.drills.load import planned
from app.drills.run import run
from app.drills.seen import Span
from providers.faults import FAULTS

TEXT = """\
title: t
duration: 45
traffic:
  - arrivals: {{poisson: 5}}
    stream: {stream}
fleet:
  - &server {{name: a, ttft: 0.1, tokens: 10, chunks: 3, token_interval: 0.01}}
  - {{<<: *server, name: b}}
faults:
  - {{at: 10, for: 20, target: a, kind: {kind}, share: 0.5}}
expect:
  - goodput: {{at_least: 0}}
"""


# Of what acts on streams only the other is refused.
CASES = [
    (kind, stream)
    for kind, row in FAULTS.items()
    for stream in ("true", "false")
    if stream == "true" or not row.streams
]


@pytest.mark.parametrize(("kind", "stream"), CASES)
def test_a_run_under_any_fault_can_be_had_again(kind: str, stream: str) -> None:
    made = planned(TEXT.format(kind=kind, stream=stream), "x.yaml", Path())
    first, second = run(made), run(made)
    whole = Span(0.0, 45.0)
    assert list(first.results) == list(second.results)
    assert first.injected(whole, kind) > 0
    assert first.goodput(whole) > 0.85
