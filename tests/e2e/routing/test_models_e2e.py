"""Several models on one server: one that fails takes no other along, and one that is not there is asked for once."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartGateway
from tests.e2e.faulty import status
from tests.e2e.harness import Gateway
from tests.e2e.routing.conftest import OpenClient, StartUpstream
from tests.e2e.routing.town import Client, Upstream, configuration, counted

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILURES = 3
UNKNOWN = b'{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":"model","code":404}}'


class Scene(NamedTuple):
    gateway: Gateway
    client: Client
    server: Upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(upstream: StartUpstream, gateway: StartGateway, client: OpenClient) -> Scene:
    server = await upstream("up")
    routes = [{"model": model, "targets": [{"provider": "up"}]} for model in ("sick", "well", "gone", "*")]
    alias = {"model": "alias", "targets": [{"provider": "up", "model": "sick"}]}
    defaults = {
        "breaker": {"consecutive": FAILURES, "min_calls": 1000, "open_base": 60, "max_ejected": 1},
        "retry": {"max_attempts": 1},
    }
    one = await gateway(configuration([server], [*routes, alias], defaults=defaults))
    return Scene(one, await client(one), server)


async def test_a_model_that_fails_takes_no_other_of_its_server_along(scene: Scene) -> None:
    scene.server.play("sick", "status_500")
    for _ in range(FAILURES):
        assert (await scene.client.chat("sick")).status == 502
    refused = await scene.client.chat("sick")
    assert (refused.status, refused.attempts) == (503, [])
    for model in ("well", "any-other"):
        answer = await scene.client.chat(model)
        assert (answer.status, answer.attempts) == (200, [f"up/{model}:200"])
    breakers = await counted(scene.gateway, "breakwater_breaker_state")
    assert set(breakers) == {("up/sick", "open"), ("up/well", "closed"), ("up/gone", "closed"), ("up/*", "closed")}


async def test_who_asks_for_the_same_model_by_another_name_shares_its_breaker(scene: Scene) -> None:
    asked = len(scene.server.asked("sick"))
    refused = await scene.client.chat("alias")
    assert (refused.status, refused.attempts) == (503, [])
    assert len(scene.server.asked("sick")) == asked == FAILURES


async def test_a_model_that_is_not_there_is_asked_for_once_if_its_route_names_it(scene: Scene) -> None:
    for model, asked in (("gone", 1), ("made-up", 3)):
        scene.server.play(model, status(404, UNKNOWN))
        for _ in range(3):
            assert (await scene.client.chat(model)).status in (502, 503)
        assert len(scene.server.asked(model)) == asked
    assert (await scene.client.chat("well")).status == 200
