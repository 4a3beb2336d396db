"""Reads forktrace's metrics as Prometheus does, by the reference parser."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

from forktrace.model import TriggerCost
from tests.patience import PATIENCE

_NS = 1_000_000_000


def scrape(url: str) -> str:
    """Return what ``url`` serves; raises OSError where nobody answers."""
    with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def process_forks(text: str) -> dict[str, int]:
    """Return how many forks there were by processes of each name."""
    samples = _samples(text, "forktrace_process_forks_total")
    return {labels["comm"]: int(value) for labels, value in samples if value}


def trigger_costs(text: str) -> list[TriggerCost]:
    """Return what each trigger cost."""

    def values(name: str) -> dict[tuple[str, str], float]:
        samples = _samples(text, name)
        return {(at["trigger"], at["anon_vma"]): value for at, value in samples}

    vmas = values("forktrace_copied_vmas_total")
    seconds = values("forktrace_copy_seconds_total")
    tables = values("forktrace_page_table_bytes_total")
    return [
        TriggerCost(
            trigger=key[0],
            anon_vma=key[1] == "true",
            vmas=int(vmas[key]),
            copy_ns=round(seconds[key] * _NS),
            page_table_bytes=int(tables[key]),
        )
        for key in vmas
    ]


def _samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value
