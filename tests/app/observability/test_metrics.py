"""What is counted, under which labels, and that no client can make a label up."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from app.api.exchange import Exchange
from app.observability.metrics import Metrics
from app.observability.numbers import Count, Family, Histogram
from app.wiring import Gateway
from providers import Usage

Over = Callable[..., Exchange]


def counted(family: Family[Count]) -> dict[tuple[str, ...], int]:
    return {values: cell.value for values, cell in family.cells.items() if cell.value}


def seen(family: Family[Histogram]) -> dict[tuple[str, ...], tuple[int, float]]:
    return {values: (cell.count, round(cell.sum, 6)) for values, cell in family.cells.items() if cell.count}


@pytest.fixture
def metrics(gateway: Gateway) -> Metrics:
    return Metrics(gateway)


def test_an_answer_after_a_failover(metrics: Metrics, over: Over) -> None:
    metrics([over(("up/llama", "503"), ("backup/m", "200"))])
    assert counted(metrics.requests) == {("m", "backup/m", "ok", ""): 1}
    assert counted(metrics.attempts) == {("up/llama", "503"): 1, ("backup/m", "200"): 1}
    assert counted(metrics.truncated) == {}
    assert seen(metrics.duration) == {("chat", "mock", "m", "backup/m", ""): (1, 1.0)}
    assert seen(metrics.overhead) == {(): (1, 0.01)}
    assert seen(metrics.first_token) == {}


def test_a_stream_with_its_usage(metrics: Metrics, over: Over) -> None:
    metrics([over(("up/llama", "200"), stream=True, usage=Usage(7, 8))])
    labels = ("chat", "vllm", "m", "up/llama")
    assert seen(metrics.first_token) == {labels: (1, 0.3)}
    assert seen(metrics.per_token) == {labels: (1, 0.1)}
    assert seen(metrics.tokens) == {("input", *labels): (1, 7), ("output", *labels): (1, 8)}


def test_usage_that_is_unknown_is_not_reported(metrics: Metrics, over: Over) -> None:
    metrics([over(("up/llama", "200"), stream=True)])
    assert seen(metrics.tokens) == seen(metrics.per_token) == {}


def test_one_token_has_no_time_per_token(metrics: Metrics, over: Over) -> None:
    metrics([over(("up/llama", "200"), stream=True, usage=Usage(7, 1))])
    assert seen(metrics.per_token) == {}


def test_a_stream_that_was_cut_has_no_time_to_first_token(metrics: Metrics, over: Over) -> None:
    metrics([over(("up/llama", "200"), stream=True, end="cut", error="upstream_error")])
    assert counted(metrics.requests) == {("m", "up/llama", "truncated", "provider"): 1}
    assert counted(metrics.truncated) == {("up/llama",): 1}
    assert seen(metrics.first_token) == {}
    assert seen(metrics.duration) == {("chat", "vllm", "m", "up/llama", "upstream_error"): (1, 1.0)}


def test_what_failed_belongs_to_the_last_target_that_was_tried(metrics: Metrics, over: Over) -> None:
    metrics([over(("up/llama", "unreachable"), ("backup/m", "500"), status=502, error="upstream_error")])
    assert counted(metrics.requests) == {("m", "backup/m", "error", "provider"): 1}


def test_what_was_refused_belongs_to_nobody(metrics: Metrics, over: Over) -> None:
    metrics([over(status=400, model=None, error="invalid_json"), over(status=503, error="draining")])
    assert counted(metrics.requests) == {
        ("other", "other", "error", "client"): 1,
        ("m", "other", "error", "gateway"): 1,
    }


@pytest.mark.parametrize(
    ("path", "operation"),
    [("/v1/completions", "text_completion"), ("/v1/embeddings", "embeddings"), ("/v1/responses", "chat")],
)
def test_the_operation_is_opentelemetrys(metrics: Metrics, over: Over, path: str, operation: str) -> None:
    metrics([over(("up/llama", "200"), path=path)])
    assert seen(metrics.duration) == {(operation, "vllm", "m", "up/llama", ""): (1, 1.0)}


def test_what_is_not_inference_does_not_count(metrics: Metrics, over: Over) -> None:
    metrics([over(path=path, model=None) for path in ("/health", "/metrics", "/v1/models", "/v1/chat/completions/x")])
    assert counted(metrics.requests) == {}
    assert seen(metrics.overhead) == {}


def test_a_path_that_was_passed_on_counts_and_its_name_is_no_label(metrics: Metrics, over: Over) -> None:
    metrics([over(("up/llama", "200"), path=f"/v1/files/{number}") for number in range(3)])
    assert seen(metrics.duration) == {("other", "vllm", "m", "up/llama", ""): (3, 3.0)}


def test_ten_thousand_model_names_make_no_new_series(metrics: Metrics, over: Over) -> None:
    """S30: a label per model that a client asks for would let any client fill the memory, and Prometheus'."""
    families = (metrics.requests, metrics.attempts, metrics.duration, metrics.first_token, metrics.tokens)

    def ask() -> Exchange:
        name = f"gpt-{secrets.token_hex(8)}"
        return over(("backup/*", "200"), model=name, target=f"backup/{name}", stream=True, usage=Usage(1, 2))

    metrics([ask()])
    before = [len(family.cells) for family in families], len(metrics._cells), len(metrics._attempts)
    metrics([ask() for _ in range(10_000)])
    assert ([len(family.cells) for family in families], len(metrics._cells), len(metrics._attempts)) == before
    assert counted(metrics.requests) == {("*", "backup/*", "ok", ""): 10_001}


def test_an_upstream_cannot_make_up_outcomes(metrics: Metrics, over: Over) -> None:
    metrics([over(("up/llama", str(status)), ("backup/m", "200")) for status in range(600, 1000)])
    assert counted(metrics.attempts) == {("up/llama", "other"): 400, ("backup/m", "200"): 400}
    assert len(metrics._attempts) == 1


@pytest.mark.parametrize("label", ["429", "529", "first_token_timeout", "unreachable", "deadline"])
def test_the_outcomes_that_there_are_keep_their_names(metrics: Metrics, over: Over, label: str) -> None:
    metrics([over(("up/llama", label), ("backup/m", "200"))])
    assert counted(metrics.attempts)["up/llama", label] == 1


def test_what_runs_is_told_by_the_targets_name_whatever_route_it_came_by(gateway: Gateway, metrics: Metrics) -> None:
    for route, running in (("m", 2), ("n", 3)):
        gateway.routes.find(route).targets[-1].live.in_flight += running
    metrics.look()
    assert {values: cell.value for values, cell in metrics.in_flight.cells.items()} == {
        ("up/llama",): 0,
        ("backup/m",): 5,
        ("backup/*",): 0,
    }
