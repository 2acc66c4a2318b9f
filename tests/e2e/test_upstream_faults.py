"""Every fault that an upstream can show, streamed or plain, on some or all of the targets: real sockets throughout.

    one: a    two: a, b    three: a, b, c    one_then_healthy: a, then one that works    two_then_healthy: a, b, then it

Tiers fix the order of the targets, so the calls that each upstream must have seen are known exactly. A route has a
model name of its own, so nothing is shared between cases.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from itertools import cycle, islice
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.e2e.conftest import StartFaulty, StartGateway
from tests.e2e.faulty import BAD_EVENT, FAULTS, LLAMACPP_400, SECRET, FaultyServer, refusing
from tests.e2e.harness import Answer, Gateway, chat, eventually
from tests.e2e.outside import UNPROTECTED

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_ATTEMPTS = 3
HEALTHY = "h"
SCENARIOS = {"one": "a", "two": "ab", "three": "abc", "one_then_healthy": "ah", "two_then_healthy": "abh"}
AMPLE = {"connect": 5, "first_token": 10, "idle": 10, "attempt": 10, "total": 30}
SHORT = {"connect": 0.5, "first_token": 0.6, "idle": 0.5, "attempt": 1.0}


class Verdict(NamedTuple):
    """What becomes of a fault. ``again``: the same target is tried again; ``failover``: another one is."""

    status: int
    code: str | None = None
    again: bool = True
    failover: bool = True


RETRIED = Verdict(502, "upstream_error")
TIMED_OUT = Verdict(504, "deadline_exceeded")
THROTTLED = Verdict(429, "rate_limit_exceeded")
THROTTLED_FOR_LONG = Verdict(429, "rate_limit_exceeded", again=False)
OURS = Verdict(502, "upstream_error", again=False)  # our credentials, our URL: nothing that another try would mend
THEIRS = Verdict(0, again=False, failover=False)  # the request is wrong, wherever it is sent
CUT = Verdict(200, again=False, failover=False)
FINE = Verdict(200, again=False, failover=False)


class Cell(NamedTuple):
    """``label`` is how the attempt shows in x-attempts."""

    verdict: Verdict
    label: str


COMMITTED = Cell(CUT, "200")
SERVED = Cell(FINE, "200")
FIRST_TOKEN = Cell(TIMED_OUT, "first_token_timeout")
ATTEMPT = Cell(TIMED_OUT, "attempt_timeout")


def retried(label: str) -> Cell:
    return Cell(RETRIED, label)


def both(verdict: Verdict, label: str) -> tuple[Cell, Cell]:
    return Cell(verdict, label), Cell(verdict, label)


# fault: (streamed, plain). None: this fault has no such form.
TABLE: dict[str, tuple[Cell | None, Cell | None]] = {
    "ok": (SERVED, SERVED),
    "one_byte_at_a_time": (SERVED, SERVED),
    "finish_without_done": (SERVED, None),
    "malformed_event_first": (SERVED, retried("malformed")),
    "malformed_event_middle": (SERVED, retried("malformed")),
    "status_400": both(THEIRS, "400"),
    "status_413": both(THEIRS, "413"),
    "status_422": both(THEIRS, "422"),
    "status_401": both(OURS, "401"),
    "status_403": both(OURS, "403"),
    "status_404": both(OURS, "404"),
    "redirect": both(OURS, "302"),
    "status_429": both(THROTTLED, "429"),
    "status_429_retry_after": both(THROTTLED, "429"),
    "status_429_retry_after_300": both(THROTTLED_FOR_LONG, "429"),
    "status_500": both(RETRIED, "500"),
    "status_503": both(RETRIED, "503"),
    "status_503_retry_after": both(RETRIED, "503"),
    "html_200": both(RETRIED, "malformed"),
    "html_502": both(RETRIED, "502"),
    "not_http": both(RETRIED, "malformed"),
    "unreachable": both(RETRIED, "unreachable"),
    "close_before_headers": both(RETRIED, "disconnected"),
    "reset_before_headers": both(RETRIED, "disconnected"),
    "close_after_headers": both(RETRIED, "disconnected"),
    "reset_after_headers": both(RETRIED, "disconnected"),
    "role_chunk_then_close": both(RETRIED, "disconnected"),
    "role_chunk_then_error_event": both(RETRIED, "500"),
    "role_chunk_then_hang": (FIRST_TOKEN, ATTEMPT),
    "cut_after_content": (COMMITTED, retried("disconnected")),
    "reset_after_content": (COMMITTED, retried("disconnected")),
    "clean_end_after_content": (COMMITTED, retried("malformed")),
    "done_without_finish": (COMMITTED, retried("malformed")),
    "error_event_after_content": (COMMITTED, retried("server_error")),
    "content_length_too_long": (COMMITTED, retried("disconnected")),
    "content_length_too_short": (COMMITTED, retried("malformed")),
    "hang_after_content": (COMMITTED, ATTEMPT),
    "hang_before_headers": (FIRST_TOKEN, ATTEMPT),
    "hang_after_headers": (FIRST_TOKEN, ATTEMPT),
    "pings_for_ever": (FIRST_TOKEN, ATTEMPT),
    "empty_200": both(RETRIED, "empty"),
    "empty_body": (retried("disconnected"), retried("malformed")),
    "gzip_body": both(RETRIED, "malformed"),
    "huge_event": (retried("malformed"), None),
    "json_when_stream_asked": both(RETRIED, "server_error"),
    "wrong_json_type": (retried("truncated"), retried("malformed")),
    "no_choices": (retried("truncated"), retried("malformed")),
}
# talks_for_ever is for clients that leave; nothing listens where unreachable points.
assert set(TABLE) ^ set(FAULTS) == {"talks_for_ever", "unreachable"}, "every fault has its row"
WAITS = {fault for fault, cells in TABLE.items() for cell in cells if cell and cell.verdict is TIMED_OUT}
# These wait for something most of the time, so they run all at once.
SLOW = WAITS | {"status_429_retry_after", "status_503_retry_after"}


class Case(NamedTuple):
    fault: str
    scenario: str
    stream: bool

    @property
    def cell(self) -> Cell:
        cell = TABLE[self.fault][0 if self.stream else 1]
        assert cell is not None
        return cell

    @property
    def model(self) -> str:
        return f"{self.fault}.{self.scenario}"

    @property
    def id(self) -> str:
        return f"{self.model}.{'stream' if self.stream else 'plain'}"

    @property
    def calls(self) -> str:
        """The targets that must have been called, in order."""
        targets, verdict = SCENARIOS[self.scenario], self.cell.verdict
        if not verdict.failover:
            return targets[0]
        if HEALTHY in targets or not verdict.again:
            return targets
        return "".join(islice(cycle(targets), MAX_ATTEMPTS))

    @property
    def attempts(self) -> str:
        """What x-attempts must say."""
        named = [
            (f"{self.fault}-{letter}", self.cell.label) if letter != HEALTHY else ("healthy", "200")
            for letter in self.calls
        ]
        return ",".join(f"{name}/{self.model}:{label}" for name, label in named)


CASES = [
    Case(fault, scenario, stream)
    for fault, cells in TABLE.items()
    for stream, cell in zip((True, False), cells, strict=True)
    if cell is not None
    for scenario in SCENARIOS
]


def cases(*verdicts: Verdict, healthy: bool | None = None) -> pytest.MarkDecorator:
    """Those whose fault has one of ``verdicts``, with or without a healthy target (None: all)."""
    chosen = [
        case
        for case in CASES
        if any(case.cell.verdict is verdict for verdict in verdicts)
        and healthy in (None, HEALTHY in SCENARIOS[case.scenario])
    ]
    return pytest.mark.parametrize("case", chosen, ids=[case.id for case in chosen])


class Matrix:
    """Asks each case once. All cases of a fault, or all slow ones, are asked at the same time."""

    def __init__(self, gateway: Gateway, servers: Mapping[str, FaultyServer]) -> None:
        self.gateway = gateway
        self.servers = servers
        self._answers: dict[Case, Answer | BaseException] = {}

    async def answer(self, case: Case) -> Answer:
        if case not in self._answers:
            together = [one for one in CASES if one.fault == case.fault or {one.fault, case.fault} <= SLOW]
            answers = await asyncio.gather(*map(self._ask, together), return_exceptions=True)
            self._answers.update(zip(together, answers, strict=True))
        answer = self._answers[case]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _ask(self, case: Case) -> Answer:
        async with asyncio.timeout(20), self.gateway.call(chat(case.model, stream=case.stream), case.id) as call:
            if await call.head() == 200 and case.stream:
                await call.until(b'"content": "')
                for server in self.of(case).values():
                    server.content_seen(case.model, stream=True).set()
            return await call.rest()

    def of(self, case: Case) -> dict[str, FaultyServer]:
        """The servers that a case could reach, by letter."""
        names = {letter: f"{case.fault}-{letter}" for letter in "abc"} | {HEALTHY: "healthy"}
        return {letter: self.servers[name] for letter, name in names.items() if name in self.servers}

    async def examine(self, case: Case) -> Answer:
        """The answer, after checking what must hold whatever it says."""
        answer = await self.answer(case)
        exchanges = {letter: server.calls(case.model, stream=case.stream) for letter, server in self.of(case).items()}
        seen = sorted((exchange.at, letter) for letter, many in exchanges.items() for exchange in many)
        if case.fault != "unreachable":
            assert "".join(letter for _, letter in seen) == case.calls
        assert answer.headers["x-request-id"] == case.id
        assert answer.headers["x-attempts"] == case.attempts
        await eventually(lambda: all(exchange.over for many in exchanges.values() for exchange in many))
        assert await eventually(self._quiet), "something is still in flight"
        line = await self.gateway.log_line(case.id)
        assert line["status"] == answer.status
        assert ",".join(f"{one['target']}:{one['outcome']}" for one in line["attempts"]) == case.attempts
        return answer

    async def _quiet(self) -> bool:
        return not await self.gateway.in_flight()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def matrix(faulty: StartFaulty, gateway: StartGateway) -> AsyncIterator[Matrix]:
    healthy = await faulty("healthy", "ok")
    servers = {"healthy": healthy, "elsewhere": await faulty("elsewhere", "ok")}
    urls = {"healthy": healthy.url}
    for name, fault in ((f"{fault}-{letter}", fault) for fault in TABLE.keys() & FAULTS.keys() for letter in "abc"):
        servers[name] = await faulty(name, fault, servers["elsewhere"].url)
        urls[name] = servers[name].url
    with ExitStack() as ports:
        for letter in "abc":
            urls[f"unreachable-{letter}"] = ports.enter_context(refusing())
        yield Matrix(await gateway(config(urls)), servers)


def config(urls: Mapping[str, str]) -> dict[str, Any]:
    return {
        "providers": [{"name": name, "kind": "openai-compatible", "base_url": url} for name, url in urls.items()],
        "routes": [
            route(f"{fault}.{scenario}", fault, SCENARIOS[scenario]) for fault in TABLE for scenario in SCENARIOS
        ]
        + [mixed_route(faults) for faults in MIXED],
        "defaults": UNPROTECTED | {"timeouts": AMPLE, "retry": UNPROTECTED["retry"] | {"max_attempts": MAX_ATTEMPTS}},
    }


def route(model: str, fault: str, letters: str) -> dict[str, Any]:
    targets: list[dict[str, Any]] = []
    for tier, letter in enumerate(letters):
        provider = "healthy" if letter == HEALTHY else f"{fault}-{letter}"
        targets.append({"provider": provider, "model": model, "tier": tier})
        if fault in WAITS and letter != HEALTHY:
            targets[-1]["timeouts"] = SHORT
    return {"model": model, "targets": targets}


@cases(RETRIED, TIMED_OUT, THROTTLED, THROTTLED_FOR_LONG, OURS, healthy=False)
async def test_if_all_targets_fail_the_client_gets_one_clear_error(matrix: Matrix, case: Case) -> None:
    answer = await matrix.examine(case)
    assert (answer.status, answer.headers["content-type"]) == (case.cell.verdict.status, "application/json")
    assert_error(answer.json, case.cell.verdict.code)
    if answer.status == 429:
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    else:
        assert answer.headers["x-should-retry"] == "false"
    assert_nothing_leaks(answer)


@cases(RETRIED, TIMED_OUT, THROTTLED, THROTTLED_FOR_LONG, OURS, healthy=True)
async def test_a_healthy_target_answers_as_if_nothing_had_failed(matrix: Matrix, case: Case) -> None:
    answer = await matrix.examine(case)
    assert_complete(answer, "hello from healthy", case)
    assert answer.headers["x-provider"] == "healthy"
    assert answer.headers["x-route-reason"] == "failover"
    assert_nothing_leaks(answer)


@cases(THEIRS)
async def test_a_wrong_request_is_answered_in_the_words_of_the_upstream(matrix: Matrix, case: Case) -> None:
    answer = await matrix.examine(case)
    assert answer.status == int(case.cell.label)
    assert answer.headers["content-type"] == "application/json"
    if case.fault == "status_400":
        assert answer.body == LLAMACPP_400
    else:
        assert answer.json["error"]["message"] == SECRET


@cases(CUT)
async def test_after_the_first_content_a_failure_is_one_error_event_and_never_a_clean_end(
    matrix: Matrix, case: Case
) -> None:
    answer = await matrix.examine(case)
    assert answer.status == 200
    *good, last = answer.events
    assert f"hello from {case.fault}-a".startswith(text_of(good))
    assert text_of(good)
    assert_error(last)
    assert not any("error" in event for event in good)
    assert "[DONE]" not in answer.data
    assert not answer.whole, "the chunked body has its terminating chunk"
    assert_nothing_leaks(answer)
    assert (await matrix.gateway.log_line(case.id))["end"] == "cut"


@cases(FINE)
async def test_what_is_not_a_failure_is_served(matrix: Matrix, case: Case) -> None:
    answer = await matrix.examine(case)
    assert_complete(answer, f"hello from {case.fault}-a", case)
    assert answer.headers["x-provider"] == f"{case.fault}-a"
    assert BAD_EVENT not in answer.body
    assert (await matrix.gateway.log_line(case.id))["end"] == "complete"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("fault", ["status_429_retry_after", "status_503_retry_after"])
async def test_a_target_is_left_alone_for_as_long_as_it_asked(matrix: Matrix, fault: str, stream: bool) -> None:
    case = Case(fault, "two", stream)
    await matrix.answer(case)
    first, second = matrix.servers[f"{fault}-a"].calls(case.model, stream=stream)
    assert second.at - first.at >= 0.99


async def test_redirects_are_not_followed(matrix: Matrix) -> None:
    await matrix.answer(Case("redirect", "one", stream=False))
    assert matrix.servers["elsewhere"].connections == 0


# Faults of the targets, in order of their tiers, and what the client gets when all of them have failed.
MIXED = {
    ("status_429", "status_429", "status_500"): 502,
    ("status_500", "status_500", "status_429"): 502,
    ("status_401", "status_500", "status_429"): 502,
    ("status_429", "status_429", "status_429_retry_after"): 429,
}


def mixed_route(faults: tuple[str, ...]) -> dict[str, Any]:
    model = "+".join(faults)
    targets = [
        {"provider": f"{fault}-{'abc'[tier]}", "model": model, "tier": tier} for tier, fault in enumerate(faults)
    ]
    return {"model": model, "targets": targets}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("faults", MIXED, ids="+".join)
async def test_only_if_every_attempt_was_throttled_is_it_a_429(
    matrix: Matrix, faults: tuple[str, ...], stream: bool
) -> None:
    async with matrix.gateway.call(chat("+".join(faults), stream=stream), "mixed") as call:
        answer = await call.rest()
    assert answer.status == MIXED[faults]
    assert_error(answer.json, "rate_limit_exceeded" if answer.status == 429 else "upstream_error")
    assert_nothing_leaks(answer)


def assert_error(payload: Any, code: str | None = None) -> None:
    assert set(payload) == {"error"}
    error = payload["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    assert error["param"] is None
    assert isinstance(error["code"], str)
    if code is not None:
        assert error["code"] == code


def assert_complete(answer: Answer, text: str, case: Case) -> None:
    assert (answer.status, answer.whole, answer.text) == (200, True, text)
    if case.stream:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.data[-1] == "[DONE]"
        assert answer.data.count("[DONE]") == 1
        assert answer.events[0]["choices"][0]["delta"]["role"] == "assistant"
        assert not any("error" in event for event in answer.events)


def assert_nothing_leaks(answer: Answer) -> None:
    said = answer.body.decode() + str(answer.headers)
    for words in (SECRET, "Unauthorized", "<html", "127.0.0.1"):
        assert words not in said


def text_of(events: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
