from __future__ import annotations

import pytest
from worlds import Upstream, World, call_for

from providers import Outcome
from router.errors import Refused
from router.policy import OK, UNSENT, Ending, admit_all, settle_all
from router.types import Attempt, Route

FAULT = Ending(Outcome.FAULT)


class Recorder:
    """Writes into a common book, under its name."""

    def __init__(self, name, book, *, refuses=False):
        self.name, self.book, self.refuses = name, book, refuses

    def admit(self, attempt, now):
        if self.refuses:
            raise Refused("full")
        self.book.append((self.name, "in", now))
        return self

    def begun(self, seconds, now):
        raise AssertionError("nothing has begun")

    def settle(self, ending, now):
        self.book.append((self.name, ending, now))


class Keepsnothing:
    def admit(self, attempt, now):
        return None


@pytest.fixture
def attempt():
    (target,) = World([Upstream("a")]).targets
    return Attempt(call_for(), Route("m", (target,)), target, 1, 0.0, 600.0)


def test_a_ticket_from_each_policy_that_keeps_something(attempt):
    book = []
    tickets = admit_all([Recorder("a", book), Keepsnothing(), Recorder("b", book)], attempt, 1.0)
    assert len(tickets) == 2
    assert book == [("a", "in", 1.0), ("b", "in", 1.0)]


def test_tickets_are_handed_back_once_last_first(attempt):
    book = []
    tickets = admit_all([Recorder("a", book), Recorder("b", book)], attempt, 1.0)
    for _ in range(2):
        settle_all(tickets, FAULT, 2.0)
    assert book[2:] == [("b", FAULT, 2.0), ("a", FAULT, 2.0)]


def test_a_refusal_tells_those_before_it_that_nothing_happened_and_asks_none_after_it(attempt):
    book = []
    policies = [Recorder("a", book), Recorder("b", book), Recorder("c", book, refuses=True), Recorder("d", book)]
    with pytest.raises(Refused):
        admit_all(policies, attempt, 1.0)
    assert book[2:] == [("b", UNSENT, 1.0), ("a", UNSENT, 1.0)]


def test_no_policies_no_tickets(attempt):
    assert admit_all([], attempt, 0.0) == []
    settle_all([], OK, 0.0)
