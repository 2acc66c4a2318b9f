from __future__ import annotations

import io
import math
from collections import Counter
from itertools import pairwise

import pytest
import yaml
from openai import AsyncOpenAI, InternalServerError
from rich.console import Console

from app.settings import load
from bench import ailing, fleet
from bench.fleet import HEADERS, SCENARIOS, TARGETS, Told, cells, config, markdown, percentile, plan, summed_up, table


def test_the_plan_is_the_same_for_a_seed_and_another_for_another() -> None:
    assert plan(8, 60, 1) == plan(8, 60, 1)
    assert plan(8, 60, 1) != plan(8, 60, 2)


def test_the_plan_is_open_loop_at_its_rate() -> None:
    asks = plan(10, 1000, 1)
    assert abs(len(asks) - 10_000) < 4 * math.sqrt(10_000)
    pauses = [after.at - before.at for before, after in pairwise(asks)]
    assert min(pauses) >= 0
    assert abs(sum(pauses) / len(pauses) - 0.1) < 0.005
    assert abs(sum(pause > 0.1 for pause in pauses) / len(pauses) - math.exp(-1)) < 0.02  # exponential
    assert 0 < asks[0].at < asks[-1].at < 1000
    assert len({ask.request_id for ask in asks}) == len(asks)


def test_a_session_always_begins_alike() -> None:
    openings: dict[str, set[str]] = {}
    for ask in plan(10, 100, 1):
        openings.setdefault(ask.session, set()).add(ask.words)
    assert len(openings) == fleet.SESSIONS
    assert all(len(words) == 1 for words in openings.values())
    assert len(set.union(*openings.values())) == fleet.SESSIONS


@pytest.mark.parametrize(
    ("count", "share", "rank"),
    [
        (1, 0.5, 1),
        (2, 0.5, 1),
        (3, 0.5, 2),
        (100, 0.99, 99),
        (101, 0.99, 100),
        (100, 1.0, 100),
        (10, 0.99, 10),
        (5, 0.0, 1),
    ],
)
def test_percentiles_are_nearest_ranks(count: int, share: float, rank: int) -> None:
    assert percentile([float(number) for number in range(1, count + 1)], share) == rank


def test_a_percentile_of_nothing_is_nothing() -> None:
    assert math.isnan(percentile([], 0.5))


TOLD = [
    *[Told(number / 10, None, "gray", 1) for number in range(1, 10)],
    Told(0.05, None, "llama-a", 2, hedged=True),
    Told(9.0, "502", None, 3),
    Told(30.0, "APITimeoutError"),
]


def test_errors_are_counted_and_are_in_no_percentile() -> None:
    row = summed_up("x", TOLD)
    assert (row.p50, row.p99, row.worst) == (0.4, 0.9, 0.9)
    assert row.errors == Counter({"502": 1, "APITimeoutError": 1})
    assert row.shares == {"llama-a": 0.1, "llama-b": 0.0, "gray": 0.9, "flapping": 0.0}
    assert (row.calls, row.hedges, row.attempts) == (12, 1, 14 / 12)


def test_nobody_served_is_a_row_too() -> None:
    row = summed_up("x", [Told(1.0, "503")])
    assert math.isnan(row.p50)
    assert cells(row)[1:6] == ["nan", "nan", "nan", "nan", "100.0% (1 x 503)"]


def test_what_is_shown() -> None:
    row = summed_up("weighted", TOLD)
    shown = ["weighted", "400", "900", "900", "900", "16.7% (1 x 502, 1 x APITimeoutError)", "1.17", "8.3%"]
    assert cells(row) == [*shown, "10%", "0%", "90%", "0%"]
    head, line, first = markdown([row]).splitlines()
    assert head.count("|") == line.count("|") == first.count("|") == len(HEADERS) + 1
    sink = io.StringIO()
    Console(file=sink, width=120).print(table([row], "title"))
    assert all(header in sink.getvalue() for header in HEADERS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_gateway_takes_every_configuration(name: str, tmp_path) -> None:
    urls = dict.fromkeys(TARGETS, "http://127.0.0.1:1/v1")
    path = tmp_path / "breakwater.yaml"
    path.write_text(yaml.safe_dump(config(SCENARIOS[name], urls, [1, 2, 3])))
    (route,) = load(path, {}, tmp_path).settings.routes
    assert route.strategy == SCENARIOS[name]["strategy"]
    assert [target.weight for target in route.targets] == [1, 1, 3, 3]


# --- those that ail -------------------------------------------------------------------------------------------------


def test_who_goes_gray_is_slow_for_its_share_whatever_the_time() -> None:
    ails = ailing.going_gray(1, 0.01)
    ids = [f"fleet-1-{number}" for number in range(20_000)]
    ratios = [(ails(each, 7.0) or 0) / ailing.first_token(1, each) for each in ids]
    slow = sum(ratio == pytest.approx(ailing.GRAY_FACTOR) for ratio in ratios)
    assert slow + sum(ratio == 1 for ratio in ratios) == len(ids)
    assert abs(slow - 200) < 4 * math.sqrt(200)
    assert [ails(each, 1.0) for each in ids[:50]] == [ails(each, 99.0) for each in ids[:50]]


def test_who_flaps_fails_wholly_and_is_well_again() -> None:
    ails = ailing.flapping(1)
    states = [ails("r", float(second)) is None for second in range(36)]
    assert states == ([False] * 12 + [True] * 6) * 2


async def test_the_official_client_is_answered_and_told() -> None:
    down = False
    async with ailing.Upstream(lambda _id, _since: None if down else 0.0) as upstream:
        upstream.begin()
        async with AsyncOpenAI(base_url=upstream.url, api_key="unused", max_retries=0) as client:
            messages = [{"role": "user", "content": "hi"}]
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert text == " wave" * ailing.TOKENS
            down = True
            with pytest.raises(InternalServerError):
                await client.chat.completions.create(model="m", messages=messages, stream=True)
        assert (upstream.asked, upstream.failed) == (2, 1)
