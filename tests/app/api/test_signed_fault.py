"""X-Fault's value: what is in it, and whom it convinces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from app.api.signed_fault import fault_in, signed
from router.chaos import FaultRefused

TOKEN = "hush-hush-this-is-the-token"
FAULT = {"kind": "http_5xx", "target": ["a"], "statuses": [503]}
NOW = 1_000_000.0
VALUE = signed(FAULT, 1_000_060, TOKEN).encode()


def test_what_was_signed_comes_out() -> None:
    assert fault_in(VALUE, TOKEN, NOW) == FAULT
    assert fault_in(b"  " + VALUE + b" ", TOKEN, NOW) == FAULT


def test_it_is_fit_for_a_header() -> None:
    assert VALUE.decode().isascii()
    assert not set(VALUE) & set(b' ,;="\\\r\n')
    assert TOKEN.encode() not in VALUE


@pytest.mark.parametrize(("late", "refused"), [(59.9, False), (60, True), (75.2, True)])
def test_it_expires(late: float, refused: bool) -> None:
    if not refused:
        assert fault_in(VALUE, TOKEN, NOW + late) == FAULT
        return
    with pytest.raises(FaultRefused, match=rf"expired {late - 60:.0f} s ago; sign a new one") as no:
        fault_in(VALUE, TOKEN, NOW + late)
    assert no.value.param == "exp"


@given(st.integers(0, len(VALUE) - 1), st.integers(0, 255))
@examples(300)
def test_whatever_byte_is_changed_it_convinces_nobody(place: int, byte: int) -> None:
    changed = VALUE[:place] + bytes([byte]) + VALUE[place + 1 :]
    if changed in (VALUE, b" " + VALUE[1:]):
        return
    with pytest.raises(FaultRefused, match="not signed with this gateway's admin token"):
        fault_in(changed, TOKEN, NOW)


@given(st.binary(max_size=200))
@examples(200)
def test_whatever_comes_is_refused_in_words(value: bytes) -> None:
    with pytest.raises(FaultRefused, match="not signed"):
        fault_in(value, TOKEN, NOW)


@pytest.mark.parametrize("token", ["another-token", "hush-hush-this-is-the-toke", TOKEN + "x"])
def test_another_token_is_no_good(token: str) -> None:
    with pytest.raises(FaultRefused, match="`breakwater fault sign` makes one"):
        fault_in(VALUE, token, NOW)


def test_one_that_is_too_long_is_not_even_looked_at() -> None:
    long = signed({**FAULT, "reason": "x" * 5000}, 1_000_060, TOKEN).encode()
    with pytest.raises(FaultRefused, match="not signed"):
        fault_in(long, TOKEN, NOW)


@pytest.mark.parametrize("exp", [None, "soon", [1], {}])
def test_one_without_an_end_is_refused(exp: object) -> None:
    value = signed({**FAULT}, exp, TOKEN).encode()  # type: ignore[arg-type]
    with pytest.raises(FaultRefused, match="is signed, but holds no fault"):
        fault_in(value, TOKEN, NOW)
