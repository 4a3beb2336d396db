"""Metric families of the kinds that forktrace publishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from forktrace.exporter.bounded import Cost
from forktrace.model import Histogram

NS = 1_000_000_000
"""Nanoseconds in a second."""

Samples = Iterable[tuple[Sequence[str], float]]
"""Label values and the value that belongs to them."""


def counter(
    name: str, help_text: str, labels: Sequence[str], samples: Samples, unit: str = ""
) -> CounterMetricFamily:
    """Return a counter with its samples."""
    family = CounterMetricFamily(name, help_text, labels=labels, unit=unit)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def histograms(
    name: str,
    help_text: str,
    labels: Sequence[str],
    samples: Iterable[tuple[Sequence[str], Histogram]],
) -> Metric:
    """Return histograms, with cumulative buckets in seconds."""
    family = HistogramMetricFamily(name, help_text, labels=labels, unit="seconds")
    for values, each in samples:
        bounds = [str(bound / NS) for bound in each.bounds_ns]
        buckets = list(zip([*bounds, "+Inf"], accumulate(each.counts)))
        family.add_metric(values, buckets, each.sum_ns / NS)
    return family


def costs_of(
    what: str,
    whose: str,
    labels: Sequence[str],
    costs: Iterable[tuple[Sequence[str], Cost]],
) -> Iterator[Metric]:
    """Yield the three families that tell what somebody's forks cost."""
    shown = list(costs)
    yield counter(
        f"forktrace_{what}_forks",
        f"Calls of fork, {whose}",
        labels,
        [(values, cost.number) for values, cost in shown],
    )
    yield counter(
        f"forktrace_{what}_copy_seconds",
        f"Seconds spent copying page tables in fork, {whose}",
        labels,
        [(values, cost.copy_ns / NS) for values, cost in shown],
        "seconds",
    )
    yield counter(
        f"forktrace_{what}_page_table_bytes",
        f"Bytes of page tables newly allocated for children, {whose}",
        labels,
        [(values, cost.page_table_bytes) for values, cost in shown],
        "bytes",
    )
