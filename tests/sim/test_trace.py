from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from math import ceil
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from bench.simulated import END, simulate
from providers.law import Law
from router.sim.arrivals import Arrival
from router.sim.levels import Levels
from router.sim.server import Server
from router.sim.service import Service
from router.sim.trace import TraceError, played, read_trace

AZURE = (
    b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    b"2023-11-16 18:15:46.6805900,374,44\r\n"
    b"2023-11-16 18:15:50.9951690,396,109\r\n"
    b"2023-11-17 00:00:00.0000000,128000,0"
)
MOONCAKE = (
    b'{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
    b'{"timestamp": 30535, "input_length": 126472, "output_length": 26, "hash_ids": []}\n'
)
BURSTGPT = (
    b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    b"5,ChatGPT,472,18,490,Conversation log\n"
    b"5,GPT-4,1087,230,1317,API log\n"
    b"45.5,ChatGPT,417,0,417,Conversation log\n"
)
REAL = Path(os.environ.get("BREAKWATER_TRACES", Path(__file__).parents[3] / "shared" / "traces"))
AZURE_2023 = REAL / "azure_llm_2023_conv.csv"


def read(tmp_path: Path, content: bytes) -> list[Arrival]:
    path = tmp_path / "trace"
    path.write_bytes(content)
    return list(read_trace(path))


@pytest.mark.parametrize(
    ("content", "arrivals"),
    [
        (AZURE, [(0.0, 374, 44), (4.314579, 396, 109), (20653.31941, 128_000, 1)]),
        (MOONCAKE, [(0.0, 6955, 52), (3.053, 126_472, 26)]),
        (BURSTGPT, [(0.0, 472, 18), (0.0, 1087, 230), (40.5, 417, 1)]),
        (b"\xef\xbb\xbf" + AZURE[:75] + b"\r\n\r\n", [(0.0, 374, 44)]),
        (BURSTGPT[:-1].replace(b"Type", b"Type,Session ID").replace(b"log\n", b"log,7\n") + b",7", None),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n", [(0.0, 2162, 5)]),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", []),
    ],
    ids=["azure", "mooncake", "burstgpt", "a byte order mark", "more columns", "a zone", "nothing in it"],
)
def test_each_form_is_known_by_its_first_line(tmp_path, content, arrivals):
    found = read(tmp_path, content)
    assert found == (arrivals if arrivals is not None else read(tmp_path, BURSTGPT))


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"", 1, "expected a header"),
        (b"a,b\n1,2\n", 1, "TIMESTAMP, ContextTokens, GeneratedTokens"),
        (AZURE.replace(b"396", b"many"), 3, "ContextTokens: 'many'; expected a whole number"),
        (AZURE.replace(b"396", b"-1"), 3, "expected a whole number"),
        (AZURE.replace(b"2023-11-16 18:15:50.9951690", b"yesterday"), 3, "expected a time like"),
        (AZURE.replace(b"2023-11-17", b"2023-11-15"), 4, "expected rows in order"),
        (AZURE.replace(b",109", b""), 3, "2 columns; expected 3"),
        (MOONCAKE.replace(b'"output_length": 26', b'"output_length": 2.5'), 2, "output_length: 2.5"),
        (MOONCAKE.replace(b'"timestamp": 30535', b'"timestamp": null'), 2, "timestamp: None; expected milliseconds"),
        (MOONCAKE + b"{nonsense\n", 3, "expected a JSON object"),
        (MOONCAKE + b"[1]\n", 3, "expected a JSON object"),
        (BURSTGPT.replace(b"45.5", b"nan"), 4, "Timestamp: 'nan'; expected seconds"),
        (BURSTGPT.replace(b"1087", b""), 3, "Request tokens: ''"),
        (
            AZURE.replace(b"396", b"1000000000000"),
            3,
            "ContextTokens: '1000000000000'; expected a whole number of tokens",
        ),
        (AZURE.replace(b"396", b"9" * 5000), 3, "expected a whole number of tokens, 0 to 2000000"),
        (AZURE.replace(b"396", b"\xff96"), 3, "ContextTokens: '\ufffd96'; expected a whole number"),
        (b"\xff\xfe\x00\x01\n", 1, "expected a header"),
        (b"x" * 200_000, 1, "expected a header"),
        (MOONCAKE.replace(b'"output_length": 26', b'"output_length": 1e400'), 2, "expected "),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(tmp_path, content, line, said):
    with pytest.raises(TraceError) as refused:
        read(tmp_path, content)
    assert str(refused.value).startswith(f"{tmp_path / 'trace'}:{line}: ")
    assert said in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(TraceError, match="cannot be read: is a directory"):
        read_trace(tmp_path)


