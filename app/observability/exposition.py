"""What the numbers look like outside: Prometheus text or OpenMetrics.

Our own families are written here: prometheus_client takes so long for a line that each scrape would make a gateway
with 50 targets stand still for 200 ms; this takes 5. What is left, few lines, and what the other side accepts, is prometheus_client's.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.observability.metrics import Metrics
from app.observability.numbers import Count, Family, Histogram
from app.version import installed_version

CONFIG_GENERATION = 1  # nothing reloads it yet
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Exposition:
    """``fresh`` is called before the numbers are read. ``worker`` names this process where there are several."""

    def __init__(self, metrics: Metrics, fresh: Callable[[], None], worker: str | None = None) -> None:
        self._metrics = metrics
        self._fresh = fresh
        self._constant = {} if worker is None else {"worker": worker}
        self._process = _Process(self._constant)
        self._heads: dict[tuple[str, tuple[str, ...]], list[str]] = {}

    def read(self) -> Metrics:
        """The numbers as they are now."""
        self._fresh()
        self._metrics.look()
        return self._metrics

    def text(self, accept: str) -> tuple[bytes, str]:
        """The page and its media type: OpenMetrics if ``accept`` asks for it, else Prometheus text."""
        encode, media_type = choose_encoder(accept)
        openmetrics = media_type.startswith("application/openmetrics-text")
        lines: list[str] = []
        for family in self.read().families:
            # Where a counter's name ends in _total is all that the two differ in.
            name = f"{family.name}_total" if family.kind == "counter" and not openmetrics else family.name
            lines += (f"# HELP {name} {family.text}", f"# TYPE {name} {family.kind}")
            for values, cell in family.cells.items():
                lines += self._samples(family, values, cell)
        return "\n".join([*lines, ""]).encode() + encode(self._process), media_type

    def _samples(
        self, family: Family[Count | Histogram], values: tuple[str, ...], cell: Count | Histogram
    ) -> Iterator[str]:
        numbers: Sequence[float]
        if isinstance(cell, Count):
            numbers = (cell.value,)
        elif values and not cell.count:  # a label set that is known, but has not been seen
            return iter(())
        else:
            numbers = (*accumulate(cell.counts), cell.count, cell.sum)
        heads = self._heads.get((family.name, values))
        if heads is None:
            labels = dict(zip(family.labels, values, strict=True)) | self._constant
            heads = self._heads[family.name, values] = _heads(family, labels, cell)
        return (f"{head} {number!r}" for head, number in zip(heads, numbers, strict=True))


def _heads(family: Family[Count | Histogram], labels: dict[str, str], cell: Count | Histogram) -> list[str]:
    """All that comes before the numbers, line by line."""
    name = family.name
    if isinstance(cell, Count):
        return [f"{name}_total{_braced(labels)}" if family.kind == "counter" else f"{name}{_braced(labels)}"]
    bounds = [*map(floatToGoString, cell.bounds), "+Inf"]
    buckets = [f"{name}_bucket{_braced(labels | {'le': bound})}" for bound in bounds]
    return [*buckets, f"{name}_count{_braced(labels)}", f"{name}_sum{_braced(labels)}"]


def _braced(labels: dict[str, str]) -> str:
    inner = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


class _Process(Collector):
    """What the process is, and what it takes of the machine."""

    def __init__(self, constant: dict[str, str]) -> None:
        self._constant = constant
        self._taken = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        built = {"version": installed_version(), "python": platform.python_version()}
        for family in (
            GaugeMetricFamily(
                "breakwater_config_generation", "Which configuration of this process.", CONFIG_GENERATION
            ),
            InfoMetricFamily("breakwater_build", "What runs here.", built),
            *self._taken.collect(),
        ):
            family.samples = [sample._replace(labels={**sample.labels, **self._constant}) for sample in family.samples]
            yield family
