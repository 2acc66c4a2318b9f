"""Which arm of an experiment a call belongs to: by the client's header, else by a hash that never changes its mind.

Nothing is remembered: the same unit is in the same arm in every process, and after every restart. At most one experiment
a call: the header's, else the first of the route.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Literal, NamedTuple

from router.types import Pin

BUCKETS = 10_000
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Arm:
    """``share`` from 0 to 1, in steps of 0.0001. ``providers`` in the order to try them.

    Raises ValueError that names the field, as ``Experiment`` does.
    """

    name: str
    providers: tuple[str, ...]
    share: float

    def __post_init__(self) -> None:
        _check_name("arm", self.name)
        if not self.providers:
            raise ValueError(f"arm {self.name}: providers must name at least one")
        if len(set(self.providers)) < len(self.providers):
            raise ValueError(f"arm {self.name}: providers names one twice: {', '.join(self.providers)}")
        if not 0 <= self.share <= 1 or abs(self.share * BUCKETS - self.buckets) > 1e-6:
            raise ValueError(f"arm {self.name}: share must be from 0 to 1 in steps of 0.0001, not {self.share}")

    @property
    def buckets(self) -> int:
        return round(self.share * BUCKETS)


@dataclass(frozen=True)
class Experiment:
    """The first arm is the control, the others are treatments; their shares are 1 together.

    ``unit``: what is dealt to an arm. A request without a session is a session of its own. ``failover``: whether the
    others may serve what an arm could not; the arms then no longer show what each can do by itself. Another ``salt``
    deals anew.

    The buckets are dealt so that raising one treatment's share moves only units of the control into it, and lowering it
    moves them back: every treatment grows in a field of its own, and the control has what is left. That holds for one
    or two treatments always, for n of them as long as none is larger than its field, 1/n; there it takes from the
    control in the others' fields what they would reach last. (No dealing can promise more: of three treatments, each
    of any share, two would have to be dealt the same half.) To add or remove an arm deals anew.
    """

    name: str
    arms: tuple[Arm, ...]
    salt: str = ""
    unit: Literal["session", "request"] = "session"
    failover: bool = False

    def __post_init__(self) -> None:
        _check_name("experiment", self.name)
        names = [arm.name for arm in self.arms]
        if len(names) < 2:
            raise ValueError(f"experiment {self.name}: arms must be a control and at least one treatment")
        if len(set(names)) < len(names):
            raise ValueError(f"experiment {self.name}: arms must have different names, not {', '.join(names)}")
        if sum(arm.buckets for arm in self.arms) != BUCKETS:
            shares = " + ".join(f"{arm.share:g}" for arm in self.arms)
            raise ValueError(f"experiment {self.name}: the shares of its arms must add up to 1, not {shares}")

    def arm_of(self, unit: str) -> Arm:
        return self._dealt[self.bucket_of(unit)]

    def bucket_of(self, unit: str) -> int:
        """From 0 to 9,999: the first 8 bytes of SHA-256 of salt, experiment and unit, with 0x1f between them."""
        named = f"{self.salt}\x1f{self.name}\x1f{unit}".encode(errors="surrogatepass")
        return int.from_bytes(sha256(named).digest()[:8], "big") % BUCKETS

    @cached_property
    def _dealt(self) -> Sequence[Arm]:
        """The arm of each bucket."""
        control, *treatments = self.arms
        dealt = [control] * BUCKETS
        over: list[Arm] = []
        for place, arm in enumerate(treatments):
            start = BUCKETS * place // len(treatments)
            field = BUCKETS * (place + 1) // len(treatments) - start
            own = min(arm.buckets, field)
            dealt[start : start + own] = [arm] * own
            over += [arm] * (arm.buckets - own)
        free = [bucket for bucket in reversed(range(BUCKETS)) if dealt[bucket] is control]
        for bucket, arm in zip(free, over, strict=False):
            dealt[bucket] = arm
        return dealt


class Assignment(NamedTuple):
    """``pin`` leads to the arm's providers. ``forced``: the client's header chose the arm, so it is never left."""

    experiment: str
    arm: str
    pin: Pin
    forced: bool


def assign(
    experiments: Sequence[Experiment], header: str | None, session: str | None, request_id: str
) -> Assignment | None:
    """``header`` is the client's ``X-Experiment``, name=arm. None if there is no experiment.

    Raises ValueError that lists what the header may say.
    """
    if header is not None:
        experiment, arm = _asked(experiments, header)
        return Assignment(experiment.name, arm.name, Pin(arm.providers), forced=True)
    if not experiments:
        return None
    experiment = experiments[0]
    arm = experiment.arm_of(session if session and experiment.unit == "session" else request_id)
    pin = Pin(arm.providers, others=experiment.failover, sticky=True)
    return Assignment(experiment.name, arm.name, pin, forced=False)


def _asked(experiments: Sequence[Experiment], header: str) -> tuple[Experiment, Arm]:
    known = {f"{each.name}={arm.name}": (each, arm) for each in experiments for arm in each.arms}
    if not known:
        raise ValueError("X-Experiment: this model has no experiment; leave the header out")
    name, _, arm_name = header.partition("=")
    found = known.get(f"{name.strip()}={arm_name.strip()}")
    if found is None:
        raise ValueError(
            f"X-Experiment: {header[:80]!r} is not the arm of an experiment; these are: {', '.join(known)}"
        )
    return found


def _check_name(kind: str, name: str) -> None:
    """Names come back in headers and labels."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} {name[:80]!r}: a name must be 1 to 64 of A-Z a-z 0-9 . _ -")
