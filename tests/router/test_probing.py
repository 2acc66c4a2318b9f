from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples
from worlds import alive, call_for, now, on_virtual_clock

from providers.base import Probed
from providers.echo import Echo, EchoOptions
from providers.errors import ServerFault, Unreachable
from providers.openai_compatible import HttpOptions, OpenAICompatible
from router import Route, Target
from router.config import Breaker as BreakerConfig
from router.config import Probing
from router.events import BreakerMoved, Events, Unanswered
from router.policies.breaker import Breaker
from router.policies.ejections import Ejections
from router.policy import IGNORED, OK, Ending, Ticket, admit_all, settle_all
from router.probing import IDLE_FAILURES, Probe, Prober
from router.types import Attempt

DOWN = ServerFault("down", status=500)
BROKEN = Ending(DOWN.outcome, DOWN)
WELL: None = None


class Answers:
    """A provider that is only asked whether it is there. Each answer is an error to raise, None if it is well, or seconds
    that it takes to be well; the last one again and again.
    """

    name = "p"

    def __init__(self, *answers: Exception | float | None) -> None:
        self.asked: list[float] = []
        self.timeouts: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._answers = answers

    async def probe(self, seconds: float) -> None:
        self.asked.append(now())
        self.timeouts.append(seconds)
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if isinstance(answer, Exception):
                raise answer
            if answer:
                await asyncio.sleep(answer)
        finally:
            self._at_once -= 1


class Fleet:
    """One target with a breaker, and a prober. ``moved`` is the breaker's timeline."""

    def __init__(
        self,
        provider: Answers,
        probing: Probing | None = None,
        breaker: BreakerConfig | None = None,
        target: str = "p/m",
    ) -> None:
        self.provider = provider
        self.events = Events()
        self.moved: list[BreakerMoved] = []
        self.events.listen(self.moved.append, BreakerMoved)
        self.breaker = Breaker(target, breaker or BreakerConfig(), emit=self.events.emit)
        self.live = alive(self.breaker)
        probe = Probe(target, provider, self.breaker, self.live, probing or Probing())
        self.prober = Prober([probe], self.events)
        self.target = Target(provider, "m", live=self.live)  # type: ignore[arg-type]
        self.route = Route("m", (self.target,))

    def send(self) -> list[Ticket]:
        """An attempt as traffic makes it. Raises ``Refused``."""
        attempt = Attempt(call_for(), self.route, self.target, 1, now(), now() + 60)
        return admit_all(self.live.guards, attempt, now())

    def traffic(self, *endings: Ending) -> None:
        for ending in endings:
            tickets = self.send()
            if ending is OK:
                for ticket in tickets:
                    ticket.begun(0.1, now())
            settle_all(tickets, ending, now())

    @property
    def state(self) -> str:
        return self.breaker.state_at(now())

    @property
    def timeline(self) -> list[tuple[str, str]]:
        return [(move.after, move.reason) for move in self.moved]

    async def sleep_until(self, when: float) -> None:
        await asyncio.sleep(when - now())


# --- who was ejected ------------------------------------------------------------------------------------------------


@on_virtual_clock
async def test_an_open_target_is_asked_once_before_its_end():
    fleet = Fleet(Answers(WELL), Probing(timeout=2.0))
    fleet.traffic(*[BROKEN] * 5)
    end = fleet.breaker.open_until
    assert 5.0 <= end <= 7.5
    assert fleet.prober.next_probe("p/m") == pytest.approx(end - 2.0)
    await asyncio.sleep(1000)
    assert (fleet.provider.asked, fleet.provider.timeouts) == ([end - 2.0], [2.0])
    assert fleet.prober.next_probe("p/m") is None


