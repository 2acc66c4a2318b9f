"""The page itself, read by prometheus_client's own parsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from app.api.exchange import Exchange
from app.observability.exposition import Exposition
from app.observability.metrics import Metrics
from app.version import installed_version
from app.wiring import Gateway
from providers import Usage

Over = Callable[..., Exchange]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROMETHEUS_SERVER = f"{OPENMETRICS};q=0.5,text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
PARSERS = {"": prometheus, "*/*": prometheus, "text/plain": prometheus, OPENMETRICS: openmetrics}


def samples(page: bytes, parse: Any = prometheus) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = [sample for family in parse(page.decode()) for sample in family.samples]
    by_name = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}
    assert len(by_name) == len(found), "a series twice"
    return by_name


@pytest.fixture
def exposition(gateway: Gateway, over: Over) -> Exposition:
    metrics = Metrics(gateway)
    metrics([over(("up/llama", "503"), ("backup/m", "200"), stream=True, usage=Usage(3, 9))])
    return Exposition(metrics, fresh=lambda: None)


@pytest.mark.parametrize("accept", PARSERS)
def test_both_formats_hold_the_same(exposition: Exposition, accept: str) -> None:
    page, media_type = exposition.text(accept)
    assert media_type.startswith("application/openmetrics-text" if accept == OPENMETRICS else "text/plain")
    found = samples(page, PARSERS[accept])
    labels = {"route": "m", "target": "backup/m", "outcome": "ok", "error_source": ""}
    assert found["breakwater_requests_total", frozenset(labels.items())] == 1
    gen_ai = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "mock",
        "gen_ai_request_model": "m",
        "target": "backup/m",
    }
    first_token = "gen_ai_server_time_to_first_token_seconds"
    assert found[f"{first_token}_count", frozenset(gen_ai.items())] == 1
    assert found[f"{first_token}_bucket", frozenset((gen_ai | {"le": "0.25"}).items())] == 0
    assert found[f"{first_token}_bucket", frozenset((gen_ai | {"le": "0.5"}).items())] == 1
    assert found[f"{first_token}_bucket", frozenset((gen_ai | {"le": "+Inf"}).items())] == 1
    tokens = "gen_ai_client_token_usage"
    assert found[f"{tokens}_sum", frozenset((gen_ai | {"gen_ai_token_type": "output"}).items())] == 9
    built = next(labels for name, labels in found if name == "breakwater_build_info")
    assert ("version", installed_version()) in built
    assert found["breakwater_config_generation", frozenset()] == 1
    assert found["process_resident_memory_bytes", frozenset()] > 0


def test_a_prometheus_server_gets_openmetrics(exposition: Exposition) -> None:
    assert exposition.text(PROMETHEUS_SERVER)[1].startswith("application/openmetrics-text")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("breakwater_requests", "counter"),
        ("breakwater_attempts", "counter"),
        ("breakwater_stream_truncated", "counter"),
        ("breakwater_inflight", "gauge"),
        ("breakwater_overhead_seconds", "histogram"),
        ("breakwater_config_generation", "gauge"),
        ("breakwater_build", "info"),
        ("gen_ai_server_request_duration_seconds", "histogram"),
        ("gen_ai_server_time_to_first_token_seconds", "histogram"),
        ("gen_ai_server_time_per_output_token_seconds", "histogram"),
        ("gen_ai_client_token_usage", "histogram"),
        ("process_cpu_seconds", "counter"),
    ],
)
def test_every_family_has_its_type_and_text(exposition: Exposition, name: str, kind: str) -> None:
    families = {family.name: family for family in openmetrics(exposition.text(OPENMETRICS)[0].decode())}
    assert families[name].type == kind
    assert families[name].documentation


def test_rates_have_a_zero_to_begin_from(gateway: Gateway) -> None:
    found = samples(Exposition(Metrics(gateway), fresh=lambda: None).text("")[0])
    labels = {"route": "*", "target": "backup/*", "outcome": "ok", "error_source": ""}
    assert found["breakwater_requests_total", frozenset(labels.items())] == 0
    assert found["breakwater_attempts_total", frozenset({"target": "up/llama", "outcome": "200"}.items())] == 0
    assert found["breakwater_overhead_seconds_count", frozenset()] == 0
    assert not [name for name, _ in found if name.startswith("gen_ai")]


def test_boundaries_are_those_of_the_conventions(exposition: Exposition) -> None:
    found = samples(exposition.text("")[0])
    bounds = sorted(float(dict(labels)["le"]) for name, labels in found if name.endswith("first_token_seconds_bucket"))
    assert bounds[:-1] == [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
    bounds = sorted(
        float(dict(labels)["le"]) for name, labels in found if name.endswith("request_duration_seconds_bucket")
    )
    assert bounds[:-1] == [0.01 * 2**power for power in range(14)]


def test_the_page_is_fresh(gateway: Gateway, over: Over) -> None:
    metrics = Metrics(gateway)
    pending = [over(("backup/m", "200"))]
    page, _ = Exposition(metrics, fresh=lambda: metrics(pending)).text("")
    assert b'outcome="ok",error_source=""} 1\n' in page


def test_each_of_several_workers_names_itself_on_every_line(gateway: Gateway, over: Over) -> None:
    metrics = Metrics(gateway)
    metrics([over(("backup/m", "200"))])
    found = samples(Exposition(metrics, fresh=lambda: None, worker="17").text("")[0])
    assert all(("worker", "17") in labels for _, labels in found)


def test_a_label_may_hold_anything(gateway: Gateway) -> None:
    metrics = Metrics(gateway)
    odd = 'a"b\\c\nd{e}="f",g'
    metrics.attempts.at(odd, "200").value = 4
    page, _ = Exposition(metrics, fresh=lambda: None).text("")
    assert samples(page)["breakwater_attempts_total", frozenset({"target": odd, "outcome": "200"}.items())] == 4
