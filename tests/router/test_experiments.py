from __future__ import annotations

import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from props import examples

from router.experiments import BUCKETS, Arm, Experiment, assign
from router.types import Pin

SESSIONS = [f"session-{number}" for number in range(10_000)]


def experiment(*shares, name="exp", **given_):
    """The first of ``shares`` is the control's; arms are called control, t1, t2 ..."""
    names = ["control", *(f"t{place}" for place in range(1, len(shares)))]
    arms = tuple(Arm(arm, (f"at-{arm}",), share) for arm, share in zip(names, shares, strict=True))
    return Experiment(name, arms, **given_)


def arms_of(one, sessions=SESSIONS):
    return [assign((one,), None, session, "r1").arm for session in sessions]


def dealt(one):
    """The arm of each bucket."""
    return [arm.name for arm in one._dealt]


# --- by hash ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shares",
    [(0.95, 0.05), (0.5, 0.5), (0.34, 0.33, 0.33), (0.1, 0.6, 0.3), (0.9, 0.04, 0.03, 0.02, 0.01), (0.0, 1.0)],
    ids=str,
)
@pytest.mark.parametrize("salt", ["", "2026"])
def test_ten_thousand_sessions_are_split_as_the_shares_say(shares, salt):
    one = experiment(*shares, salt=salt)
    found = Counter(arms_of(one))
    for arm in one.arms:
        interval = 3.2905 * (10_000 * arm.share * (1 - arm.share)) ** 0.5  # 99.9 %, two-sided
        assert abs(found[arm.name] - 10_000 * arm.share) <= interval, found


def test_a_session_stays_in_its_arm_whatever_the_request():
    one = experiment(0.5, 0.5)
    for session in SESSIONS[:200]:
        assert len({assign((one,), None, session, f"r{number}").arm for number in range(5)}) == 1


def test_a_session_is_in_the_same_arm_in_another_process():
    root = Path(__file__).parents[2]
    code = (
        "from router.experiments import Arm, Experiment, assign\n"
        "one = Experiment('exp', (Arm('control', ('at-control',), .5), Arm('t1', ('at-t1',), .5)))\n"
        "print([assign((one,), None, f'session-{number}', 'r1').arm for number in range(100)])"
    )
    for hash_seed in "12":
        env = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        assert said.stdout.strip() == repr(arms_of(experiment(0.5, 0.5), SESSIONS[:100])), said.stderr


def test_the_bucket_is_what_is_written_down():
    one = experiment(0.5, 0.5, salt="grain")
    digest = sha256(b"grain\x1fexp\x1fsession-1").digest()
    assert one.bucket_of("session-1") == int.from_bytes(digest[:8], "big") % 10_000


def test_another_salt_or_another_name_deals_anew():
    """Who is in one experiment's treatment says nothing of who is in another's."""
    first = arms_of(experiment(0.5, 0.5))
    for other in (experiment(0.5, 0.5, salt="x"), experiment(0.5, 0.5, name="other")):
        same = sum(one == two for one, two in zip(first, arms_of(other), strict=True))
        assert abs(same - 5000) < 3.29 * 2500**0.5


def test_requests_are_dealt_one_by_one_if_they_are_the_unit_or_have_no_session():
    by_request = experiment(0.5, 0.5, unit="request")
    by_session = experiment(0.5, 0.5)
    for number in range(100):
        key = f"r{number}"
        expected = by_session.arm_of(key).name
        assert assign((by_request,), None, "one session", key).arm == expected
        assert assign((by_session,), None, None, key).arm == expected
        assert assign((by_session,), None, "", key).arm == expected


def test_half_an_emoji_is_a_session_too():
    assert assign((experiment(0.5, 0.5),), None, "\ud83d", "r1")


# --- shares that change -----------------------------------------------------------------------------------------


def test_from_five_to_ten_percent_nobody_leaves_the_treatment():
    before, after = arms_of(experiment(0.95, 0.05)), arms_of(experiment(0.9, 0.1))
    moved = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
    assert moved.keys() == {("control", "t1")}
    assert 400 < moved["control", "t1"] < 600


@st.composite
def raised(draw):
    """(buckets of each treatment, the same after one was raised, which): one or two of any size, more within 1/n."""
    count = draw(st.integers(1, 5))
    most = BUCKETS // count if count > 2 else BUCKETS
    treatments = [draw(st.integers(0, most)) for _ in range(count)]
    assume(sum(treatments) < BUCKETS)
    which = draw(st.integers(0, count - 1))
    limit = min(most, treatments[which] + BUCKETS - sum(treatments))
    assume(limit > treatments[which])
    after = [*treatments]
    after[which] = draw(st.integers(treatments[which] + 1, limit))
    return treatments, after, which


@examples(100)
@given(raised())
def test_a_raised_treatment_takes_only_from_the_control_and_a_lowered_one_gives_only_to_it(case):
    before, after, which = case
    old, new = (
        dealt(experiment(*(buckets / BUCKETS for buckets in (BUCKETS - sum(shares), *shares))))
        for shares in (before, after)
    )
    moved = Counter((one, two) for one, two in zip(old, new, strict=True) if one != two)
    assert moved == {("control", f"t{which + 1}"): after[which] - before[which]}


