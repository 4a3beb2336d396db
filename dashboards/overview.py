"""The first look: how often and how long hosts fork, why it costs, and who forks."""

from __future__ import annotations

from typing import Any

from dashboards.board import OURS, board
from dashboards.panels import (
    HALF,
    HOST,
    INVESTIGATE_LINE,
    INVESTIGATE_PROCESS,
    THIRD,
    TRIGGER,
    UNIT,
    UNIT_LABELS,
    advice,
    by_trigger,
    coloured,
    figure,
    histogram,
    lines,
    quantiles,
    ranking,
    worst,
)
from dashboards.settings import OBJECTIVE_SECONDS

UID = "forktrace-overview"
DOUBT = "Can these figures be trusted"
RATE = "[$__rate_interval]"
BUCKETS = f"forktrace_fork_duration_seconds_bucket{{{HOST}}}{RATE}"


def total(metric: str, by: str = "", more: str = "") -> str:
    """Return a sum of rates over the chosen hosts, by the label ``by`` if any."""
    selector = f"{HOST},{more}" if more else HOST
    by = f" by ({by}) " if by else ""
    return f"sum{by}(rate({metric}{{{selector}}}{RATE}))"


def _quantile(q: float, metric: str) -> str:
    return f"histogram_quantile({q}, {total(metric + '_bucket', 'le')})"


def dashboard() -> Any:
    """Return the overview."""
    rows = [("The worst now", _worst()), ("Forks", _forks()), ("Why", _why())]
    rows += [("Who", _who()), ("Thrown away by exec", _waste())]
    rows += [(DOUBT, _trust())]
    return board(
        UID,
        "forktrace: overview",
        "What fork() costs on these hosts: how long it takes, which page tables it "
        "copies and by which flag, who forks, and what is thrown away by exec.",
        rows,
        folded=[DOUBT],
    )


def _worst() -> list[Any]:
    by_host = f"sum by (instance, le) (rate({BUCKETS}))"
    return [
        worst(
            "Slowest host",
            "One fork in a hundred takes longer there than this.",
            "s",
            "{{instance}}",
            f"histogram_quantile(0.99, {by_host})",
            link=INVESTIGATE_LINE,
        ),
        worst(
            "Costliest process",
            "The name of the processes whose forks copy longest, in percent of a CPU.",
            "percentunit",
            "{{comm}}",
            total("forktrace_process_copy_seconds_total", "comm"),
            link=INVESTIGATE_PROCESS,
        ),
        worst(
            "Costliest trigger",
            "The flag that most copying is for, or anon_vma, in percent of a CPU.",
            "percentunit",
            "{{trigger}}",
            total("forktrace_copy_seconds_total", "trigger"),
        ),
        advice("What to do", "One process on one host, and what each alert asks for."),
    ]


def _forks() -> list[Any]:
    copying = total("forktrace_copy_seconds_total")
    forking = total("forktrace_fork_duration_seconds_sum")
    lost = "forktrace_lost_total"
    return [
        figure(
            "Forks",
            "Calls of fork without CLONE_VM; threads, vfork and posix_spawn are not.",
            "ops",
            total("forktrace_forks_total"),
        ),
        figure(
            "99th percentile",
            "One fork in a hundred takes longer than this.",
            "s",
            _quantile(0.99, "forktrace_fork_duration_seconds"),
            bad_from=OBJECTIVE_SECONDS,
        ),
        figure(
            "Share spent copying",
            "How much of the time in fork goes into copy_page_range, that is into "
            "page tables; the rest is everything else that fork does.",
            "percentunit",
            f"{copying} / ({forking} > 0)",
        ),
        figure(
            "Lost",
            "Things that could not be recorded, in a second; by stage below.",
            "ops",
            total(lost),
            bad_from=1,
        ),
        coloured(
            lines(
                "Forks by outcome",
                "Failed: no memory, a limit on processes, or a signal that kills.",
                "ops",
                [("{{outcome}}", total("forktrace_forks_total", "outcome"))],
                THIRD,
                stacked=True,
            ),
            {"ok": "green", "failed": "red"},
        ),
        quantiles(
            "How long a fork takes",
            "Quantiles of whole calls, worked out from the histogram.",
            [
                (f"p{q * 100:g}", _quantile(q, "forktrace_fork_duration_seconds"))
                for q in (0.5, 0.9, 0.99)
            ],
            THIRD,
        ),
        histogram(
            "Forks by duration",
            "How many forks in a second took how long.",
            f"sum by (le) (rate({BUCKETS}))",
            THIRD,
        ),
        *_time_and_failures(),
    ]


