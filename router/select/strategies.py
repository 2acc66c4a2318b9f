"""The strategies, one a row: how targets are scored, and how one of them is picked. A route names its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from router.select.pickers import Picker, best, better_of_two, in_proportion
from router.select.rendezvous import by_rendezvous
from router.select.scorers import Scorer, by_latency, by_load, by_price, by_weight


class Strategy(NamedTuple):
    score: Scorer
    pick: Picker


STRATEGIES: Mapping[str, Strategy] = {
    "weighted": Strategy(by_weight, in_proportion),
    "least_busy": Strategy(by_load, best),
    "latency": Strategy(by_latency, better_of_two),
    "cost": Strategy(by_price, best),
    "affinity": Strategy(by_rendezvous, best),
}
