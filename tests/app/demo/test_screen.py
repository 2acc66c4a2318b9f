"""What the demo shows: true, within the screen, and with a line that can be pasted."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from app.demo.figures import figures
from app.demo.report import line, summary
from app.demo.screen import screen, sparkline


def drawn(shown: RenderableType, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(shown)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def busy(stage: Any) -> None:
    """40 seconds in which mock_flaky fails every other call and, at the end, all of them."""
    for second in range(40):
        for _ in range(12):
            stage.happens(second + 0.5, ("mock_steady", "200"))
        stage.happens(second + 0.6, ("mock_flaky", "502"), ("mock_slow", "200"), took=2.0)
        stage.happens(second + 0.7, ("mock_flaky", "200"), stream=False)
    flaky = stage.world.gateway.routes.named["demo"].targets[1]
    flaky.live.failures = 117


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60)])
@pytest.mark.parametrize("traffic", [busy, lambda _: None], ids=["busy", "quiet"])
def test_it_fits(stage: Any, traffic: Any, width: int, height: int) -> None:
    traffic(stage)
    lines = drawn(screen(stage.world, stage.traffic, stage.at(40), width, height), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_the_curl_line_is_whole_and_at_the_beginning_of_its_lines(stage: Any) -> None:
    lines = drawn(screen(stage.world, stage.traffic, stage.at(1), 80, 24))
    assert [line.rstrip() for line in lines[-2:]] == [
        f"curl -si {stage.world.url}/v1/chat/completions --json \\",
        """  '{"model":"demo","messages":[{"role":"user","content":"Hello?"}]}'""",
    ]


def test_it_says_where_everything_is(stage: Any) -> None:
    text = "\n".join(drawn(screen(stage.world, stage.traffic, stage.at(1), 80, 24)))
    for address in (f"{stage.world.url}/v1", f"{stage.world.url}/docs", stage.world.metrics_url):
        assert address in text


def test_targets_and_failovers_are_shown(stage: Any) -> None:
    busy(stage)
    lines = drawn(screen(stage.world, stage.traffic, stage.at(40), 100, 30), 100)
    (steady,) = [line for line in lines if line.startswith("mock_steady")]
    (flaky,) = [line for line in lines if line.startswith("mock_flaky")]
    assert steady.split()[2:] == ["12.0", "480", "0", "100", "ms", "100", "ms", "ok"]
    assert flaky.split()[-2:] == ["failing", "×117"]
    assert (flaky.count("█"), flaky.count("░")) == (2, 3)  # one a second each, of 5 characters
    assert any("mock_flaky 502 → mock_slow 200  200 ms, stream" in line for line in lines)
    (clients,) = [line for line in lines if line.startswith("clients")]
    assert clients.split("  ")[1] == "560 requests, 0 errors"
    assert "40 failures of providers absorbed" in clients


def test_the_numbers_are_those_of_the_metrics(stage: Any) -> None:
    stage.happens(1, ("mock_flaky", "502"), ("mock_steady", "503"), ("mock_slow", "503"), status=502)
    stage.happens(1, ("mock_flaky", "unreachable"), ("mock_steady", "200"))
    stage.happens(1, ("mock_steady", "200"), end="cut", error="upstream_error")
    stage.happens(1, ("mock_steady", "200"), end="client_closed", status=499)
    stage.happens(1, status=400)
    shown = figures(stage.world, stage.traffic, stage.at(2))
    assert (shown.requests, shown.streams) == (5, 1)
    assert shown.client_errors == 2  # the first and the one that was cut; the last two are the clients' own doing
    assert shown.failures == {
        ("mock_flaky", "502"): 1,
        ("mock_flaky", "unreachable"): 1,
        ("mock_steady", "503"): 1,
        ("mock_slow", "503"): 1,
    }
    counted = sum(cell.value for cell in stage.world.metrics.attempts.cells.values())
    assert counted == sum(target.answered + target.failed for target in shown.targets) == 7


def test_a_line_for_where_there_is_no_terminal(stage: Any) -> None:
    busy(stage)
    told = line(figures(stage.world, stage.traffic, stage.at(40)))
    assert "560 requests, 0 errors, 40 failures absorbed" in told
    assert "mock_steady 12.0/s" in told
    assert "mock_flaky 2.0/s (failing, 117 in a row)" in told


def test_the_summary_fits_on_one_screen_and_says_what_failed(stage: Any) -> None:
    busy(stage)
    lines = drawn(summary(figures(stage.world, stage.traffic, stage.at(40))))
    assert len(lines) < 24
    text = "\n".join(lines)
    assert "560  requests in 40 s, 520 of them streams" in text
    assert "40  calls to providers failed: 40 × mock_flaky 502" in text
    assert "0  errors reached a client" in text


def test_a_summary_of_nothing(stage: Any) -> None:
    text = "\n".join(drawn(summary(figures(stage.world, stage.traffic, stage.at(1)))))
    assert "0  requests in 1 s" in text
    assert "0  calls to providers failed" in text
    assert "×" not in text


@pytest.mark.parametrize(
    ("values", "most", "expected"),
    [([], 1, ""), ([0, 0], 1, "  "), ([1, 8, 15], 15, "▁▅█"), ([1], 1, "▅"), ([1, 100], 100, "▁█")],
)
def test_sparklines(values: list[int], most: int, expected: str) -> None:
    assert sparkline(values, most) == expected