@on_virtual_clock
async def test_a_probe_that_succeeds_leaves_the_verdict_to_traffic():
    fleet = Fleet(Answers(WELL))
    fleet.traffic(*[BROKEN] * 5)
    end = fleet.breaker.open_until
    await fleet.sleep_until(end - 0.01)
    assert fleet.provider.asked
    assert fleet.state == "open"
    await fleet.sleep_until(end)
    assert fleet.state == "half_open"
    fleet.traffic(*[BROKEN] * 5)
    assert fleet.timeline == [
        ("open", "5 failures in a row"),
        ("half_open", "its time is over"),
        ("open", "5 of 5 probes failed"),
    ]


@on_virtual_clock
async def test_a_probe_that_fails_keeps_it_open_for_as_long_again_and_no_client_has_to_find_out():
    """Not for longer each time: to ask costs nothing, and who is back after an hour should not wait for five minutes more."""
    fleet = Fleet(Answers(Unreachable("nobody there"), DOWN, WELL), Probing(timeout=2.0))
    fleet.traffic(*[BROKEN] * 5)
    first = fleet.breaker.open_until
    await fleet.sleep_until(first)
    second = fleet.breaker.open_until
    assert first - 2.0 + 5.0 <= second <= first - 2.0 + 7.5
    await fleet.sleep_until(second)
    third = fleet.breaker.open_until
    assert second - 2.0 + 5.0 <= third <= second - 2.0 + 7.5
    await fleet.sleep_until(third)
    assert fleet.state == "half_open"
    assert fleet.provider.asked == [first - 2.0, second - 2.0, third - 2.0]
    assert fleet.timeline == [("open", "5 failures in a row"), ("open", "probe: unreachable"), ("open", "probe: 500")]
    fleet.traffic(*[OK] * 5)
    assert fleet.timeline[-1] == ("closed", "5 of 5 probes were good")


@pytest.mark.parametrize("base", [0.1, 1.0, 3.0])
@on_virtual_clock
async def test_of_a_short_opening_half_is_left_before_it_is_asked(base):
    fleet = Fleet(Answers(WELL), Probing(timeout=2.0), BreakerConfig(open_base=base))
    fleet.traffic(*[BROKEN] * 5)
    end = fleet.breaker.open_until
    await asyncio.sleep(10)
    assert fleet.provider.asked == [pytest.approx(max(end / 2, end - 2.0))]


@on_virtual_clock
async def test_one_that_hangs_has_failed_when_its_time_is_over():
    fleet = Fleet(Answers(1e6, WELL), Probing(timeout=2.0))
    fleet.traffic(*[BROKEN] * 5)
    end = fleet.breaker.open_until
    await fleet.sleep_until(end)
    await asyncio.sleep(0.001)
    assert fleet.timeline[-1] == ("open", "probe: timeout")
    assert fleet.breaker.open_until > end + 5.0


@on_virtual_clock
async def test_when_traffic_came_back_first_a_probe_that_fails_late_says_nothing():
    """It hangs beyond the end of a short opening, and meanwhile traffic has shown that all is well."""
    fleet = Fleet(Answers(1e6), Probing(timeout=2.0), BreakerConfig(open_base=0.5))
    fleet.traffic(*[BROKEN] * 5)
    await fleet.sleep_until(fleet.breaker.open_until)
    fleet.traffic(*[OK] * 5)
    assert fleet.state == "closed"
    await asyncio.sleep(10)
    assert len(fleet.provider.asked) == 1
    assert fleet.state == "closed"


@on_virtual_clock
async def test_nor_does_it_take_the_permits_of_those_that_probe_with_traffic():
    fleet = Fleet(Answers(1e6), Probing(timeout=2.0), BreakerConfig(open_base=0.5))
    fleet.traffic(*[BROKEN] * 5)
    await fleet.sleep_until(fleet.breaker.open_until)
    running = fleet.send()
    await asyncio.sleep(10)
    assert fleet.state == "half_open"
    settle_all(running, IGNORED, now())