def _time_and_failures() -> list[Any]:
    failures = total("forktrace_fork_failures_total", "errno")
    held = total("forktrace_process_vfork_held_seconds_total", "comm")
    return [
        lines(
            "What forks spend their time on",
            "In percent of a CPU: setting the child up, waiting for the parent's "
            "mmap_lock, duplicating VMAs, copying their page tables, and finishing.",
            "percentunit",
            [("{{part}}", total("forktrace_fork_part_duration_seconds_sum", "part"))],
            THIRD,
            stacked=True,
        ),
        lines(
            "Forks that failed, by errno",
            "EAGAIN: a limit on processes (pids.max, RLIMIT_NPROC); ENOMEM: no memory, "
            "or the commit limit.",
            "ops",
            [("{{errno}}", failures)],
            THIRD,
            stacked=True,
        ),
        lines(
            "Callers held by vfork, by process",
            "Threads that wait in vfork or posix_spawn until their child calls exec or "
            "exits. Nothing is copied for it.",
            "short",
            [("{{comm}}", f"topk(10, {held} > 0)")],
            THIRD,
        ),
    ]


def _why() -> list[Any]:
    # Every trigger that this kernel knows has a series; most of them never count.
    legend, by = TRIGGER, "trigger, anon_vma"
    triggers = [
        lines(
            "Time copying, by trigger",
            "In copy_page_range, in percent of a CPU, by the flags that made the "
            "kernel copy; anon_vma: none did, only the anon_vma was the reason.",
            "percentunit",
            [(legend, f"{total('forktrace_copy_seconds_total', by)} > 0")],
            stacked=True,
        ),
        lines(
            "Page tables, by trigger",
            "Bytes of page tables allocated for children.",
            "Bps",
            [(legend, f"{total('forktrace_page_table_bytes_total', by)} > 0")],
            stacked=True,
        ),
        lines(
            "Copied VMAs, by trigger",
            "(and anon_vma): the VMA would have been copied without the flag too.",
            "ops",
            [(legend, f"{total('forktrace_copied_vmas_total', by)} > 0")],
            stacked=True,
        ),
    ]
    return [
        *map(by_trigger, triggers),
        lines(
            "VMAs, by decision",
            "copy: page tables were copied; skip: left to page faults; dontcopy and "
            "wipeonfork: madvise kept them out of it.",
            "ops",
            [("{{decision}}", total("forktrace_vmas_total", "decision"))],
            stacked=True,
        ),
    ]


BY_PAIR = "forktrace_process_trigger_copy_seconds_total"


