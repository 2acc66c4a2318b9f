from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.settings import Examined, Loaded, Problem, SettingsError, examine, load

Load = Callable[..., Loaded]
Complain = Callable[..., list[str]]
Warn = Callable[..., list[str]]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """``loaded(yaml, environ)``: the text is breakwater.yaml in the working directory; None is no file."""

    def run(text: str | bytes | None, environ: Mapping[str, str] | None = None) -> Loaded:
        if text is not None:
            (tmp_path / "breakwater.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return load(None, environ or {}, tmp_path)

    return run


@pytest.fixture
def problems(loaded: Load) -> Callable[..., tuple[Problem, ...]]:
    def run(*arguments: Any) -> tuple[Problem, ...]:
        with pytest.raises(SettingsError) as caught:
            loaded(*arguments)
        assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
        return caught.value.problems

    return run


@pytest.fixture
def complaints(problems: Callable[..., tuple[Problem, ...]]) -> Complain:
    """``complaints(yaml, environ)``: all problems as text, each "where: key: message"."""

    def run(*arguments: Any) -> list[str]:
        return [str(problem) for problem in problems(*arguments)]

    return run


@pytest.fixture
def examined(tmp_path: Path) -> Callable[..., Examined]:
    def run(text: str, environ: Mapping[str, str] | None = None) -> Examined:
        (tmp_path / "breakwater.yaml").write_text(text)
        return examine(None, environ or {}, tmp_path)

    return run


@pytest.fixture
def warnings(examined: Callable[..., Examined]) -> Warn:
    """All warnings of a configuration that can be used, without the file's name."""

    def run(*arguments: Any) -> list[str]:
        found = examined(*arguments)
        assert found.errors == ()
        assert found.loaded is not None
        return [str(problem).removeprefix("breakwater.yaml:") for problem in found.warnings]

    return run
