"""X-Fault's value: what is in it, and whom it convinces."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import on_virtual_clock

from app.api.errors import ApiError
from app.api.signed_fault import HeaderFaults, fault_in, signed
from app.settings import load
from app.wiring import build
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


@pytest.mark.parametrize(("on", "why"), [("false", "chaos.header_faults"), ("true", "there is no admin API here")])
def test_where_nobody_could_have_signed_it_the_reason_is_the_true_one(tmp_path: Path, on: str, why: str) -> None:
    least = "providers: [{name: e, kind: echo}]\nroutes: [{model: m, targets: [{provider: e}]}]\n"
    (tmp_path / "breakwater.yaml").write_text(f"{least}chaos: {{header_faults: {on}}}\n")
    faults = HeaderFaults(build(load(None, {}, tmp_path).settings), None)
    with pytest.raises(ApiError, match=why):
        faults.begin(VALUE, "r1", NOW)


@on_virtual_clock
async def test_requests_whose_ids_begin_alike_have_faults_of_their_own(tmp_path: Path) -> None:
    least = "providers: [{name: e, kind: echo}]\nroutes: [{model: m, targets: [{provider: e}]}]\n"
    (tmp_path / "breakwater.yaml").write_text(f"{least}chaos: {{header_faults: true}}\n")
    gateway = build(load(None, {}, tmp_path).settings)
    faults, value = HeaderFaults(gateway, TOKEN), signed({"kind": "http_5xx", "target": "e"}, 1_000_060, TOKEN).encode()
    begun = {faults.begin(value, request_id, NOW).rule.id for request_id in ("x" * 127 + "1", "x" * 127 + "2", "r3")}
    assert begun == gateway.chaos.acting.keys()
    assert len(begun) == 3
    assert "http_5xx-r3" in begun
    assert all(len(fault) <= 64 for fault in begun)
    gateway.chaos.close()


@on_virtual_clock
async def test_the_end_of_a_request_stops_its_own_fault_and_no_other_of_that_name(tmp_path: Path) -> None:
    least = "providers: [{name: e, kind: echo}]\nroutes: [{model: m, targets: [{provider: e}]}]\n"
    (tmp_path / "breakwater.yaml").write_text(f"{least}chaos: {{header_faults: true}}\n")
    gateway = build(load(None, {}, tmp_path).settings)
    faults = HeaderFaults(gateway, TOKEN)
    value = signed({"kind": "http_5xx", "target": "e", "id": "named"}, 1_000_060, TOKEN).encode()
    own = faults.begin(value, "r1", NOW)
    assert gateway.chaos.stop("named")
    other = faults.begin(value, "r2", NOW)
    faults.end(own)
    assert gateway.chaos.acting == {"named": other}
    faults.end(other)
    assert not gateway.chaos.acting
    gateway.chaos.close()