@on_virtual_clock
async def test_never_two_at_once_however_short_the_openings_are():
    fleet = Fleet(Answers(1.9), Probing(timeout=2.0), BreakerConfig(open_base=0.2, open_max=0.2))
    for _ in range(20):
        if fleet.state == "open":
            await fleet.sleep_until(fleet.breaker.open_until)
        fleet.traffic(*[BROKEN] * 5)
    await asyncio.sleep(10)
    assert fleet.provider.most_at_once == 1
    assert 2 <= len(fleet.provider.asked) < 20


@on_virtual_clock
async def test_what_an_operator_opened_is_not_asked():
    fleet = Fleet(Answers(DOWN))
    fleet.breaker.force_open(now(), "maintenance", until=20.0)
    await asyncio.sleep(100)
    assert fleet.provider.asked == []
    assert fleet.state == "half_open"


@on_virtual_clock
async def test_what_an_operator_closed_is_not_asked_any_more():
    fleet = Fleet(Answers(DOWN))
    fleet.traffic(*[BROKEN] * 5)
    fleet.breaker.force_close(now(), "I know better")
    assert fleet.prober.next_probe("p/m") is None
    await asyncio.sleep(100)
    assert (fleet.provider.asked, fleet.state) == ([], "closed")


@on_virtual_clock
async def test_probing_can_be_off():
    fleet = Fleet(Answers(DOWN), Probing(enabled=False, idle=1.0))
    fleet.prober.start()
    fleet.traffic(*[BROKEN] * 5)
    await asyncio.sleep(100)
    assert (fleet.provider.asked, fleet.prober.next_probe("p/m")) == ([], None)


@on_virtual_clock
async def test_a_target_that_is_unknown_here_is_nobodys_concern():
    fleet = Fleet(Answers(WELL))
    other = Breaker("other/m", BreakerConfig(), emit=fleet.events.emit)
    other.trip(now(), "elsewhere")
    assert fleet.prober.next_probe("other/m") is None
    await asyncio.sleep(100)
    assert fleet.provider.asked == []


def test_who_cannot_be_asked_is_not():
    """Wiring makes no Probe of a provider without ``probe``."""
    assert not isinstance(Echo("echo", EchoOptions()), Probed)
    assert isinstance(OpenAICompatible("up", HttpOptions("http://127.0.0.1:1/v1")), Probed)


# --- who idles ------------------------------------------------------------------------------------------------------


@on_virtual_clock
async def test_who_idles_is_asked_again_and_again_and_that_is_no_traffic():
    fleet = Fleet(Answers(WELL), Probing(idle=60.0))
    fleet.prober.start()
    await fleet.sleep_until(300.5)
    assert fleet.provider.asked == [60.0, 120.0, 180.0, 240.0, 300.0]
    assert fleet.live.used < 0
    assert fleet.moved == []
    assert fleet.prober.next_probe("p/m") == pytest.approx(360.0)


@on_virtual_clock
async def test_without_idle_nobody_is_asked_who_was_not_ejected():
    fleet = Fleet(Answers(WELL))
    fleet.prober.start()
    await asyncio.sleep(10_000)
    assert (fleet.provider.asked, fleet.prober.next_probe("p/m")) == ([], None)


@on_virtual_clock
async def test_traffic_is_instead_of_probes_and_the_time_counts_from_its_last_call():
    fleet = Fleet(Answers(WELL), Probing(idle=60.0))
    fleet.prober.start()
    for _ in range(10):
        await asyncio.sleep(25.0)
        fleet.traffic(OK)
    assert fleet.provider.asked == []
    await asyncio.sleep(100)
    assert fleet.provider.asked == [310.0]


@on_virtual_clock
async def test_who_streams_for_long_does_not_idle():
    fleet = Fleet(Answers(DOWN), Probing(idle=60.0))
    fleet.prober.start()
    await asyncio.sleep(1.0)
    stream = fleet.send()
    await asyncio.sleep(1000)
    assert fleet.provider.asked == []
    settle_all(stream, OK, now())
    await asyncio.sleep(61)
    assert len(fleet.provider.asked) == 1


