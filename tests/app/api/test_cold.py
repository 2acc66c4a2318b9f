"""Models, health, docs, and the one error shape for all that FastAPI refuses by itself."""

from __future__ import annotations

import orjson
import pytest

from providers import Endpoint


@pytest.mark.parametrize("path", ["/health", "/healthz", "/livez", "/v1/health"])
async def test_liveness_under_all_its_names(client, path):
    answer = await client.send(path, method="GET")
    assert (answer.status, orjson.loads(answer.body)) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models"])
async def test_head_is_answered_as_get(client, path):
    assert (await client.send(path, method="HEAD")).status == 200


@pytest.mark.parametrize("path", ["/ready", "/readyz", "/v1/ready"])
async def test_readiness_under_all_its_names_shows_every_target(client, path):
    answer = await client.send(path, method="GET")
    body = orjson.loads(answer.body)
    assert (answer.status, body["status"]) == (200, "ready")
    assert [target["target"] for target in body["targets"] if target["model"] == "demo"] == [
        "fast/demo",
        "echo/demo",
        "slow/demo",
    ]


async def test_readiness_shows_what_fails(client):
    await client.send(body={"model": "dead", "messages": [{}]})
    body = orjson.loads((await client.send("/ready", method="GET")).body)
    (dead,) = [target for target in body["targets"] if target["model"] == "dead"]
    assert (dead["state"], dead["failures"], dead["in_flight"]) == ("failing", 3, 0)


async def test_models_lists_the_named_routes(client):
    body = orjson.loads((await client.send("/v1/models", method="GET")).body)
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["demo", "failing", "dead", "stuck"]
    one = await client.send("/v1/models/demo", method="GET")
    assert orjson.loads(one.body) == body["data"][0]


async def test_an_unknown_model_is_a_404(client):
    answer = await client.send("/v1/models/gpt-9", method="GET")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")


async def test_an_unknown_path_is_a_404_in_the_one_shape(client):
    answer = await client.send("/v2/nothing", method="GET")
    assert (answer.status, answer.error["code"]) == (404, "unknown_path")
    assert answer.headers["x-request-id"]


async def test_a_wrong_method_is_a_405_with_allow(client):
    answer = await client.send("/v1/models", method="DELETE")
    assert (answer.status, answer.headers["allow"], answer.error["code"]) == (405, "GET", "method_not_allowed")


async def test_the_document_is_complete_for_the_hot_endpoints_too(client):
    document = orjson.loads((await client.send("/openapi.json", method="GET")).body)
    hot = {f"/v1/{endpoint.value}" for endpoint in Endpoint}
    assert hot | {"/v1/models", "/v1/models/{model}", "/health", "/ready"} <= set(document["paths"])
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert {"200", "400", "404", "413", "429", "502", "503", "504"} <= set(chat["responses"])
    assert {parameter["name"] for parameter in chat["parameters"]} >= {"X-Provider-Priority", "X-Request-ID"}


async def test_the_docs_page_loads_nothing_from_elsewhere(client):
    page = await client.send("/docs", method="GET")
    assert page.status == 200
    assert b"://" not in page.body
    for asset in (b"/docs/assets/swagger-ui-bundle.js", b"/docs/assets/swagger-ui.css"):
        assert asset in page.body
        assert (await client.send(asset.decode(), method="GET")).status == 200
