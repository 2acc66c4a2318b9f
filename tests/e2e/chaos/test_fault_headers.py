"""X-Fault on real sockets: a request that brings its own fault, for itself alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.api.signed_fault import signed
from tests.e2e.chaos.site import TOKEN, Site, open_site

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAULT: dict[str, Any] = {"kind": "http_5xx", "target": "first", "statuses": [503]}


def header(expires_in: float = 60, token: str = TOKEN, **more: Any) -> str:
    return signed(FAULT | more, int(time.time() + expires_in), token)


def tampered() -> str:
    """Somebody else's payload under our signature."""
    mine, other = header().partition("."), header(statuses=[500]).partition(".")
    return "".join((other[0], *mine[1:]))


async def test_a_signed_fault_acts_on_its_own_request_alone(site: Site) -> None:
    asked = [site.ask(f"plain-{n}") for n in range(10)]
    answers = await asyncio.gather(site.ask("mine", X_Fault=header()), *asked)
    assert answers[0].headers["x-attempts"] == "first/f:503,spare/m:200"
    assert answers[0].headers["x-fault"] == "http_5xx-mine"
    assert {answer.headers["x-attempts"] for answer in answers[1:]} == {"first/f:200"}
    assert not any("x-fault" in answer.headers for answer in answers[1:])
    assert (await site.faults())["faults"] == []
    mine = await site.fault("http_5xx-mine")
    assert (mine["why"], mine["injected"], mine["overflowed"]) == ("request_over", 1, 0)
    assert (await site.gateway.log_line("mine"))["faults"] == [
        {"fault": "http_5xx-mine", "kind": "http_5xx", "target": "first/f"}
    ]


async def test_it_acts_on_a_stream_until_that_is_over(site: Site) -> None:
    cut = signed({"kind": "truncate", "target": "first"}, int(time.time()) + 60, TOKEN)
    answer = await site.ask("cut", stream=True, X_Fault=cut)
    assert (answer.status, answer.whole) == (200, False)
    assert answer.events[-1]["error"]["code"] == "upstream_error"
    assert (await site.faults())["faults"] == []


async def test_it_never_travels_upstream(site: Site) -> None:
    value = header(kind="http_5xx", target="spare")
    assert (await site.ask("one", X_Fault=value)).status == 200
    (exchange,) = site.first.exchanges
    assert "x-fault" not in dict(exchange.headers)
    assert value.encode() not in exchange.head


UNSIGNED = "is not signed with this gateway's admin token; `breakwater fault sign` makes one"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: "http_5xx", UNSIGNED),
        (lambda: header(token="another-token-of-somebody"), UNSIGNED),
        (tampered, UNSIGNED),
        (lambda: "x" * 8000, UNSIGNED),
        (lambda: header(expires_in=-60), "exp: expired 6"),
        (lambda: header(kind="no_such_fault"), "kind: unknown kind of fault; the kinds are: "),
        (lambda: header(target="nobody"), "target: there is no target 'nobody'; known here: first, first/f, only"),
        (lambda: header(share=7), "share: must be "),
        (lambda: header(ttl="soon"), "ttl: must be a"),
        (lambda: header(statuses=[200]), "statuses: must be one or more numbers from 500 to 599"),
        (lambda: header(no_such_knob=1), "no_such_knob: unknown key; known here: "),
    ],
    ids=["unsigned", "token", "tampered", "huge", "expired", "kind", "target", "share", "ttl", "knob", "unknown"],
)
async def test_what_cannot_be_done_is_refused(site: Site, make: Callable[[], str], why: str) -> None:
    answer = await site.ask("refused", X_Fault=make())
    assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_header")
    assert answer.json["error"]["message"].startswith(("X-Fault: ", "X-Fault "))
    assert why in answer.json["error"]["message"]
    assert site.first.exchanges == []
    assert TOKEN not in answer.body.decode()


async def test_faults_by_header_are_off_by_default(tmp_path: Path) -> None:
    async with open_site(tmp_path) as plain:
        answer = await plain.ask("off", X_Fault=header())
        assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_header")
        assert "off in this gateway (`chaos.header_faults`)" in answer.json["error"]["message"]
        assert plain.first.exchanges == []


async def test_the_command_makes_one_that_works(site: Site) -> None:
    process = await site.command("sign", "http_429", "--target", "first", "--set", "retry_after=7", "--expires", "60")
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    name, _, value = output.decode().strip().partition(": ")
    assert name == "X-Fault"
    answer = await site.ask("signed", X_Fault=value)
    assert answer.headers["x-attempts"] == "first/f:429,spare/m:200"
