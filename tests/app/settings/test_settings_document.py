"""YAML, lines, ``${NAME}`` and what a file may not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import SettingsError, document
from app.settings.document import expanded, read

TAIL = """
providers: [{name: e, kind: echo}]
routes: [{model: m, targets: [{provider: e}]}]
"""


def data(text: str, environ: dict[str, str] | None = None) -> object:
    draft = read(text, "f.yaml", environ or {})
    assert draft.found() == []
    return draft.data


def refusal(text: str, environ: dict[str, str] | None = None) -> list[str]:
    try:
        draft = read(text, "f.yaml", environ or {})
    except SettingsError as error:
        return [str(problem) for problem in error.problems]
    return [str(problem) for problem in draft.found()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("0x10", 16),
        ("1.5", 1.5),
        (".inf", float("inf")),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("2026-01-31", "2026-01-31"),
        ("=", "="),
        ("0x_", "0x_"),
        ("9" * 5000, "9" * 5000),
        ("[a, 1]", ["a", 1]),
        ("{b: c}", {"b": "c"}),
        ("{1: c, yes: d}", {"1": "c", "yes": "d"}),
    ],
)
def test_a_value(text: str, value: object) -> None:
    assert data(f"a: {text}") == {"a": value}


def test_every_key_and_item_has_its_line() -> None:
    draft = read("# top\na:\n  b: 1\n  c:\n  - d: 1\n    e: 2\n  - f\ng: {h: 1,\n  i: 2}\n", "f.yaml", {})
    lines = {"a": 2, "a.b": 3, "a.c": 4, "a.c.0": 5, "a.c.0.d": 5, "a.c.0.e": 6, "a.c.1": 7, "g": 8, "g.h": 8, "g.i": 9}
    wanted = {tuple(int(p) if p.isdecimal() else p for p in key.split(".")): line for key, line in lines.items()}
    assert draft.places == {location: f"f.yaml:{line}" for location, line in wanted.items()} | {(): "f.yaml:1"}
    assert draft.where(("a", "c", 0, "nothing", "here")) == "f.yaml:5"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("${A}", "one"),
        ("x${A}y${B}z", "xoneytwoz"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${NONE:-d}", "d"),
        ("${NONE:-}", ""),
        ("${NONE:-a:-b}", "a:-b"),
        ("${A:-d}", "one"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$one"),
        ("$A $", "$A $"),
        ("${TRICK}", "x\n- y: ${A}"),
    ],
)
def test_variables(text: str, wanted: str) -> None:
    environ = {"A": "one", "B": "two", "EMPTY": "", "TRICK": "x\n- y: ${A}"}
    assert expanded(text, environ) == wanted
    assert data(f"k: '{text}'", environ) == {"k": wanted}
    assert data(f"k: {{inner: [{text}]}}" if text != "${NONE:-a:-b}" else f"k: {{inner: ['{text}']}}", environ) == {
        "k": {"inner": [wanted]}
    }


def test_a_variable_cannot_become_structure() -> None:
    assert data("k: ${V}", {"V": "{a: [1, 2]}"}) == {"k": "{a: [1, 2]}"}
    assert data("k: ${V}", {"V": "1"}) == {"k": "1"}
    assert data("k: ${V}", {"V": "*x"}) == {"k": "*x"}


def test_keys_and_comments_are_not_filled_in() -> None:
    assert data("# ${NONE}\n'${NONE}': 1 # ${NONE}") == {"${NONE}": 1}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "a: 1\nb: ${NONE}",
            "f.yaml:2: b: the environment variable NONE is not set; set it, or write ${NONE:-default}",
        ),
        (
            "a: [1,\n ${NONE}]",
            "f.yaml:2: a[1]: the environment variable NONE is not set; set it, or write ${NONE:-default}",
        ),
        *(
            (
                f"a: 'x {reference}'",
                "f.yaml:1: a: `${` must go on as ${NAME} or ${NAME:-default}; write `$${` for the characters themselves",
            )
            for reference in ("${}", "${1A}", "${A-b}", "${A:?b}", "${A", "${A B}", "${")
        ),
        ("a: 1\nb: 2\na: 3", "f.yaml:3: a: this key was given before, on line 1"),
        ("x:\n- {b: 1,\n  b: 2}", "f.yaml:3: x[0].b: this key was given before, on line 2"),
        ("a: 1\n[b]: 2", "f.yaml:2: a key must be plain text"),
        ("a:\n  <<: 3\n", "f.yaml:2: a: `<<` merges mappings only"),
        ("a: 1\nb: !!python/object:os.system x", "f.yaml:2: b: YAML tags are not supported"),
        ("b: !!int x", "f.yaml:1: b: YAML tags are not supported"),
        ("b: !!bool x", "f.yaml:1: b: YAML tags are not supported"),
        ("b: !!timestamp x", "f.yaml:1: b: YAML tags are not supported"),
        ("b: !!set {x}", "f.yaml:1: b: YAML tags are not supported"),
        ("a: 1\nb: [", "f.yaml:2: not valid YAML: expected the node content, but found '<stream end>' (column 5)"),
        ("a: 1\nb: c: d", "f.yaml:2: not valid YAML: mapping values are not allowed here (column 5)"),
        ("a: 1\n---\nb: 2", "f.yaml:2: not valid YAML: but found another document (column 1)"),
        ("a: 1\nb: \x07", "f.yaml:2: not valid YAML: a control character"),
        ("", "f.yaml: is empty; it needs `providers` and `routes`"),
        ("# nothing\n---\n", "f.yaml: is empty; it needs `providers` and `routes`"),
        ("- a", "f.yaml:1: must be a mapping, with keys such as `providers` and `routes`"),
        ("text", "f.yaml:1: must be a mapping, with keys such as `providers` and `routes`"),
        ("a: &x [*x]", "f.yaml:1: a[0][0]: nested too deeply, or an alias that contains itself"),
        ("a: " + "[" * 40 + "]" * 40, "f.yaml:1: a[0][0]: nested too deeply, or an alias that contains itself"),
        ("a: " + "[" * 5000, "f.yaml: nested too deeply"),
    ],
)
def test_a_refusal(text: str, wanted: str) -> None:
    assert refusal(text, {"A": "a", "A B": "c"}) == [wanted]


@pytest.mark.parametrize("value", ["*sk-secret", "!sk-secret!x y", "&sk-secret &other x", "!<sk-secret"])
def test_a_syntax_error_does_not_show_what_may_be_a_key(value: str) -> None:
    (told,) = refusal(f"a: 1\napi_key: {value}")
    assert told.startswith("f.yaml:2: not valid YAML: ")
    assert "secret" not in told


def test_all_problems_of_a_document_are_told() -> None:
    assert [line.split(":")[1] for line in refusal("a: ${X}\nb: !t 1\nc: 1\nc: 2\nd: ${Y}")] == ["1", "2", "4", "5"]


def test_anchors_and_merge_keys() -> None:
    text = """