def test_rows_before_a_bad_one_are_read(tmp_path):
    path = tmp_path / "trace"
    path.write_bytes(AZURE.replace(b"396", b"x"))
    arrivals = read_trace(path)
    assert next(arrivals).prompt_tokens == 374
    with pytest.raises(TraceError):
        next(arrivals)


def test_it_may_be_played_faster_and_in_part(tmp_path):
    path = tmp_path / "trace"
    path.write_bytes(BURSTGPT)
    assert [arrival.at for arrival in played(read_trace(path), speed=2.0)] == [0.0, 0.0, 20.25]
    assert len(list(played(read_trace(path), limit=2))) == 2


@examples(50)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 200_000), st.integers(1, 5000)), min_size=1))
def test_what_was_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("traces") / "trace"
    rows = sorted(rows)
    keys = ("timestamp", "input_length", "output_length")
    path.write_bytes(b"\n".join(orjson.dumps(dict(zip(keys, row, strict=True))) for row in rows))
    expected = [((ms - rows[0][0]) / 1000, prompt, output) for ms, prompt, output in rows]
    assert list(read_trace(path)) == [pytest.approx(row) for row in expected]


@pytest.mark.skipif(not AZURE_2023.exists(), reason=f"no {AZURE_2023.name} (set BREAKWATER_TRACES to its folder)")
def test_azure_s_hour_is_what_its_publisher_says():
    arrivals = list(read_trace(AZURE_2023))
    assert len(arrivals) == 19_366
    assert arrivals[-1].at == pytest.approx(58.4 * 60, abs=3)
    prompts = sorted(arrival.prompt_tokens for arrival in arrivals)
    assert [prompts[ceil(q * len(prompts)) - 1] for q in (0.5, 0.9, 0.99)] == pytest.approx([1020, 2734, 4142], abs=1)
    gaps = [after.at - before.at for before, after in pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 / mean == pytest.approx(1.09, abs=0.02)


@pytest.mark.skipif(not AZURE_2023.exists(), reason=f"no {AZURE_2023.name} (set BREAKWATER_TRACES to its folder)")
def test_azure_s_hour_through_three_servers_of_which_one_stops_for_five_minutes():
    """Its prompts and answers; a server takes 40 at once, and 25 ms a token. All of it in seconds."""
    works = Service(slots=40, ttft=Law("lognormal", 0.3, 0.5), token_interval=Law("constant", 0.025))
    stops = replace(works, capacity=Levels.steps((0.0, 1.0), (1200.0, 0.0), (1500.0, 1.0)))
    servers = {"a": Server("a", stops), "b": Server("b", works), "c": Server("c", works)}
    settings = {
        "providers": [{"name": name, "kind": "echo"} for name in servers],
        "routes": [{"model": "m", "targets": [{"provider": name} for name in servers]}],
        "defaults": {"timeouts": {"first_token": 5}},
    }
    called = simulate(settings, read_trace(AZURE_2023), make=lambda entry: servers[entry.name], stream=True)
    assert len(called) == 19_366
    share = {phase: called.share("a/m", *phase) for phase in [(0, 1200), (1210, 1500), (1800, END)]}
    print(f"served {called.goodput(0, END):.4f}, of them by the one that stops, before, meanwhile and after: {share}")
    assert called.goodput(0, END) >= 0.999
    assert list(share.values()) == pytest.approx([1 / 3, 0.0, 1 / 3], abs=0.05)
    assert called.amplification(0, END) <= 1.02