@on_virtual_clock
async def test_one_failure_of_an_idle_target_is_a_lost_packet_three_are_an_ejection():
    fleet = Fleet(Answers(DOWN, DOWN, WELL, DOWN, DOWN, DOWN, WELL), Probing(idle=60.0))
    fleet.prober.start()
    await fleet.sleep_until(359.0)
    assert fleet.moved == []
    await fleet.sleep_until(360.5)
    assert fleet.timeline == [("open", "probe: 500")]
    end = fleet.breaker.open_until
    assert fleet.prober.next_probe("p/m") == pytest.approx(end - 2.0)
    await asyncio.sleep(120)
    assert fleet.provider.asked[6] == pytest.approx(end - 2.0)
    assert fleet.timeline == [("open", "probe: 500")]
    assert fleet.state == "half_open"  # nobody has sent anything


@on_virtual_clock
async def test_failures_count_in_a_row_and_traffic_between_them_ends_the_row():
    fleet = Fleet(Answers(DOWN), Probing(idle=60.0))
    fleet.prober.start()
    for _ in range(10):
        await asyncio.sleep(60.0 * (IDLE_FAILURES - 1) + 30)
        fleet.traffic(OK)
    assert len(fleet.provider.asked) >= 10
    assert fleet.moved == []


@on_virtual_clock
async def test_an_idle_target_that_gets_traffic_while_it_is_asked_is_judged_by_that():
    fleet = Fleet(Answers(DOWN, DOWN, 1e6), Probing(idle=60.0, timeout=5.0))
    fleet.prober.start()
    await fleet.sleep_until(182.0)
    fleet.traffic(OK)
    await asyncio.sleep(20)
    assert len(fleet.provider.asked) == IDLE_FAILURES
    assert fleet.moved == []


@on_virtual_clock
async def test_the_last_of_its_company_is_not_ejected_for_silence():
    fleet = Fleet(Answers(DOWN), Probing(idle=10.0))
    company = Ejections(0.5)
    other = Breaker("other/m", BreakerConfig())
    company.join(fleet.breaker)
    company.join(other)
    other.trip(0.0, "broken")
    fleet.prober.start()
    await asyncio.sleep(101)
    assert len(fleet.provider.asked) == 10
    assert fleet.moved == []


@on_virtual_clock
async def test_an_idle_target_that_was_ejected_is_asked_before_its_end_and_goes_on_idling():
    fleet = Fleet(Answers(WELL), Probing(idle=60.0))
    fleet.prober.start()
    await asyncio.sleep(10)
    fleet.traffic(*[BROKEN] * 5)
    end = fleet.breaker.open_until
    await asyncio.sleep(200)
    assert fleet.provider.asked == [end - 2.0, 70.0, 130.0, 190.0]


# --- who answers nobody ---------------------------------------------------------------------------------------------


def unanswered(fleet: Fleet, since: float) -> None:
    fleet.events.emit(Unanswered(now(), "p/m", now() - since, 1, 1, drowned=False, again=False))


@on_virtual_clock
async def test_one_whose_callers_leave_is_asked_twice_and_ejected_if_it_does_not_answer_us_either():
    """Else nobody would find out before ``attempt`` is over, five minutes later."""
    fleet = Fleet(Answers(1e6), Probing(timeout=2.0))
    await asyncio.sleep(10)
    unanswered(fleet, since=5.0)
    await asyncio.sleep(5.9)
    assert (fleet.provider.asked, fleet.state) == ([10.0, 14.0], "closed")
    await asyncio.sleep(0.2)
    assert fleet.timeline == [("open", "probe: timeout")]


