from __future__ import annotations

import json
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from providers.body import with_model

MODEL_KEYS = st.sampled_from(['"model"', '"model"', '"\\u006dodel"', '"mod\\u0065l"', '"\\u006D\\u006fdel"'])
SPACE = st.sampled_from(["", "", "", " ", "\n  ", "\t\r\n"])
STRINGS = st.one_of(
    st.sampled_from(
        ['"model"', '"\\u006dodel"', '"\\"model\\""', '"\\\\"', '"\\\\\\"model\\": "', '"{["', '"\\u00e9"', '""']
    ),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.text(max_size=6).map(json.dumps),
)
SCALARS = st.sampled_from(["1", "1.0", "1e2", "-0", "12345678901234567890123", "1.50E+10", "true", "null"]) | STRINGS


def written(pairs: list[tuple[str, str, str]], brackets: str) -> str:
    return brackets[0] + ",".join(f"{space}{text}{space}" for space, _, text in pairs) + brackets[1]


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(SPACE, STRINGS | MODEL_KEYS, inner).map(lambda m: (m[0], "", f"{m[1]}{m[0]}:{m[0]}{m[2]}"))
    element = st.tuples(SPACE, st.just(""), inner)
    return st.lists(member, max_size=3).map(lambda pairs: written(pairs, "{}")) | st.lists(element, max_size=3).map(
        lambda pairs: written(pairs, "[]")
    )


VALUES = st.recursive(SCALARS, nested, max_leaves=8)
# A member is (text before the value, the value, whether the value is a top-level model's).
OTHERS = st.tuples(
    SPACE,
    STRINGS.filter(lambda text: json.loads(text) != "model"),
    SPACE,
    VALUES,
    st.just(False),
)
MODELS = st.tuples(SPACE, MODEL_KEYS, SPACE, STRINGS, st.just(True))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A body, and the same cut where the top-level models' values were."""
    members = draw(st.lists(OTHERS, max_size=5)) + draw(st.lists(MODELS, min_size=1, max_size=2))
    members = draw(st.permutations(members))
    body, pieces = draw(SPACE) + "{", []
    whole = body
    for number, (before, key, between, value, is_model) in enumerate(members):
        head = ("," if number else "") + before + key + between + ":" + between
        whole += head + value
        body += head
        if is_model:
            pieces.append(body)
            body = before
        else:
            body += value + before
        whole += before
    return (whole + "}").encode(), [piece.encode() for piece in [*pieces, body + "}"]]


@examples(250)
@given(bodies(), st.sampled_from(["m", 'a"b\\c', "héé", "\n", "model", ""]) | st.text(max_size=5))
def test_only_the_top_level_model_changes_and_every_other_byte_stays(case, model):
    body, pieces = case
    changed = with_model(body, model)
    assert changed == orjson.dumps(model).join(pieces)
    asked = json.loads(body, object_pairs_hook=list)
    assert json.loads(changed, object_pairs_hook=list) == [
        (key, model if key == "model" else value) for key, value in asked
    ]


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{"model":"a"}', b'{"model":"new"}'),
        (b'{ "model" : "a" , "n": 1.0}', b'{ "model" : "new" , "n": 1.0}'),
        (b'{"big":12345678901234567890,"model":"a"}', b'{"big":12345678901234567890,"model":"new"}'),
        (b'{"metadata":{"model":"x"},"model":"a"}', b'{"metadata":{"model":"x"},"model":"new"}'),
        (b'{"a":[{"model":"x"}],"model":"a"}', b'{"a":[{"model":"x"}],"model":"new"}'),
        (b'{"user":"model","model":"a"}', b'{"user":"model","model":"new"}'),
        (b'{"m":"{\\"model\\":\\"x\\"}","model":"a"}', b'{"m":"{\\"model\\":\\"x\\"}","model":"new"}'),
        (b'{"model":"a","model":"b"}', b'{"model":"new","model":"new"}'),
        (b'{"mod\\u0065l":"a"}', b'{"mod\\u0065l":"new"}'),
        (b'{"x":{"model":"y"},"mod\\u0065l":"a"}', b'{"x":{"model":"y"},"mod\\u0065l":"new"}'),
        (b'{"model":"a\\"b\\\\","n":1}', b'{"model":"new","n":1}'),
        (b'{"x":"}]\\\\","model":"a","y":{"model":"z"}}', b'{"x":"}]\\\\","model":"new","y":{"model":"z"}}'),
    ],
    ids=repr,
)
def test_with_model(body, changed):
    assert with_model(body, "new") == changed


@pytest.mark.parametrize(
    "escape", [b"\\u00e9", b'","x":{"model":1},"y":"'], ids=["an escaped accent", "a nested model"]
)
def test_a_large_body_costs_a_few_times_its_size_and_not_a_hundred(escape):
    """Once a group repeated for each byte of a string: a 20 MB image took 2.4 GB and 5.5 s."""
    body = b'{"model":"a","user":"' + escape + b'","image":"' + b"A" * 500_000 + b'"}'
    tracemalloc.start()
    try:
        changed = with_model(body, "new")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert changed == body.replace(b'"model":"a"', b'"model":"new"')
    times = peak / len(body)
    assert times < 10
