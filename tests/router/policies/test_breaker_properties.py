"""Whatever happens to a breaker and its company, in whatever order."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import Upstream, call_for

from providers.errors import QuotaExhausted, RateLimited, Rejected, ServerFault, TimedOut, Truncated
from router import config
from router.errors import Refused
from router.policies.breaker import CLOSED, FORCED_OPEN, HALF_OPEN, OPEN, Breaker
from router.policies.ejections import Ejections
from router.policy import IGNORED, OK, UNSENT, Ending
from router.types import Attempt, Route, Target

TARGET = Target(Upstream("a"), "m")
ATTEMPT = Attempt(call_for(), Route("m", (TARGET,)), TARGET, 1, 0.0, 600.0)
FORCED = ATTEMPT._replace(forced=True)


def failed(failure) -> Ending:
    return Ending(failure.outcome, failure)


FAULT = failed(ServerFault("no", status=500))
BUSY = failed(RateLimited("wait", status=429))
CUT = failed(Truncated("cut"))
REJECTED = failed(Rejected("what?", status=400, body=b"{}"))
QUOTA = failed(QuotaExhausted("no money", status=429))
ENDINGS = [OK, FAULT, FAULT, FAULT, BUSY, CUT, failed(TimedOut("first_token", 30.0)), REJECTED, QUOTA, IGNORED, UNSENT]
CONFIGS = st.builds(
    config.Breaker,
    window=st.floats(1, 60),
    min_calls=st.integers(1, 12),
    failure_rate=st.floats(0.05, 1),
    consecutive=st.integers(1, 8),
    slow_rate=st.floats(0.05, 1),
    open_base=st.floats(0.1, 20),
    open_max=st.floats(20, 300),
    half_open=st.integers(1, 6),
)


class Company:
    """Breakers of one route, attempts on their way, and the rules that always hold, checked after each step."""

    def __init__(self, configs, share: float, rng: Random) -> None:
        self.share = share
        self.rng = rng
        self.now = 0.0
        self.moves = []
        company = Ejections(share)
        self.breakers = [Breaker(f"b{n}/m", each, seed=n, emit=self.moved) for n, each in enumerate(configs)]
        for breaker in self.breakers:
            company.join(breaker)
        self.configs = configs
        self.running = [[] for _ in configs]  # (ticket, has it begun)
        self.ends = [0.0 for _ in configs]

    def moved(self, move) -> None:
        """In the middle of it, so that what led to a transition is still as it was."""
        n = int(move.target[1:-2])
        earlier = [other for other in self.moves if other.target == move.target]
        self.moves.append(move)
        assert move.before == (earlier[-1].after if earlier else CLOSED)
        assert move.failures <= move.calls >= move.slow
        assert min(move.failures, move.slow, move.ejections) >= 0
        if move.after == OPEN:
            assert move.before != FORCED_OPEN
            least = min(self.configs[n].open_max, self.configs[n].open_base * move.ejections)
            assert move.open_until >= move.at + least
            assert move.open_until < max(self.ends[n], move.at + 1.5 * least + 1e-6)
            assert move.open_until >= self.ends[n]  # what was left of it, while it was open
            if move.before == CLOSED:
                others = sum(breaker.ejected for breaker in self.breakers) - 1
                assert others == 0 or others / len(self.breakers) < self.share
        self.ends[n] = move.open_until if move.after in (OPEN, FORCED_OPEN) else 0.0

    def step(self) -> None:
        n = self.rng.randrange(len(self.breakers))
        breaker, running = self.breakers[n], self.running[n]
        action = self.rng.choices(
            ["admit", "forced", "begin", "settle", "wait", "jump", "back", "open", "close", "trip", "look"],
            [30, 3, 20, 30, 20, 3, 2, 0.5, 0.5, 1, 5],
        )[0]
        match action:
            case "admit" | "forced":
                self.admit(n, FORCED if action == "forced" else ATTEMPT)
            case "begin" | "settle" if running:
                self.progress(running, action)
            case "wait":
                self.now += self.rng.expovariate(1.0)
            case "jump":
                self.now += self.rng.uniform(0, 200)
            case "back":
                self.now = max(0.0, self.now - self.rng.uniform(0, 0.1))
            case "open":
                breaker.force_open(self.now, "a test", self.rng.choice([None, self.now + 10.0]))
            case "close":
                breaker.force_close(self.now, "a test")
            case "trip":
                breaker.trip(self.now, "a probe")
            case "look":
                breaker.refusal(ATTEMPT.call, self.now)

    def admit(self, n: int, attempt: Attempt) -> None:
        breaker = self.breakers[n]
        looked = breaker.refusal(attempt.call, self.now)
        state = breaker.state
        assert state == breaker.state_at(self.now)
        before = breaker._probes.granted
        ticket, refused = None, None
        try:
            ticket = breaker.admit(attempt, self.now)
        except Refused as refusal:
            refused = refusal.reason
        assert refused == (None if attempt is FORCED else looked)
        assert (looked == "half_open_full") <= (state == HALF_OPEN)
        assert (looked == "breaker_open") == (state == OPEN)
        assert (looked == "forced_open") == (state == FORCED_OPEN)
        assert (ticket is None) == (looked is not None)
        assert breaker._probes.granted - before == (state == HALF_OPEN and looked is None)
        if ticket is not None:
            self.running[n].append((ticket, False))

    def progress(self, running, action: str) -> None:
        place = self.rng.randrange(len(running))
        ticket, begun = running[place]
        if action == "begin":
            if not begun:
                running[place] = (ticket, True)
                ticket.begun(self.rng.choice([0.1, 0.1, 0.1, 25.0]), self.now)
            return
        del running[place]
        ending = self.rng.choice(ENDINGS)
        if ending is OK and not begun:
            ticket.begun(0.1, self.now)
        ticket.settle(IGNORED if begun and ending is UNSENT else ending, self.now)

    def check(self) -> None:
        for breaker, settings in zip(self.breakers, self.configs, strict=True):
            probes = breaker._probes
            assert probes.granted >= 0
            assert probes.granted + probes.results <= settings.half_open
            assert probes.granted == probes.results == 0 or breaker.state == HALF_OPEN
            told = breaker.describe(self.now)
            assert 0 <= told["failures"] <= told["calls"]
            assert 0 <= told["slow"] <= told["calls"]
            assert told["consecutive_failures"] >= 0
            assert (told["open_until"] is None) or told["open_until"] > self.now
            assert (breaker.open_until > 0) == (breaker.state in (OPEN, FORCED_OPEN))

    def settle_all(self) -> None:
        for running in self.running:
            while running:
                self.progress(running, "settle")
        self.check()
        assert [breaker._probes.granted for breaker in self.breakers] == [0] * len(self.breakers)


@given(st.lists(CONFIGS, min_size=1, max_size=4), st.floats(0, 1), st.integers(0, 2**32))
@examples(150)
def test_whatever_happens_no_rule_is_broken_and_every_permit_is_given_back(configs, share, seed):
    print(f"seed {seed}")
    company = Company(configs, share, Random(seed))
    for _ in range(300):
        company.step()
        company.check()
    company.settle_all()


def test_a_long_random_life_sees_every_transition():
    seed = 20
    print(f"seed {seed}")
    settings = [config.Breaker(min_calls=5, half_open=3, open_base=1.0, failure_rate=0.7) for _ in range(3)]
    company = Company(settings, 0.5, Random(seed))
    for _ in range(30_000):
        company.step()
    company.settle_all()
    seen = {(move.before, move.after) for move in company.moves}
    assert seen >= {(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, OPEN), (HALF_OPEN, CLOSED), (OPEN, OPEN)}
    assert seen >= {(state, FORCED_OPEN) for state in (CLOSED, OPEN, HALF_OPEN)} | {(FORCED_OPEN, HALF_OPEN)}
    ends = {move.reason.split(" ", 2)[-1] for move in company.moves if move.before == HALF_OPEN}
    assert any("said nothing" in end for end in ends)


# --- open_until -----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 400), st.floats(0.1, 50), st.sampled_from(["trip", "look"])), max_size=30),
    st.integers(0, 2**32),
)
@examples(200)
def test_open_until_is_the_later_of_the_old_and_the_new(steps, seed):
    print(f"seed {seed}")
    breaker, now = Breaker("a/m", config.Breaker(), seed=seed), 0.0
    for wait, base, what in steps:
        now += wait
        breaker._config = config.Breaker(open_base=base)
        if what == "look":
            breaker.refusal(ATTEMPT.call, now)
            continue
        old, was_open = breaker.open_until, breaker.state == OPEN
        breaker.trip(now, "a test")
        k = breaker.describe(now)["ejections_in_a_row"]
        assert breaker.open_until >= now + min(300.0, base * k)
        if was_open:
            assert breaker.open_until >= old
            assert breaker.open_until == old or breaker.open_until < now + 1.5 * min(300.0, base * k)


# --- closed: against a list of everything ---------------------------------------------------------------------------

KINDS = st.sampled_from(["ok", "ok", "slow", "fault", "fault", "busy", "cut", "rejected", "ignored"])


class Plain:
    """When it should open, from all calls that there have been, one after another."""

    def __init__(self, settings: config.Breaker) -> None:
        self.settings = settings
        self.calls: list[tuple[int, bool, bool]] = []  # slice, failed, slow
        self.in_a_row = 0

    def opens(self, kind: str, now: float) -> bool:
        settings = self.settings
        number = int(now * (30 / settings.window))
        if kind != "ignored":
            self.calls.append((number, kind in ("fault", "busy", "cut"), kind in ("slow", "cut")))
        if kind in ("ok", "slow"):
            self.in_a_row = 0
        elif kind in ("fault", "cut"):
            self.in_a_row += 1
        if kind == "ignored":
            return False
        held = [call for call in self.calls if call[0] > number - 30]
        failures, slow = sum(call[1] for call in held), sum(call[2] for call in held)
        enough = len(held) >= settings.min_calls
        return self.in_a_row >= settings.consecutive or (
            enough and (failures / len(held) >= settings.failure_rate or slow / len(held) >= settings.slow_rate)
        )


@given(CONFIGS, st.lists(st.tuples(KINDS, st.sampled_from([0.0, 0.0, 0.3, 1.1, 7.3])), max_size=80))
@examples(400)
def test_it_opens_exactly_when_a_list_of_all_calls_says_so(settings, calls):
    breaker, plain, now = Breaker("a/m", settings), Plain(settings), 0.0
    for kind, wait in calls:
        now += wait
        ticket = breaker.admit(ATTEMPT, now)
        assert ticket is not None
        if kind in ("ok", "slow", "cut"):
            ticket.begun(25.0 if kind == "slow" else 0.1, now)
        ends = {"fault": FAULT, "busy": BUSY, "cut": CUT, "rejected": REJECTED, "ignored": IGNORED}.get(kind, OK)
        if breaker.state == CLOSED:
            ticket.settle(ends, now)
        opens = plain.opens(kind, now)
        if breaker.state == OPEN and not opens:  # the beginning of what breaks off is a result too
            assert kind == "cut"
            return
        assert (breaker.state == OPEN) is opens
        if opens:
            assert math.isfinite(breaker.open_until)
            return
