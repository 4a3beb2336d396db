"""The reference parsers of both formats, behind one typed door."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as text_families
from prometheus_client.samples import Sample


def parse_text(text: str) -> Iterable[Metric]:
    """Parse the text format."""
    return text_families(text)


def parse_openmetrics(text: str) -> Iterable[Metric]:
    """Parse OpenMetrics."""
    families: Iterable[Metric] = openmetrics_families(text)  # type: ignore[no-untyped-call]
    return families


def both_ways(registry: CollectorRegistry) -> list[list[Sample]]:
    """Write the registry in each format and return what each parser makes of it."""
    in_openmetrics: bytes = openmetrics(registry)  # type: ignore[no-untyped-call]
    formats = (
        parse_text(generate_latest(registry).decode()),
        parse_openmetrics(in_openmetrics.decode()),
    )
    return [
        [sample for family in families for sample in family.samples]
        for families in formats
    ]
