from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module")
def only_own_garbage() -> None:
    """For tests that look for what an attempt has left behind, hundreds of times: what thousands of tests before them have is not
    walked again.
    """
    gc.collect()
    gc.freeze()