@pytest.mark.parametrize("answers", [(1e6, WELL), (Unreachable("a lost packet"), WELL), (DOWN,), (1e6, DOWN)], ids=str)
@on_virtual_clock
async def test_one_probe_that_is_lost_and_an_answer_that_is_an_error_are_no_silence(answers):
    """A busy server may miss one; one that has no list of models answers all the same."""
    fleet = Fleet(Answers(*answers), Probing(timeout=2.0))
    unanswered(fleet, since=-5.0)
    await asyncio.sleep(20)
    assert len(fleet.provider.asked) == len(answers)
    assert fleet.moved == []


@on_virtual_clock
async def test_one_that_answers_us_is_busy_and_keeps_its_traffic():
    fleet = Fleet(Answers(WELL))
    await asyncio.sleep(10)
    for _ in range(100):
        unanswered(fleet, since=5.0)
        await asyncio.sleep(1)
    assert len(fleet.provider.asked) == 100
    assert fleet.moved == []


@on_virtual_clock
async def test_one_that_answers_a_caller_while_it_is_asked_is_judged_by_that():
    fleet = Fleet(Answers(1e6), Probing(timeout=2.0))
    await asyncio.sleep(10)
    unanswered(fleet, since=5.0)
    await asyncio.sleep(1)
    fleet.live.answered_at = now()
    await asyncio.sleep(10)
    assert fleet.moved == []


@on_virtual_clock
async def test_however_many_leave_it_is_asked_once_at_a_time():
    fleet = Fleet(Answers(1.5), Probing(timeout=2.0))
    for _ in range(100):
        unanswered(fleet, since=0.0)
        await asyncio.sleep(0.01)
    await asyncio.sleep(10)
    assert (len(fleet.provider.asked), fleet.provider.most_at_once) == (1, 1)


@on_virtual_clock
async def test_one_that_is_open_is_asked_before_its_end_and_not_besides():
    fleet = Fleet(Answers(WELL), Probing(timeout=2.0))
    fleet.traffic(*[BROKEN] * 5)
    end = fleet.breaker.open_until
    unanswered(fleet, since=-5.0)
    await asyncio.sleep(100)
    assert fleet.provider.asked == [end - 2.0]


@on_virtual_clock
async def test_one_that_was_ejected_meanwhile_is_not_ejected_twice():
    fleet = Fleet(Answers(1e6), Probing(timeout=2.0))
    unanswered(fleet, since=-5.0)
    await asyncio.sleep(1)
    fleet.traffic(*[BROKEN] * 5)
    await asyncio.sleep(1.5)
    assert fleet.timeline == [("open", "5 failures in a row")]


@on_virtual_clock
async def test_half_open_and_silent_it_is_open_again():
    fleet = Fleet(Answers(WELL, 1e6), Probing(timeout=2.0))
    fleet.traffic(*[BROKEN] * 5)
    await fleet.sleep_until(fleet.breaker.open_until)
    assert fleet.state == "half_open"
    running = fleet.send()
    since = now()
    await asyncio.sleep(5)
    unanswered(fleet, since)
    await asyncio.sleep(6.1)
    assert fleet.timeline[-1] == ("open", "probe: timeout")
    settle_all(running, IGNORED, now())


@on_virtual_clock
async def test_without_probing_and_elsewhere_nobody_is_asked():
    fleet = Fleet(Answers(DOWN), Probing(enabled=False))
    unanswered(fleet, since=-5.0)
    other = Fleet(Answers(DOWN))
    other.events.emit(Unanswered(now(), "other/m", 5.0, 1, 1, drowned=False, again=False))
    await asyncio.sleep(10)
    assert fleet.provider.asked == other.provider.asked == []


# --- the end, and bugs ----------------------------------------------------------------------------------------------


@on_virtual_clock
async def test_it_ends_with_a_probe_running_and_asks_nobody_afterwards():
    fleet = Fleet(Answers(1e6), Probing(idle=10.0))
    fleet.prober.start()
    fleet.traffic(*[BROKEN] * 5)
    await fleet.sleep_until(fleet.breaker.open_until - 1.0)
    assert fleet.provider._at_once == 1
    await fleet.prober.aclose()
    assert (fleet.provider._at_once, fleet.prober.next_probe("p/m")) == (0, None)
    assert not fleet.events._listeners[BreakerMoved][1:]
    fleet.breaker.force_close(now(), "anew")
    fleet.traffic(*[BROKEN] * 5)
    await asyncio.sleep(1000)
    assert len(fleet.provider.asked) == 1


