"""One process name: what its forks cost, beside all forks of its hosts."""

from __future__ import annotations

from typing import Any

from dashboards.board import board, chosen
from dashboards.overview import BUCKETS, RATE, total
from dashboards.panels import (
    HALF,
    HOST,
    OVERVIEW,
    THIRD,
    TRIGGER,
    by_trigger,
    figure,
    histogram,
    lines,
    quantiles,
)
from dashboards.settings import OBJECTIVE_SECONDS

UID = "forktrace-investigation"
COMM = 'comm=~"$comm"'


def _own(metric: str) -> str:
    return total(f"forktrace_process_{metric}_total", more=COMM)


def dashboard() -> Any:
    """Return the view of one process."""
    comm = chosen(
        "comm",
        "Process",
        f"label_values(forktrace_process_forks_total{{{HOST}}}, comm)",
        many=False,
    )
    rows = [
        ("The process", _process()),
        ("Its mappings, where run --watch names it", _mappings()),
        ("Its hosts", _host()),
    ]
    return board(
        UID,
        "forktrace: investigation",
        "Why does this process fork slowly on these hosts? Durations are of all their "
        "forks, for a histogram by process would be too many series.",
        rows,
        more=[comm],
        link=OVERVIEW,
    )


def _process() -> list[Any]:
    forks, copying, tables = (
        _own("forks"),
        _own("copy_seconds"),
        _own("page_table_bytes"),
    )
    return [
        figure("Forks", "Calls of fork by processes so named.", "ops", forks),
        figure(
            "Copying, a fork",
            "Mean time in copy_page_range.",
            "s",
            f"{copying} / ({forks} > 0)",
            bad_from=OBJECTIVE_SECONDS,
        ),
        figure(
            "Page tables, a fork",
            "Mean bytes of page tables allocated for the child.",
            "bytes",
            f"{tables} / ({forks} > 0)",
        ),
        figure(
            "Share of its hosts",
            "Of all time that the hosts spend copying page tables in fork.",
            "percentunit",
            f"{copying} / ({total('forktrace_copy_seconds_total')} > 0)",
        ),
        lines(
            "Forks",
            "Of this process and of all on its hosts.",
            "ops",
            [("$comm", forks), ("all", total("forktrace_forks_total"))],
            THIRD,
        ),
        lines(
            "Copying, a fork",
            "Mean time in copy_page_range, of this process and of all on its hosts.",
            "s",
            [
                ("$comm", f"{copying} / ({forks} > 0)"),
                (
                    "all",
                    f"{total('forktrace_copy_seconds_total')} / "
                    f"({total('forktrace_forks_total')} > 0)",
                ),
            ],
            THIRD,
        ),
        lines(
            "Page tables, a fork",
            "Grows with resident memory: about 2 MiB for each GiB of small pages.",
            "bytes",
            [("$comm", f"{tables} / ({forks} > 0)")],
            THIRD,
        ),
        *_why(),
    ]


def _why() -> list[Any]:
    def by(metric: str) -> list[tuple[str, str]]:
        name = f"forktrace_process_trigger_{metric}_total"
        return [("{{trigger}}", total(name, "trigger", more=COMM))]

    return [
        by_trigger(
            lines(
                "Why it copies: time, by trigger",
                "In percent of a CPU, by the flags that made the kernel copy.",
                "percentunit",
                by("copy_seconds"),
                stacked=True,
            )
        ),
        by_trigger(
            lines(
                "Why it copies: VMAs, by trigger",
                "A host has series for its 30 heaviest pairs of process and trigger.",
                "ops",
                by("copied_vmas"),
                stacked=True,
            )
        ),
    ]


def _mappings() -> list[Any]:
    def by_mapping(metric: str) -> list[tuple[str, str]]:
        name = f"forktrace_watched_mapping_{metric}_total"
        return [("{{mapping}}", f"{total(name, 'mapping', more=COMM)} > 0")]

    return [
        lines(
            "Time copying, by mapping",
            "In percent of a CPU. A host has series for its 15 heaviest pairs of "
            "watched process and mapping, and none where run --watch names nobody.",
            "percentunit",
            by_mapping("copy_seconds"),
            stacked=True,
        ),
        lines(
            "Page tables, by mapping",
            "Allocated for children in a second.",
            "Bps",
            by_mapping("page_table_bytes"),
            stacked=True,
        ),
    ]


def _host() -> list[Any]:
    labels = "trigger, anon_vma"
    durations = [
        histogram(
            "Forks by duration",
            "How many forks in a second took how long, on these hosts.",
            f"sum by (le) (rate({BUCKETS}))",
        ),
        quantiles(
            "Longest forks",
            "Quantiles of whole calls of fork, and of the copying within.",
            [
                (
                    f"{name} p{q * 100:g}",
                    f"histogram_quantile({q}, "
                    f"sum by (le) (rate({metric}_bucket{{{HOST}}}{RATE})))",
                )
                for name, metric in (
                    ("fork", "forktrace_fork_duration_seconds"),
                    ("copying", "forktrace_copy_duration_seconds"),
                )
                for q in (0.9, 0.99)
            ],
        ),
    ]
    triggers = [
        lines(
            "Time copying, by trigger",
            "In percent of a CPU, by the flags that made the kernel copy.",
            "percentunit",
            [
                (
                    TRIGGER,
                    f"{total('forktrace_copy_seconds_total', labels)} > 0",
                )
            ],
            HALF,
            stacked=True,
        ),
        lines(
            "Time a copied VMA, by trigger",
            "Mean time in copy_page_range of one VMA: large where it maps much memory.",
            "s",
            [
                (
                    TRIGGER,
                    f"{total('forktrace_copy_seconds_total', labels)} / "
                    f"({total('forktrace_copied_vmas_total', labels)} > 0)",
                )
            ],
            HALF,
            logarithmic=True,
        ),
    ]
    return [*durations, *map(by_trigger, triggers)]
