"""Many hosts, the worst first, by kernel and rule: mostly from recording rules."""

from __future__ import annotations

from typing import Any

from dashboards.board import board
from dashboards.panels import (
    FULL,
    HALF,
    HOST,
    INVESTIGATE_LINE,
    by_trigger,
    figure,
    hosts,
    lines,
    quantiles,
    ranking,
    units,
)
from dashboards.settings import OBJECTIVE, OBJECTIVE_SECONDS

UID = "forktrace-fleet"
INFO = f"forktrace_kernel_info{{{HOST}}}"


def _recorded(name: str) -> str:
    return f"{name}{{{HOST}}}"


def _by_kernel(name: str) -> str:
    labels = "release, mask, read_from"
    joined = f"{_recorded(name)} * on (job, instance) group_left ({labels}) {INFO}"
    return f"sum by (release) ({joined})"


P99 = _recorded("instance:forktrace_fork_duration_seconds:p99_5m")
SLOW = _recorded("instance:forktrace_forks_slow:ratio_rate5m")
FORKS = _recorded("instance:forktrace_forks:rate5m")
COPYING = _recorded("instance:forktrace_copy_seconds:rate5m")
DOUBTS = _recorded("instance_source:forktrace_decision_disagreements:increase1h")
WASTE = _recorded("instance:forktrace_exec_discarded_copy_seconds:ratio_rate5m")


def dashboard() -> Any:
    """Return the fleet view."""
    rows = [("The fleet", _now()), ("Hosts", _hosts())]
    rows += [("Units", _units()), ("Kernels", _kernels())]
    return board(
        UID,
        "forktrace: fleet",
        "Which hosts fork slowly, and whether that goes with a kernel or its rule. "
        "Needs the recording rules in dashboards/rules.",
        rows,
    )


def _now() -> list[Any]:
    return [
        figure("Hosts", "Hosts that report.", "short", f"count({INFO})"),
        figure(
            "Rules",
            "Different masks in use: kernels that decide differently.",
            "short",
            f"count(count by (mask) ({INFO}))",
        ),
        figure(
            "Slow hosts",
            f"Hosts whose 99th percentile is over {OBJECTIVE}.",
            "short",
            f"count({P99} > {OBJECTIVE_SECONDS}) or vector(0)",
            bad_from=1,
        ),
        figure(
            "Hosts in doubt",
            "A probe saw the kernel decide otherwise than its rule says, in the last "
            "hour.",
            "short",
            f"count(sum by (job, instance) ({DOUBTS}) > 0) or vector(0)",
            bad_from=1,
        ),
    ]


def _hosts() -> list[Any]:
    labels = "group_left (release, mask, read_from, attach)"
    return [
        hosts(
            "Hosts, the slowest first",
            f"Over the last five minutes. Slow: share of forks over {OBJECTIVE}.",
            [
                (
                    "forks",
                    "ops",
                    f"{FORKS} * on (job, instance) {labels} {INFO}",
                ),
                ("p99", "s", P99),
                ("slow", "percentunit", SLOW),
                ("copying", "percentunit", COPYING),
                ("discarded by exec", "percentunit", WASTE),
            ],
        ),
        quantiles(
            "The ten slowest hosts",
            "99th percentile of the duration of fork.",
            [("{{instance}}", f"topk(10, {P99})")],
            link=INVESTIGATE_LINE,
        ),
        lines(
            "The ten that copy most",
            "Copying page tables in fork, in percent of a CPU.",
            "percentunit",
            [("{{instance}}", f"topk(10, {COPYING})")],
            link=INVESTIGATE_LINE,
        ),
    ]


def _units() -> list[Any]:
    def recorded(what: str) -> str:
        return f'unit:forktrace_unit_{what}:rate5m{{job=~"$job"}}'

    labels = "unit, namespace, container"
    heaviest = f"topk(30, sum by ({labels}) ({recorded('copy_seconds')}))"

    def of_heaviest(what: str) -> str:
        return f"sum by ({labels}) ({recorded(what)}) and on ({labels}) {heaviest}"

    return [
        units(
            "Units and containers, the costliest first",
            "Over the last five minutes, of the whole fleet, all pods of a container "
            "together; not only the chosen hosts.",
            [
                ("forks", "ops", of_heaviest("forks")),
                ("copying", "percentunit", of_heaviest("copy_seconds")),
                ("page tables", "Bps", of_heaviest("page_table_bytes")),
            ],
            FULL,
        )
    ]


def _kernels() -> list[Any]:
    trigger = "trigger:forktrace_copy_seconds:rate5m"
    return [
        ranking(
            "Hosts, by kernel",
            "How many hosts run which release.",
            "short",
            "{{release}}",
            f"count by (release) ({INFO})",
        ),
        ranking(
            "Hosts, by rule",
            "The mask of flags that force a copy, and where it was read.",
            "short",
            "{{mask}} from {{read_from}}",
            f"count by (mask, read_from) ({INFO})",
        ),
        ranking(
            "Time copying a host, by kernel",
            "Copying page tables, in percent of a CPU, mean of the hosts of a release.",
            "percentunit",
            "{{release}}",
            f"{_by_kernel('instance:forktrace_copy_seconds:rate5m')} / "
            f"count by (release) ({INFO})",
        ),
        by_trigger(
            lines(
                "Time copying, by trigger",
                "In percent of a CPU, of the whole fleet; not only the chosen hosts.",
                "percentunit",
                [("{{trigger}}", f'sum by (trigger) ({trigger}{{job=~"$job"}}) > 0')],
                HALF,
                stacked=True,
            )
        ),
        quantiles(
            "99th percentile of the whole fleet",
            "From all hosts' histograms together.",
            [
                (
                    "p99",
                    "histogram_quantile(0.99, sum by (le) "
                    '(job_le:forktrace_fork_duration_seconds_bucket:rate5m{job=~"$job"'
                    "}))",
                )
            ],
            HALF,
        ),
    ]