base: &base {x: 1, y: 2}
more: &more {y: 3, z: 4}
one: {<<: *base, y: 5}
two: {y: 6, <<: [*more, *base]}
three: &three {<<: *more, w: 7}
four: {<<: *three}
again: [*base, *base]
"""
    assert data(text) == {
        "base": {"x": 1, "y": 2},
        "more": {"y": 3, "z": 4},
        "one": {"x": 1, "y": 5},
        "two": {"x": 1, "y": 6, "z": 4},
        "three": {"y": 3, "z": 4, "w": 7},
        "four": {"y": 3, "z": 4, "w": 7},
        "again": [{"x": 1, "y": 2}, {"x": 1, "y": 2}],
    }
    draft = read(text, "f.yaml", {})
    assert draft.where(("one", "x")) == "f.yaml:2"
    assert draft.where(("one", "y")) == "f.yaml:4"


def test_a_merge_that_contains_itself_ends() -> None:
    assert data("a: &a {<<: *a, b: 1}") == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "shape", ["[*l{0}, *l{0}, *l{0}, *l{0}, *l{0}, *l{0}, *l{0}, *l{0}]", "{{a: *l{0}, b: *l{0}}}"]
)
def test_aliases_are_bound(shape: str) -> None:
    bomb = "\n".join(["l0: &l0 x", *(f"l{n + 1}: &l{n + 1} " + shape.format(n) for n in range(24))])
    (told,) = refusal(bomb)
    assert told.endswith("aliases make it too large")


def test_merges_are_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_VALUES", 2000)
    many = ", ".join(f"k{n}: 1" for n in range(100))
    (told,) = refusal(f"m: &m {{{many}}}\nn: {{<<: [{', '.join(['*m'] * 100)}]}}")
    assert told == "f.yaml:2: n: aliases make it too large"


def test_an_expanded_text_is_not_copied_for_each_alias() -> None:
    draft = read("a: &a x$$\nb: [*a, *a]", "f.yaml", {})
    first, second = draft.data["b"]
    assert first == "x$"
    assert first is second is draft.data["a"]


def test_the_file_itself(tmp_path: Path, complaints: object) -> None:
    assert callable(complaints)
    cases: list[tuple[bytes, str]] = [
        (b"a: 1\nb: \xff\xfe", "breakwater.yaml:2: is not UTF-8 text"),
        (b"#" * (1024 * 1024 + 1), "breakwater.yaml: is larger than 1 MiB, which no configuration needs"),
    ]
    for content, wanted in cases:
        assert complaints(content) == [wanted]


def test_a_full_mebibyte_and_a_byte_order_mark_are_fine(loaded: object) -> None:
    assert callable(loaded)
    text = b"\xef\xbb\xbf" + TAIL.encode()
    assert loaded(text + b"#" * (1024 * 1024 - len(text))).settings.routes[0].model == "m"