@on_virtual_clock
async def test_it_ends_in_the_moment_in_which_a_question_is_answered():
    fleet = Fleet(Answers(1.0), Probing(idle=10.0))
    fleet.prober.start()
    await asyncio.sleep(10.5)
    (asking,) = fleet.prober._asking.values()
    await asyncio.wait({asking})
    fleet.prober._asking["p/m"] = asking  # its own callback has yet to come
    closing = asyncio.create_task(fleet.prober.aclose())
    await asyncio.sleep(0)
    fleet.prober._asked("p/m", asking)
    await closing
    assert fleet.prober.next_probe("p/m") is None
    await asyncio.sleep(100)
    assert len(fleet.provider.asked) == 1


@on_virtual_clock
async def test_it_ends_with_a_question_still_to_come():
    fleet = Fleet(Answers(WELL), Probing(idle=10.0))
    fleet.prober.start()
    await fleet.prober.aclose()
    await asyncio.sleep(100)
    assert (fleet.provider.asked, fleet.prober.next_probe("p/m")) == ([], None)


@on_virtual_clock
async def test_it_ends_before_it_has_begun():
    await Fleet(Answers(WELL)).prober.aclose()


def test_a_bug_in_a_provider_is_told_and_does_not_end_the_probing():
    fleets: list[Fleet] = []

    async def scenario():
        fleet = Fleet(Answers(ZeroDivisionError("a bug"), WELL), Probing(idle=60.0))
        fleets.append(fleet)
        fleet.prober.start()
        await asyncio.sleep(130)

    with pytest.raises(AssertionError, match="a bug"):
        on_virtual_clock(scenario)()
    assert len(fleets[0].provider.asked) == 2


ANSWERS = st.one_of(st.just(WELL), st.just(DOWN), st.floats(0.0, 4.0))
DEEDS = st.tuples(st.sampled_from(["ok", "broken", "open", "close", "nothing"]), st.floats(0.0, 20.0))


@given(
    st.lists(ANSWERS, min_size=1, max_size=8),
    st.lists(DEEDS, max_size=40),
    st.sampled_from([None, 5.0, 30.0]),
    st.sampled_from([0.3, 5.0]),
)
@examples(150)
def test_whatever_happens_one_at_a_time_and_success_moves_nothing(answers, deeds, idle, base):
    @on_virtual_clock
    async def scenario():
        config = BreakerConfig(open_base=base, open_max=60.0)
        fleet = Fleet(Answers(*answers), Probing(idle=idle), config)
        fleet.prober.start()
        for deed, pause in deeds:
            match deed:
                case "open":
                    fleet.breaker.force_open(now(), "by hand", now() + 3.0)
                case "close":
                    fleet.breaker.force_close(now(), "by hand")
                case "nothing":
                    pass
                case _ if fleet.live.refusal(call_for(), now()) is None:
                    fleet.traffic(OK if deed == "ok" else BROKEN)
                case _:
                    pass
            await asyncio.sleep(pause)
        await fleet.prober.aclose()
        assert fleet.provider.most_at_once <= 1
        assert fleet.live.in_flight == 0
        by_probes = [move for move in fleet.moved if move.reason.startswith("probe")]
        assert all(move.after == "open" for move in by_probes)
        assert len(by_probes) <= len(fleet.provider.asked)
        if all(answer is WELL for answer in answers):
            assert not by_probes
        openings = sum(move.after == "open" for move in fleet.moved)
        rests = 0 if idle is None else now() / idle
        assert len(fleet.provider.asked) <= openings + rests

    scenario()
