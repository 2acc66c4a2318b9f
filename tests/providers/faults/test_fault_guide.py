"""The guide to faults is true: its examples run, and its table is the registry."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from faulted import Attempt, upstream
from worlds import request

from providers.faults import FAULTS
from providers.openai_compatible import HttpOptions, OpenAICompatible

PAGE = (Path(__file__).parents[3] / "docs" / "adding-a-fault.md").read_text()


def told(value: Any) -> str:
    """A default as a configuration would write it; a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def test_the_table_of_the_guide_is_the_registry() -> None:
    rows = re.findall(r"^\| (F\d+) \| `(\w+)` \| (.*?) \| (.*?) \|$", PAGE, flags=re.MULTILINE)
    expected = []
    for kind, row in FAULTS.items():
        knobs = [
            f"`{knob.name}: {told(knob.default_factory() if knob.default is MISSING else knob.default)}`"
            for knob in fields(row.fault)
            if knob.init
        ]
        expected.append((row.number, kind, ", ".join(knobs) or "none", row.does))
    assert [(number, kind, knobs) for number, kind, knobs, _ in rows] == [each[:3] for each in expected]
    assert all(does.startswith(row[3]) for (*_, does), row in zip(rows, expected, strict=True))
    assert PAGE.count("\n") < 100


async def test_the_faults_in_the_guide_are_faults() -> None:
    names: dict[str, Any] = {"__name__": "guide"}
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
    exec(compile(code, "adding-a-fault.md", "exec", dont_inherit=True), names)
    async with upstream() as server:
        provider = OpenAICompatible("up", HttpOptions(server.url))
        closed = (await Attempt(names["Maintenance"](), provider).seen()).error
        noisy = await Attempt(names["Noise"](), provider).seen()
        frail = names["WearsOut"](requests=2)
        worn = [(await Attempt(frail, provider, request(f"r{number}")).seen()).label for number in range(4)]
        await provider.aclose()
    assert closed is not None
    assert (closed.label, closed.retry_after) == ("503", 60.0)
    assert noisy.error is None
    assert noisy.raw.count(b": noise\n\n") == noisy.raw.count(b"data: ")
    assert worn == ["", "", "Unreachable", "Unreachable"]
