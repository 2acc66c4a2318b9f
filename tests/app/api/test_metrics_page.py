"""GET /metrics, after real requests through the whole program."""

from __future__ import annotations

import orjson
from prometheus_client.parser import text_string_to_metric_families


async def ask(client, model="demo", **more):
    return await client.send(body={"model": model, "messages": [{"role": "user", "content": "hi"}], **more})


async def summary(client):
    answer = await client.send("/metrics", method="GET", accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    return orjson.loads(answer.body)


async def test_text_is_what_a_plain_get_gives(client):
    await ask(client)
    answer = await client.send("/metrics", method="GET")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    counted = {sample.labels["target"]: sample.value for sample in found["breakwater_attempts"].samples}
    assert sum(counted.values()) == 1


async def test_json_adds_up_what_happened(client):
    await ask(client)
    await ask(client, "failing", stream=True, stream_options={"include_usage": True})
    await ask(client, "dead")
    await ask(client, "nobody")
    told = await summary(client)
    assert (told["request_count"], told["error_count"]) == (4, 2)
    assert told["errors_by_source"] == {"gateway": 0, "provider": 1, "client": 1}
    assert told["total_latency_ms"] > 0
    assert abs(told["average_latency_ms"] * 4 - told["total_latency_ms"]) < 0.01
    assert 0 < told["average_overhead_ms"] < 1000
    assert (told["in_flight"], told["streams_truncated"]) == (0, 0)
    assert told["output_tokens"] == 10
    broken, fast = told["targets"]["broken/dead"], told["targets"]["fast/failing"]
    assert (broken["requests"], broken["errors"], broken["attempts"], broken["failed_attempts"]) == (1, 1, 3, 3)
    assert (fast["requests"], fast["errors"], fast["attempts"], fast["failed_attempts"]) == (1, 0, 1, 0)
    assert fast["average_first_token_ms"] > 0
    assert broken["average_first_token_ms"] is None
    assert told["targets"]["broken/failing"]["failed_attempts"] == told["targets"]["fast/demo"]["attempts"] == 1


async def test_before_anything_happened_there_is_nothing_to_average(client):
    told = await summary(client)
    assert (told["request_count"], told["total_latency_ms"], told["average_latency_ms"]) == (0, 0, None)
    assert set(told["targets"]) == {
        *("fast/demo", "echo/demo", "slow/demo", "broken/failing", "fast/failing", "broken/dead", "slow/stuck"),
    }


async def test_reading_metrics_does_not_count(client):
    for path in ("/metrics", "/health", "/nowhere"):
        await client.send(path, method="GET")
    assert (await summary(client))["request_count"] == 0


async def test_it_is_in_the_document_with_all_its_forms(client):
    document = orjson.loads((await client.send("/openapi.json", method="GET")).body)
    answer = document["paths"]["/metrics"]["get"]["responses"]
    assert set(answer) == {"200"}
    assert set(answer["200"]["content"]) == {"text/plain", "application/openmetrics-text", "application/json"}
    described = document["components"]["schemas"]["MetricsSummary"]["properties"]
    assert {"request_count", "error_count", "total_latency_ms"} <= set(described)
    assert set(described) == set(await summary(client))


async def test_secrets_are_in_no_number(client):
    """S28: neither what the client sent nor its key comes out here."""
    await client.send(
        body={"model": "demo", "messages": [{"role": "user", "content": "sk-canary-prompt"}], "user": "sk-canary-user"},
        authorization="Bearer sk-canary-key",
        x_request_id="sk-canary-id",
    )
    await ask(client, "sk-canary-model")
    for accept in ("", "application/json", "application/openmetrics-text"):
        answer = await client.send("/metrics", method="GET", accept=accept)
        assert b"canary" not in answer.body
