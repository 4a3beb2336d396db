"""A real redis-server's BGSAVEs on a real kernel, and what Redis says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.demo.machine import newest_series, run_demo

# One worker, for one boot.
pytestmark = pytest.mark.xdist_group("redis")

BGSAVES = 6


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boot once; every test looks at what that guest left behind."""
    folder = tmp_path_factory.mktemp("redis")
    result = run_demo(newest_series(), folder, sys.stdout.buffer)
    assert result.status == 0, result.output
    return folder


@pytest.fixture(scope="module")
def measured(results: Path) -> Any:
    return json.loads((results / "redis.json").read_text())


@pytest.fixture(scope="module")
def forks(measured: Any) -> list[tuple[Any, Any]]:
    """Each BGSAVE's record from ``forktrace trace`` beside what Redis says of it."""
    by_child = {fork["child_pid"]: fork for fork in measured["forks"]}
    return [(by_child[saved["child_pid"]], saved) for saved in measured["saves"]]


def scraped(results: Path, name: str) -> dict[tuple[str, ...], float]:
    """Return a metric's samples by their label values, in the labels' order by name."""
    text = (results / "metrics.prom").read_text()
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_each_bgsave_is_one_fork_that_went_well(
    measured: Any, forks: list[tuple[Any, Any]]
) -> None:
    assert len(measured["saves"]) == len(measured["forks"]) == BGSAVES
    for fork, _ in forks:
        assert fork["outcome"] == "ok"
        assert fork["comm"] == "redis-server"
        assert fork["pid"] == measured["redis_pid"]


def test_copying_is_part_of_the_fork(forks: list[tuple[Any, Any]]) -> None:
    for fork, _ in forks:
        assert 0 < fork["copy_ns"] <= fork["duration_ns"]


def test_redis_measures_the_same_duration(forks: list[tuple[Any, Any]]) -> None:
    for fork, saved in forks:
        assert fork["duration_ns"] == pytest.approx(saved["fork_ns"], rel=0.25)


def test_the_page_tables_of_the_data_were_copied(
    measured: Any, forks: list[tuple[Any, Any]]
) -> None:
    # A page of page table maps 512 pages of data; all of it is touched and private.
    expected = measured["data_bytes"] // 512
    for fork, _ in forks:
        assert expected <= fork["page_table_bytes"] <= 2 * expected


def test_the_metrics_count_the_bgsaves_and_nothing_else(results: Path) -> None:
    forks = scraped(results, "forktrace_process_forks_total")
    assert forks[("redis-server",)] == BGSAVES
    assert sum(forks.values()) == BGSAVES
    assert scraped(results, "forktrace_forks_total")[("ok",)] == BGSAVES


def test_the_metrics_are_the_sum_of_the_records(results: Path, measured: Any) -> None:
    vmas: Counter[tuple[str, ...]] = Counter()
    tables: Counter[tuple[str, ...]] = Counter()
    for fork in measured["forks"]:
        for cost in fork["triggers"]:
            labels = (str(cost["anon_vma"]).lower(), cost["trigger"])
            vmas[labels] += cost["vmas"]
            tables[labels] += cost["page_table_bytes"]
    counted = scraped(results, "forktrace_copied_vmas_total")
    allocated = scraped(results, "forktrace_page_table_bytes_total")
    assert {labels: n for labels, n in counted.items() if n} == vmas
    assert {labels: n for labels, n in allocated.items() if n} == +tables


def test_nothing_was_lost_and_the_kernel_kept_to_its_rule(results: Path) -> None:
    assert not any(scraped(results, "forktrace_lost_total").values())
    checks = scraped(results, "forktrace_decision_checks_total")
    assert not any(n for (result, _), n in checks.items() if result == "disagree")


def test_promtool_finds_nothing_wrong_with_the_scrape(results: Path) -> None:
    with (results / "metrics.prom").open("rb") as metrics:
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            stdin=metrics,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert (checked.returncode, checked.stdout) == (0, "")
