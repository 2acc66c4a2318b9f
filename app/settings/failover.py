"""Whether another attempt can help: attempts against tiers, budgets that allow none, hedges that never start."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, groupby
from typing import NamedTuple

from app.settings.draft import Draft
from app.settings.levels import Level, Levels
from app.settings.model import RouteSettings, Settings, TargetSettings
from app.settings.problems import Finding, Location
from app.settings.resilience import MAX_ATTEMPTS

# Where each could allow a retry: if all are 0, none ever is.
_ALLOWANCES = {"retry.budget": ("ratio", "min_per_second", "burst"), "retry.concurrency": ("share", "min")}


def check(settings: Settings, draft: Draft, levels: Levels) -> Iterator[Finding]:
    faulty = frozenset(draft.faulty)
    return chain(
        _unreachable_tiers(settings, levels, faulty),
        chain.from_iterable(_no_retries(level) for level in (levels.defaults, *levels.routes)),
        _idle_hedges(settings, draft, levels),
    )


def lint(settings: Settings, levels: Levels) -> Iterator[Finding]:
    return chain(_lone_attempts(settings, levels), _starved_tiers(settings, levels))


def picked(targets: Collection[TargetSettings]) -> list[tuple[int, TargetSettings]]:
    """Those that are reached without a pin."""
    return [(m, target) for m, target in enumerate(targets) if target.weight > 0]


def _unreachable_tiers(settings: Settings, levels: Levels, faulty: Collection[Location]) -> Iterator[Finding]:
    """Each attempt goes to a target not tried yet, tier by tier: one with as many targets before it gets none.

    A target whose breaker is open costs no attempt.
    """
    for n, route in enumerate(settings.routes):
        if any(inner[:3] == ("routes", n, "targets") or inner[-1:] == ("max_attempts",) for inner in faulty):
            continue
        attempts, at = levels.routes[n]["retry.max_attempts"]
        for later in _later_tiers(route, levels.targets[n]):
            if later.never_open >= attempts:
                told = f'{_counted(attempts, "attempt")}, but the route for model "{route.model}" has'
                message = f"{told} {_counted(later.before, 'target')} before tier {later.tier}; {_advice(later.before)}"
                yield at or ("routes", n, "targets", later.first), f"failover cannot trigger: {message}"
                break


def _starved_tiers(settings: Settings, levels: Levels) -> Iterator[Finding]:
    for n, route in enumerate(settings.routes):
        attempts, at = levels.routes[n]["retry.max_attempts"]
        for later in _later_tiers(route, levels.targets[n]):
            if later.before >= attempts:
                told = f'{_counted(attempts, "attempt")}, and the route for model "{route.model}" has'
                message = f"{told} {_counted(later.before, 'target')} before it; {_advice(later.before)}"
                only = f"tier {later.tier} is reached only while breakers before it are open"
                yield at or ("routes", n, "targets", later.first), f"{only}: {message}"
                break


class Later(NamedTuple):
    """A tier that is not the first: the position of its first target, how many targets stand before it, and how many of
    those have no breaker.
    """

    tier: int
    first: int
    before: int
    never_open: int


def _later_tiers(route: RouteSettings, levels: Sequence[Level]) -> Iterator[Later]:
    before = never_open = 0
    ordered = sorted(picked(route.targets), key=lambda each: each[1].tier)
    for tier, group in groupby(ordered, key=lambda each: each[1].tier):
        members = [m for m, _ in group]
        if before:
            yield Later(tier, members[0], before, never_open)
        before += len(members)
        never_open += sum(not levels[m]["breaker.enabled"].value for m in members)


def _advice(before: int) -> str:
    return f"allow at least {before + 1}" if before < MAX_ATTEMPTS else f"{MAX_ATTEMPTS} are the most, so use fewer"


def _no_retries(level: Level) -> Iterator[Finding]:
    for section, names in _ALLOWANCES.items():
        allowances = [f"{section}.{name}" for name in names]
        own = [level[name].place for name in allowances if level.has_own(name)]
        at = own[0] if own else None
        needed = level[f"{section}.enabled"].value and level["retry.max_attempts"].value > 1
        if at is not None and needed and all(level[name].value == 0 for name in allowances):
            zero = f"{', '.join(names[:-1])} and {names[-1]} are 0"
            yield at, f"no call could ever be tried again: {zero}; allow some retries, or say `max_attempts: 1`"


def _idle_hedges(settings: Settings, draft: Draft, levels: Levels) -> Iterator[Finding]:
    """A hedge is another attempt, at another target, paid from the same budget."""
    for n, route in enumerate(settings.routes):
        if route.hedge is None or not route.targets:
            continue
        at: Location = ("routes", n, "hedge")
        level = levels.routes[n]
        budget, attempts = level["retry.budget.enabled"], level["retry.max_attempts"]
        count = len(picked(route.targets))
        if not budget.value and budget.place is not None:
            yield at, f"a hedge needs a budget, and retry.budget is off at {draft.where(budget.place)}; turn it on"
        if attempts.value == 1 and attempts.place is not None:
            where = draft.where(attempts.place)
            yield at, f"a hedge is a second attempt, and max_attempts is 1 at {where}, so it could never act; allow 2"
        elif count < 2:
            yield at, f"a hedge goes to another target, and the route has {count}, so it could never act; add a target"
        after, silences = route.hedge.after, [each["timeouts.first_token"].value for each in levels.targets[n]]
        if isinstance(after, float) and all(after >= seconds for seconds in silences):
            told = f"after ({after:g} s) is not shorter than first_token ({max(silences):g} s)"
            yield (*at, "after"), f"{told}, so it could never act"


def _lone_attempts(settings: Settings, levels: Levels) -> Iterator[Finding]:
    for n, route in enumerate(settings.routes):
        attempts, at = levels.routes[n]["retry.max_attempts"]
        targets = picked(route.targets)
        if attempts == 1 and at is not None and len(targets) > 1 and len({target.tier for _, target in targets}) == 1:
            message = f'with 1 attempt, none of the {len(targets)} targets of the route for model "{route.model}"'
            yield at, f"{message} stands in for another that fails"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
