"""Settings for property tests: no deadline (slow machines), and on failure the line that repeats the example."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, print_blob=True)
