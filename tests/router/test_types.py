from __future__ import annotations

import dataclasses

import pytest
from worlds import Upstream, call_for

from router.errors import ModelNotFound
from router.routes import Routes
from router.types import Pin, Route, Target


@pytest.mark.parametrize(
    ("value", "pin"),
    [
        ("a", Pin(("a",))),
        (" a ,b", Pin(("a", "b"))),
        ("a,,b,", Pin(("a", "b"))),
        ("b, a", Pin(("b", "a"))),
        ("a, *", Pin(("a",), others=True)),
        ("a,b , * ", Pin(("a", "b"), others=True)),
    ],
    ids=repr,
)
def test_a_pin_in_a_header(value, pin):
    assert Pin.parse(value) == pin


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "names no provider"),
        (" , ", "names no provider"),
        ("*", "names no provider"),
        ("*, a", "only stand at the end"),
        ("a, *, *", "only stand at the end"),
        ("a, *, b", "only stand at the end"),
        ("a, b, a", "names a provider twice"),
    ],
    ids=repr,
)
def test_a_pin_that_means_nothing_says_why(value, why):
    with pytest.raises(ValueError, match=why):
        Pin.parse(value)


NAMED, ANYTHING = Route("m", ()), Route("*", ())


@pytest.mark.parametrize(
    ("routes", "model", "found"),
    [
        (Routes({"m": NAMED}), "m", NAMED),
        (Routes({"m": NAMED}, ANYTHING), "m", NAMED),
        (Routes({"m": NAMED}, ANYTHING), "other", ANYTHING),
        (Routes({}, ANYTHING), "", ANYTHING),
    ],
)
def test_a_named_route_goes_before_the_one_for_anything(routes, model, found):
    assert routes.find(model) is found


@pytest.mark.parametrize(("named", "known"), [({"b": NAMED, "a": NAMED}, "a, b"), ({}, "none")], ids=str)
def test_an_unknown_model_lists_the_known_ones(named, known):
    with pytest.raises(ModelNotFound, match=rf"no route serves the model 'x'; models: {known}$") as error:
        Routes(named).find("x")
    assert error.value.model == "x"


@pytest.mark.parametrize(
    ("model", "target_id", "name"), [("llama", "up/llama", "up/llama"), (None, "up/*", "up/asked")]
)
def test_a_target_is_named_by_provider_and_model(model, target_id, name):
    target = Target(Upstream("up"), model)
    assert (target.id, target.name_for("asked")) == (target_id, name)


def test_targets_are_compared_by_identity_and_count_for_themselves():
    upstream = Upstream("up")
    one, other = Target(upstream, "m"), Target(upstream, "m")
    assert one != other
    assert one.live is not other.live


@pytest.mark.parametrize(
    "thing", [Target(Upstream("up"), "m"), NAMED, Routes({}), Pin(("a",)), call_for()], ids=lambda it: type(it).__name__
)
def test_what_travels_is_frozen(thing):
    name = thing._fields[0] if isinstance(thing, tuple) else dataclasses.fields(thing)[0].name
    with pytest.raises(AttributeError):  # also what a frozen dataclass raises
        setattr(thing, name, None)
