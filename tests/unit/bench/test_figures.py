"""How slopes are found, and which budget a figure breaks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.figures import BIG, COPIED, Forks, checks, fit
from tests.unit.bench.samples import (
    ADDED_A_VMA,
    FORK,
    PAGE,
    PROBES_A_FORK,
    VMA,
    sample,
)


def broken(results: dict[str, Any]) -> list[str]:
    return [check.name for check in checks(results) if not check.holds]


def test_a_straight_line_is_found_again() -> None:
    line = fit([(20, 5020.0), (1000, 6000.0), (20000, 25000.0)])
    assert line.slope == pytest.approx(1)
    assert line.start == pytest.approx(5000)
    assert line.bend == pytest.approx(0, abs=1e-9)


def test_a_point_off_the_line_shows_as_a_part_of_its_rise() -> None:
    line = fit([(0, 0.0), (10, 130.0), (20, 200.0)])
    assert line.slope == pytest.approx(10)
    assert line.bend == pytest.approx(20 / 200)


def test_the_least_of_the_forks_counts() -> None:
    forks = Forks(sample()["forks"])
    assert forks.plain(COPIED[0]) == FORK + 20 * (VMA + PAGE)


def test_what_a_tracer_adds_is_split_into_a_vma_and_a_fork() -> None:
    line = Forks(sample()["forks"]).line("bpftrace kprobe")
    assert line.slope == pytest.approx(ADDED_A_VMA["bpftrace kprobe"])
    assert line.start == pytest.approx(PROBES_A_FORK)


def test_a_change_of_untraced_forks_is_noise() -> None:
    results = sample()
    results["forks"]["nothing"]["20,000"] = [
        count + 400_000 for count in results["forks"]["nothing"]["20,000"]
    ]
    assert Forks(results["forks"]).noise() == 20


def test_figures_within_every_budget_break_none() -> None:
    assert broken(sample()) == []


@pytest.mark.parametrize(
    ("tracer", "added", "budgets"),
    [
        ("forktrace fentry", 601, ["added instructions a VMA", "part of bpftrace's"]),
        ("forktrace kprobe", 1_501, ["added instructions a VMA", "part of bpftrace's"]),
        ("bpftrace fentry", 1_666, ["part of bpftrace's"]),
        ("bpftrace kprobe", 2_999, ["part of bpftrace's"]),
    ],
)
def test_a_vma_that_costs_too_much_breaks(
    tracer: str, added: int, budgets: list[str]
) -> None:
    way = tracer.split()[1]
    found = broken(sample({**ADDED_A_VMA, tracer: added}))
    assert found == [f"{way}: {budget}" for budget in budgets]


def test_a_big_fork_that_slows_down_too_much_breaks() -> None:
    results = sample()
    name = BIG.name
    plain = min(results["forks"]["nothing"][name])
    results["forks"]["forktrace kprobe"][name] = [int(plain * 1.016)]
    assert broken(results) == ["kprobe: of forks with 2,000 pages a VMA"]


def test_growth_that_is_no_straight_line_breaks() -> None:
    results = sample()
    counts = results["forks"]["forktrace fentry"]
    counts["5,000"] = [count + 1_000_000 for count in counts["5,000"]]
    assert "growth with VMAs: off a straight line" in broken(results)


def test_tracers_that_counted_differently_are_not_comparable() -> None:
    results = sample()
    results["tracers"]["bpftrace kprobe"]["copied"] -= 1
    assert broken(results) == ["tracers that counted something else"]


@pytest.mark.parametrize(
    ("path", "value", "budgets"),
    [
        (("daemon", "kprobe", "rss_bytes"), 60_100_000, ["daemon: MB resident"]),
        (("scrape", "cpu_seconds"), 0.021, ["scrape, natively: ms of CPU"]),
        (("start", "forktrace", "seconds"), 1.01, ["start, natively: seconds"]),
        (
            ("start", "with headers", "seconds"),
            2.3,
            ["start: part of that with headers"],
        ),
    ],
)
def test_a_slow_start_or_scrape_or_a_large_daemon_breaks(
    path: tuple[str, ...], value: float, budgets: list[str]
) -> None:
    results = place = sample()
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert broken(results) == budgets