def _who() -> list[Any]:
    def top(metric: str, by: str = "comm") -> str:
        return f"topk(10, {total(metric, by)})"

    return [
        ranking(
            "Time copying, by process",
            "In percent of a CPU; `other` holds the names without a series of their "
            "own.",
            "percentunit",
            "{{comm}}",
            top("forktrace_process_copy_seconds_total"),
            HALF,
            link=INVESTIGATE_PROCESS,
        ),
        ranking(
            "Time copying, by process and trigger",
            "Which process copies by which flag, in percent of a CPU.",
            "percentunit",
            "{{comm}}: {{trigger}}",
            f"topk(10, {total(BY_PAIR, 'comm, trigger')})",
            HALF,
            link=INVESTIGATE_PROCESS,
        ),
        ranking(
            "Page tables, by process",
            "Bytes of page tables allocated for the children of processes so named.",
            "Bps",
            "{{comm}}",
            top("forktrace_process_page_table_bytes_total"),
            HALF,
            link=INVESTIGATE_PROCESS,
        ),
        ranking(
            "Forks, by process",
            "Calls of fork by processes so named.",
            "ops",
            "{{comm}}",
            top("forktrace_process_forks_total"),
            HALF,
            link=INVESTIGATE_PROCESS,
        ),
        ranking(
            "Time copying, by unit or container",
            "In percent of a CPU; `other` holds those without a series of their own.",
            "percentunit",
            UNIT,
            top("forktrace_unit_copy_seconds_total", UNIT_LABELS),
            HALF,
        ),
        ranking(
            "Page tables, by unit or container",
            "Bytes of page tables allocated for the children of what runs there.",
            "Bps",
            UNIT,
            top("forktrace_unit_page_table_bytes_total", UNIT_LABELS),
            HALF,
        ),
    ]


def _waste() -> list[Any]:
    thrown = total("forktrace_exec_discarded_page_table_bytes_total")
    made = total("forktrace_page_table_bytes_total")
    return [
        lines(
            "Children that called exec",
            "What fork had copied for them was thrown away: there posix_spawn or vfork "
            "would pay.",
            "ops",
            [
                ("forks", total("forktrace_forks_total", more='outcome="ok"')),
                ("discarded by exec", total("forktrace_exec_discards_total")),
            ],
            THIRD,
        ),
        lines(
            "Time spent on what exec threw away",
            "Copying, in percent of a CPU.",
            "percentunit",
            [("discarded", total("forktrace_exec_discarded_copy_seconds_total"))],
            THIRD,
        ),
        lines(
            "Page tables thrown away by exec",
            "Of the bytes copied; forks and execs are counted when they happen.",
            "percentunit",
            [("discarded", f"{thrown} / ({made} > 0)")],
            THIRD,
        ),
    ]


def _trust() -> list[Any]:
    cpu = f"rate(process_cpu_seconds_total{{{HOST}}}{RATE})"
    lost = "forktrace_lost_total"
    all_stages = f'label_replace({total(lost)}, "stage", "all", "", "")'
    memory = f"process_resident_memory_bytes{{{HOST}}}"
    return [
        lines(
            "Decisions checked",
            "The kernel's decision as seen by a probe, held against the rule. One "
            "disagreement is a bug, of forktrace or of what it knows of this kernel.",
            "ops",
            [
                (
                    "{{source}}: {{result}}",
                    total("forktrace_decision_checks_total", "source, result"),
                )
            ],
            THIRD,
        ),
        lines(
            "Lost, by stage",
            "What could not be recorded: all, and each stage that lost something. Sums "
            "stay exact when events are lost.",
            "ops",
            [("{{stage}}", f"{total(lost, 'stage')} > 0 or {all_stages}")],
            THIRD,
        ),
        lines(
            "forktrace's own cost",
            "Time of its BPF programs as a share of the time in fork (only with "
            "--self-stats), and the CPU time of the daemon.",
            "percentunit",
            [
                (
                    "BPF programs, of fork time",
                    f"{total('forktrace_probe_seconds_total')} / "
                    f"({total('forktrace_fork_duration_seconds_sum')} > 0)",
                ),
                ("daemon, of a CPU", f"sum({cpu} and {OURS})"),
            ],
            THIRD,
        ),
        lines(
            "The daemon's memory",
            "Resident memory of forktrace on the ten hosts where it has most.",
            "bytes",
            [("{{instance}}", f"topk(10, {memory} and {OURS})")],
            HALF,
            link=INVESTIGATE_LINE,
        ),
        lines(
            "Where it runs",
            "Hosts by kernel release and by where the kernel's rule was read.",
            "short",
            [
                (
                    "{{release}}, rule from {{read_from}}",
                    f"count by (release, read_from) (forktrace_kernel_info{{{HOST}}})",
                )
            ],
            HALF,
        ),
    ]