@examples(100)
@given(st.lists(st.integers(0, BUCKETS), min_size=1, max_size=6).filter(lambda cuts: sum(cuts) > 0))
def test_every_arm_has_exactly_its_share_of_the_buckets_however_large(cuts):
    points = sorted(cut % (BUCKETS + 1) for cut in cuts)
    sizes = [high - low for low, high in zip([0, *points], [*points, BUCKETS], strict=True)]
    one = experiment(*(size / BUCKETS for size in sizes))
    found = Counter(dealt(one))
    assert [found[arm.name] for arm in one.arms] == sizes


# --- the pin ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failover", [False, True])
def test_an_arm_is_a_pin_that_is_left_only_if_the_experiment_says_so(failover):
    arms = (Arm("control", ("a",), 0.0), Arm("treatment", ("b", "c"), 1.0))
    found = assign([Experiment("exp", arms, failover=failover)], None, "s1", "r1")
    assert found == ("exp", "treatment", Pin(("b", "c"), others=failover, sticky=True), False)


@pytest.mark.parametrize("failover", [False, True])
def test_an_arm_that_the_client_chose_is_never_left_and_beats_the_hash(failover):
    one = experiment(1.0, 0.0, failover=failover)
    for session in (None, "s1", "s2"):
        assert assign((one,), "exp=t1", session, "r1") == ("exp", "t1", Pin(("at-t1",)), True)


@pytest.mark.parametrize("header", ["exp=t1", " exp=t1 ", "exp = t1"])
def test_spaces_in_the_header_mean_nothing(header):
    assert assign((experiment(1.0, 0.0),), header, None, "r1").arm == "t1"


def test_of_several_experiments_the_first_is_dealt_and_any_may_be_asked_for():
    several = (experiment(0.0, 1.0, name="first"), experiment(0.0, 1.0, name="second"))
    assert assign(several, None, "s1", "r1").experiment == "first"
    assert assign(several, "second=control", "s1", "r1")[:2] == ("second", "control")


def test_without_experiments_there_is_nothing():
    assert assign((), None, "s1", "r1") is None


@pytest.mark.parametrize(
    "header", ["", "exp", "=", "exp=", "=t1", "exp=t9", "nope=t1", "t1=exp", "exp=t1=t1", "EXP=t1", "exp=t1,other=t1"]
)
def test_a_header_that_is_no_arm_lists_those_that_are(header):
    several = (experiment(0.5, 0.5), experiment(0.5, 0.5, name="other"))
    with pytest.raises(ValueError, match=r"^X-Experiment: .* these are: exp=control, exp=t1, other=control, other=t1$"):
        assign(several, header, "s1", "r1")


def test_a_header_where_there_is_no_experiment_is_refused():
    with pytest.raises(ValueError, match=r"^X-Experiment: this model has no experiment; leave the header out$"):
        assign((), "exp=t1", "s1", "r1")


def test_an_endless_header_does_not_come_back_whole():
    with pytest.raises(ValueError, match="X-Experiment") as caught:
        assign((experiment(0.5, 0.5),), "x" * 5000, None, "r1")
    assert len(str(caught.value)) < 300


# --- what is refused --------------------------------------------------------------------------------------------

A, B = Arm("a", ("one",), 0.5), Arm("b", ("two",), 0.5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Arm("", ("p",), 0.5), r"arm '': a name must be 1 to 64 of A-Z a-z 0-9 \. _ -"),
        (lambda: Arm("a=b", ("p",), 0.5), r"arm 'a=b': a name must be"),
        (lambda: Arm("a" * 65, ("p",), 0.5), "a name must be"),
        (lambda: Arm("a", (), 0.5), "arm a: providers must name at least one"),
        (lambda: Arm("a", ("p", "q", "p"), 0.5), "arm a: providers names one twice: p, q, p"),
        (lambda: Arm("a", ("p",), -0.1), r"arm a: share must be from 0 to 1 in steps of 0\.0001, not -0\.1"),
        (lambda: Arm("a", ("p",), 1.1), "arm a: share must be from 0 to 1"),
        (lambda: Arm("a", ("p",), float("nan")), "arm a: share must be from 0 to 1"),
        (lambda: Arm("a", ("p",), 0.00001), r"in steps of 0\.0001, not 1e-05"),
        (lambda: Experiment("e x", (A, B)), "experiment 'e x': a name must be"),
        (lambda: Experiment("e", (A,)), "experiment e: arms must be a control and at least one treatment"),
        (lambda: Experiment("e", (A, A)), "experiment e: arms must have different names, not a, a"),
        (
            lambda: Experiment("e", (A, Arm("b", ("two",), 0.4))),
            r"experiment e: the shares of its arms must add up to 1, not 0\.5 \+ 0\.4",
        ),
    ],
)
def test_nonsense_is_refused_and_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()
